package core

import (
	"container/heap"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/units"
)

var (
	simSteps  = flag.Int("sim.steps", 320_000, "steps of all simulations of the common sizes together")
	simUnits  = flag.Int("sim.units", 0, "units of one more, long simulation (0: none)")
	simEvents = flag.Int("sim.events", 5_000_000, "events of the long simulation")
	simTraced = flag.Bool("sim.trace", false, "tell the last steps before a fault")
	simSeed   = flag.Uint64("sim.seed", 1, "its seed")
)

// sim is a world around a State: processes that live and die on a virtual
// clock, workers that answer late, users, file changes, and a supervisor that
// is lost at random. It checks the invariants from what it sees happen, not from
// what the State says, wherever it can.
type sim struct {
	t      testing.TB
	seed   uint64
	dice   *rand.PCG // see throw
	throws map[string]uint64
	r      *rand.Rand
	size   int // units at the beginning
	// What a run is made small by: see simCut.
	cut     simCut
	stage   simStage // it is in
	turns   []int    // of each chaos
	stimuli []string // those that were given
	made    []string // units that had a file
	planted int
	covered covered
	traced  bool

	s      *State
	now    time.Time
	queue  simQueue
	parked simQueue
	seq    uint64
	calm   bool // faults have stopped

	files   map[string]*units.Unit
	gen     uint64
	inc     map[Incarnation]*simProc
	holds   map[string][]Incarnation // unit → the incarnations that are not released
	phase   map[string]Phase         // by the transitions told
	asked   map[uint64]bool          // commands: answered or not
	nextID  uint64
	ended   bool // Shutdown was given
	done    int
	late    bool    // the time of the shutdown is over
	left    bool    // and what was killed then is not waited for
	judged  uint64  // the generation whose outcome was told last
	past    []Event // to be repeated as stale ones
	events  int
	history []string
	spawns  int
	probes  int
	told    map[string]map[string]HealthState // unit → check → as told in this incarnation
	own     map[string]Incarnation            // unit → the one that ran last
	saved   map[string]json.RawMessage        // units as in the snapshot; nil: all of the state is there
	head    Head
	users   float64           // see simPlan
	heirs   map[string]int    // what became of instances beside, by phase and reason
	open    map[string]opened // unit → its sockets
}

type simProc struct {
	unit     string
	side     Side
	spawning bool
	live     bool
}

type simEvent struct {
	at  time.Time
	seq uint64
	ev  Event
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}

func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	o := *q
	x := o[len(o)-1]
	*q = o[:len(o)-1]
	return x
}

func emptySim(t testing.TB, seed uint64) *sim {
	dice := rand.NewPCG(seed, 7)
	return &sim{
		t: t, seed: seed, dice: dice, r: rand.New(dice), throws: map[string]uint64{}, covered: covered{},
		s: New(), now: time.Unix(1_000_000, 0).UTC(),
		files: map[string]*units.Unit{}, inc: map[Incarnation]*simProc{}, holds: map[string][]Incarnation{},
		asked: map[uint64]bool{}, phase: map[string]Phase{}, heirs: map[string]int{}, told: map[string]map[string]HealthState{}, own: map[string]Incarnation{}, open: map[string]opened{},
	}
}

// begin makes n units and boots them.
func (w *sim) begin(n int) {
	w.size = n
	if n < 20 {
		w.saved = map[string]json.RawMessage{}
	}
	for i := range n {
		w.make(i)
	}
	w.throw("boot")
	w.load(nil, true)
}

// make gives unit i a new file, unless it is left out.
func (w *sim) make(i int) bool {
	name := simName(i)
	if w.cut.units[name] {
		return false
	}
	w.throw("unit " + name)
	w.files[name] = w.randomUnit(i)
	if !slices.Contains(w.made, name) {
		w.made = append(w.made, name)
	}
	return true
}

// fatalf ends the run with a fault; see trySim.
func (w *sim) fatalf(format string, args ...any) {
	panic(&simFault{format, fmt.Sprintf("after %d events at %v: %s", w.events, w.now, fmt.Sprintf(format, args...))})
}

func (w *sim) later(d time.Duration, e Event) {
	w.seq++
	heap.Push(&w.queue, simEvent{w.now.Add(d), w.seq, e})
}

func (w *sim) soon(e Event) { w.later(time.Duration(w.r.IntN(int(200*time.Millisecond))), e) }

// step gives one event to the State and does what comes out.
func (w *sim) step(e Event) {
	w.events++
	w.note("> %T %+v", e, e)
	w.cover(e)
	if planted != nil {
		planted(w, e)
	}
	w.happen(e)
	for _, x := range Step(w.s, Input{w.now, w.r.Float64(), e, nil}) {
		w.note("  %T %+v", x, x)
		w.do(x)
	}
	dirty := w.s.Dirty()
	w.save(dirty)
	for _, name := range dirty {
		if _, ok := w.s.Unit(name); !ok {
			delete(w.phase, name)
			continue
		}
		if err := replaceRule(w.s.Units[name]); err != "" {
			w.fatalf("%s %s", name, err)
		}
		w.checkBond(name)
		for _, v := range w.s.graph[name].requiredBy {
			w.checkBond(v)
		}
	}
}

// checkBond demands that a unit which is up, and is not about to go down, has
// what it requires: up, or on its way up again.
func (w *sim) checkBond(name string) {
	u := w.s.Units[name]
	if u == nil || u.Halt || u.Phase != Running && !u.remains() {
		return
	}
	for _, d := range w.s.graph[name].requires {
		v := w.s.Units[d]
		if v == nil || v.binds() && (v.Phase == Inactive || v.Phase == Failed || v.Phase == Completed && !v.remains()) {
			w.fatalf("%s is up, and %s which it requires is not: %s", name, d, brief(v))
		}
	}
}

func (w *sim) note(format string, args ...any) {
	if !w.traced {
		return
	}
	s := fmt.Sprintf(format, args...)
	w.history = append(w.history, s[:min(len(s), 200)])
	if len(w.history) > 4000 {
		w.history = slices.Clone(w.history[2000:])
	}
}

// happen changes the world as the event says, before the State hears of it.
func (w *sim) happen(e Event) {
	switch e := e.(type) {
	case Exited:
		if p := w.inc[e.Incarnation]; p != nil {
			p.live = false
		}
	case Released:
		if p := w.inc[e.Incarnation]; p != nil {
			w.letGo(p.unit, e.Incarnation)
		}
	}
}

func (w *sim) do(x Effect) {
	switch x := x.(type) {
	case Spawn:
		w.spawn(x)
	case Abort:
		if p := w.inc[x.Incarnation]; p != nil && p.spawning {
			w.soon(SpawnFailed{x.Unit, x.Incarnation, "aborted", false})
		}
	case Signal:
		if p := w.inc[x.Incarnation]; p == nil {
			w.fatalf("signal to unknown incarnation: %+v", x)
		} else if u := w.s.Units[x.Unit]; p.live && x.Signal == "HUP" && u.confirms() {
			if w.calm || w.chance(0.8) {
				w.later(0, Notified{x.Unit, x.Incarnation, Message{Reloading: w.now}})
				w.soon(Notified{x.Unit, x.Incarnation, Message{Ready: true, Extend: time.Second}})
			}
		} else if p.live && x.Signal != "HUP" && w.chance(0.9) {
			w.soon(Exited{x.Unit, x.Incarnation, ExitStatus{Signal: 15}})
		}
	case KillGroup:
		if w.calm || w.chance(0.8) {
			w.soon(Exited{x.Unit, x.Incarnation, ExitStatus{Signal: 9}})
		}
	case Release:
		if p := w.inc[x.Incarnation]; p == nil || p.live || p.spawning {
			w.fatalf("release of what runs: %+v", x)
		}
		w.soon(Emptied{x.Unit, x.Incarnation, nil, true})
		w.soon(Released(x))
	case RunHook:
		err := ""
		if !w.calm && w.chance(0.2) {
			err = "exited with status 1"
		}
		if x.Hook == HookPostStop {
			w.hold(x.Unit, x.Incarnation) // of a task that remained: has it been released before
		}
		if u := w.s.Units[x.Unit]; x.Hook == HookReload && u.confirms() && (w.calm || w.chance(0.8)) {
			w.later(0, Notified{x.Unit, x.Incarnation, Message{Reloading: w.now}})
			w.soon(Notified{x.Unit, x.Incarnation, Message{Ready: true}})
		}
		w.soon(HookDone{x.Unit, x.Incarnation, x.Hook, err})
	case AwaitReady:
		if p := w.inc[x.Incarnation]; p == nil || !p.live {
			w.fatalf("await ready of what does not run: %+v", x)
		}
		if !w.calm && w.chance(0.3) {
			w.soon(Readiness{x.Unit, x.Incarnation, false, "connection refused"})
		}
		if w.calm || w.chance(0.8) {
			w.soon(Readiness{x.Unit, x.Incarnation, true, ""})
		}
	case Probe:
		w.probe(x)
	case HealthChanged:
		w.told[x.Unit][x.Check] = x.State
	case SetTimer:
		if x.Timer == TimerWatchdog && (w.calm || w.chance(0.9)) {
			w.heard(x)
			return
		}
		w.later(x.At.Sub(w.now), TimerFired{x.Unit, x.Timer, x.Seq})
	case Sockets:
		w.sockets(x)
	case Transition:
		w.transition(x)
	case Beside:
		w.beside(x)
	case Reply:
		if answered, ok := w.asked[x.ID]; !ok || answered {
			w.fatalf("reply to %d, asked %v, answered %v", x.ID, ok, answered)
		}
		w.asked[x.ID] = true
	case Overdue:
		if !w.ended || w.late != x.Abandoned {
			w.fatalf("%+v", x)
		}
		w.late, w.left = true, x.Abandoned
	case Outcome:
		if x.Superseded && x.Generation != w.gen-1 || !x.Superseded && x.Generation != w.gen || x.Generation < w.judged {
			w.fatalf("outcome %+v in generation %d, after that of %d", x, w.gen, w.judged)
		}
		w.judged = x.Generation
	case Done:
		w.done++
	}
}

// heard is what a program says that is well: once for each time it has to, and
// at rest not at all, for that would go on for ever.
func (w *sim) heard(x SetTimer) {
	u := w.s.Units[x.Unit]
	if !w.calm && u != nil {
		at := w.now.Add(x.At.Sub(w.now) / 2)
		w.later(at.Sub(w.now), Notified{x.Unit, u.Incarnation, Message{Watchdog: at}})
	}
}

func (w *sim) probe(x Probe) {
	w.probes++
	if p := w.inc[x.Incarnation]; p == nil || !p.live {
		w.fatalf("probe of what does not run: %+v", x)
	}
	r := Probed{Unit: x.Unit, Incarnation: x.Incarnation, Check: x.Check, Seq: x.Seq, Took: time.Second}
	switch {
	case w.calm:
	case w.chance(0.4):
		r.Err = "no answer"
	case w.chance(0.1):
		r.Skipped = true
	}
	w.later(time.Duration(w.r.IntN(int(3*time.Second))), r)
}

func (w *sim) spawn(x Spawn) {
	w.checkOpen(x)
	w.checkHealthy(x)
	w.spawns++
	w.checkPlace(x)
	if w.ended {
		w.fatalf("%s is spawned during shutdown", x.Unit)
	}
	for _, d := range w.files[x.Unit].Unit.Requires {
		if !w.isUp(d) {
			w.fatalf("%s is spawned, and %s which it requires is %s", x.Unit, d, brief(w.s.Units[d]))
		}
	}
	for _, c := range w.s.graph[x.Unit].conflicts {
		if len(w.holds[c]) != 0 {
			w.fatalf("%s is spawned while %s is there", x.Unit, c)
		}
	}
	w.inc[x.Incarnation] = &simProc{unit: x.Unit, side: w.s.Side(x.Unit, x.Incarnation), spawning: true}
	w.hold(x.Unit, x.Incarnation)
	switch {
	case !w.calm && w.chance(0.1):
		w.soon(SpawnFailed{x.Unit, x.Incarnation, "no such file", false})
	case !w.calm && w.chance(0.02):
		w.soon(SpawnFailed{x.Unit, x.Incarnation, "launcher lost", true})
	default:
		w.soon(Spawned{x.Unit, x.Incarnation, 1000 + int(x.Incarnation)})
	}
}

// checkHealthy demands that what was to be healthy before is: every check of a
// unit that is up was told to be.
func (w *sim) checkHealthy(x Spawn) {
	for _, d := range w.files[x.Unit].Unit.After {
		u := w.s.Units[d.Unit]
		if d.Is != "healthy" || u == nil || u.Phase != Running || u.Halt || u.task() || u.group() {
			continue
		}
		for check := range u.Config.Health {
			if w.told[d.Unit][check] != Healthy {
				w.fatalf("%s is spawned, and check %s of %s is %q", x.Unit, check, d.Unit, w.told[d.Unit][check])
			}
		}
	}
}

// isUp tells by the world whether a required unit is there.
func (w *sim) isUp(name string) bool {
	u := w.s.Units[name]
	switch {
	case u == nil:
		return false
	case u.task():
		return w.phase[name] == Completed
	case u.group():
		return w.phase[name] == Running
	}
	return w.phase[name] == Running && len(w.holds[name]) > 0
}

func (w *sim) transition(x Transition) {
	if !legal[[2]Phase{x.From, x.To}] {
		w.fatalf("no such transition: %+v", x)
	}
	if was, ok := w.phase[x.Unit]; ok && was != x.From {
		w.fatalf("%+v, but it was %s", x, was)
	}
	w.phase[x.Unit] = x.To
	if x.To == Running && (x.From != Running || w.own[x.Unit] != x.Incarnation) {
		w.own[x.Unit] = x.Incarnation
		w.told[x.Unit] = map[string]HealthState{}
	}
	if w.ended && !w.late && x.From == Running && x.To == Stopping {
		for _, v := range w.s.graph[x.Unit].requiredBy {
			if len(w.holds[v]) != 0 {
				w.fatalf("%s is stopped before %s, which requires it", x.Unit, v)
			}
		}
	}
}

var legal = func() map[[2]Phase]bool {
	m := map[[2]Phase]bool{}
	for _, e := range Transitions() {
		m[[2]Phase{e.From, e.To}] = true
	}
	return m
}()

// deliver takes the next event off the queue. Events that cannot be any more in
// this world are dropped: a process ends once, a spawn answers once.
func (w *sim) deliver() bool {
	if len(w.queue) == 0 {
		return false
	}
	x := heap.Pop(&w.queue).(simEvent)
	if x.at.After(w.now) {
		w.now = x.at
	}
	w.throw(eventKind(x.ev) + " " + eventUnit(x.ev))
	switch e := x.ev.(type) {
	case Spawned:
		p := w.inc[e.Incarnation]
		if !p.spawning {
			return true
		}
		p.spawning, p.live = false, true
		w.step(e)
		w.live(e)
		w.remember(e)
		return true
	case SpawnFailed:
		p := w.inc[e.Incarnation]
		if !p.spawning {
			return true
		}
		p.spawning = false
	case Exited:
		if p := w.inc[e.Incarnation]; !p.live {
			return true
		}
	}
	w.step(x.ev)
	w.remember(x.ev)
	return true
}

func mustJSON(t testing.TB, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// settle lets the faults stop and demands that the world comes to rest.
func (w *sim) settle() {
	w.stage = simSettle
	w.calm = true
	start := w.now
	for n := 0; len(w.queue) > 0; n++ {
		if n > 200*(len(w.files)+100) {
			w.fatalf("not at rest after %d events and %v", n, w.now.Sub(start))
		}
		w.deliver()
		w.park()
	}
	defer func() { w.queue, w.parked = w.parked, nil; heap.Init(&w.queue) }()
	if !w.s.Idle() {
		for _, u := range w.s.Units {
			if u.Phase != Running && !u.Phase.down() || u.Halt || u.Hook != "" {
				w.t.Log(brief(u))
			}
		}
		w.fatalf("nothing more comes, and it is not idle")
	}
	w.checkRest()
}

// park takes checks that are healthy, and will be for ever, and timers out of
// what is to come.
func (w *sim) park() {
	for len(w.queue) > 0 {
		e, ok := w.queue[0].ev.(TimerFired)
		check, health := e.Timer.check()
		if ok && (e.Timer == TimerCalendar || e.Timer == TimerEvery) { // for ever too
			w.parked = append(w.parked, heap.Pop(&w.queue).(simEvent))
			continue
		}
		if !ok || !health || w.told[e.Unit][check] != Healthy || w.s.Units[e.Unit] == nil || w.s.Units[e.Unit].Health() != Healthy {
			return
		}
		w.parked = append(w.parked, heap.Pop(&w.queue).(simEvent))
	}
}

func brief(u *Unit) string {
	c := u.Config
	return fmt.Sprintf("%s %s up=%v ready=%v halt=%v then=%s hook=%s req=%v after=%v type=%s next=%v gone=%v reason=%q",
		u.Name, u.Phase, u.Up, u.Ready, u.Halt, u.Then, u.Hook, c.Unit.Requires, c.Unit.After, c.Service.Type, u.Next != nil, u.Gone, u.Reason)
}

func (w *sim) checkRest() {
	for id, answered := range w.asked {
		if !answered {
			w.fatalf("command %d was never answered: %s", id, mustJSON(w.t, w.s.Commands[id]))
		}
	}
	clear(w.asked)
	if w.judged != w.gen || w.s.Trial.Left != 0 {
		for _, u := range w.s.Units {
			if u.Trial {
				w.t.Log(brief(u))
			}
		}
		w.fatalf("what became of generation %d was not told: %s", w.gen, mustJSON(w.t, w.s.Trial))
	}
	for name, f := range w.files {
		u := w.s.Units[name]
		if u == nil {
			w.fatalf("%s is lost", name)
		}
		w.checkTriggers(u)
		if u.Phase == Backoff {
			w.fatalf("%s is in back-off with no timer", name)
		}
		n := 0
		if u.Phase == Running && !u.group() {
			n = 1
		}
		if len(w.holds[name]) != n || n == 1 && !w.inc[u.Incarnation].live {
			w.fatalf("%s has the incarnations %v, in %s", name, w.holds[name], brief(u))
		}
		if u.Phase == Inactive && u.Up || u.Phase == Running && !u.Up {
			w.fatalf("%s is %s, desired %v", name, u.Phase, u.Up)
		}
		if len(u.Config.Health) > 0 && u.checked() && u.Health() != Healthy {
			w.fatalf("%s is %s with no fault left", name, u.Health())
		}
		if u.Phase != Running && !u.remains() {
			continue
		}
		for _, d := range f.Unit.Requires {
			v := w.s.Units[d]
			if v.binds() && !v.provides() {
				w.fatalf("%s is up (%s), and %s which it requires is %s (%s)", name, u.Phase, d, v.Phase, v.Reason)
			}
		}
	}
	for name := range w.s.Units {
		if w.files[name] == nil {
			w.fatalf("%s is gone and not forgotten", name)
		}
	}
	maps.DeleteFunc(w.inc, func(i Incarnation, p *simProc) bool {
		u := w.s.Units[p.unit]
		return !slices.Contains(w.holds[p.unit], i) && (u == nil || u.Incarnation != i)
	})
}

func (w *sim) finish() {
	w.stage = simFinish
	w.ended = true
	w.throw("shutdown")
	if w.chance(0.5) {
		w.s.ShutdownLimit = time.Duration(w.r.IntN(int(10 * time.Second)))
	}
	w.step(Shutdown{})
	w.calm = w.chance(0.5)
	for n := 0; len(w.queue) > 0; n++ {
		if n > 200*(len(w.files)+100) {
			w.fatalf("shutdown does not end")
		}
		turn := fmt.Sprintf("end/%d", n)
		w.throw(turn)
		x := w.r.Float64()
		w.stimulus(turn, "crash", x < 0.01 && w.done == 0, w.crash)
		w.stimulus(turn, "user", x > 0.95, w.user)
		w.deliver()
	}
	if w.done != 1 || len(w.holds) != 0 && !w.left {
		w.fatalf("after shutdown: %d Done, %d incarnations left: %v", w.done, len(w.holds), w.holds)
	}
	for id, answered := range w.asked {
		if !answered {
			w.fatalf("command %d was never answered", id)
		}
	}
}

// TestSimulation runs worlds of many sizes, each from a seed of its own. All
// together meet every pair of a unit's phase and an event about it.
func TestSimulation(t *testing.T) {
	const seeds = 40
	start, steps, met := time.Now(), 0, covered{}
	var mu sync.Mutex
	count := func(w *sim) {
		mu.Lock()
		defer mu.Unlock()
		steps += w.events
		for pair, n := range w.covered {
			met[pair] += n
		}
	}
	t.Run("worlds", func(t *testing.T) {
		for seed := range uint64(seeds) {
			n := []int{2, 5, 12, 40, 150}[seed%5]
			t.Run(fmt.Sprintf("seed=%d/units=%d", seed, n), func(t *testing.T) {
				t.Parallel()
				count(runSim(t, simPlan{seed: seed, units: n, events: *simSteps / seeds}))
			})
		}
		t.Run("units=2000", func(t *testing.T) {
			t.Parallel()
			count(runSim(t, simPlan{seed: 99, units: 2000, events: 25_000}))
		})
	})
	pairs, missed := met.missed()
	t.Logf("%d steps from %d seeds in %v; %d of %d pairs of phase and event", steps, seeds+1, time.Since(start).Round(time.Millisecond), pairs-len(missed), pairs)
	if len(missed) > 0 && !t.Failed() {
		t.Errorf("never met: %s", strings.Join(missed, ", "))
	}
	if *simUnits > 0 {
		t.Run("long", func(t *testing.T) {
			start := time.Now()
			w := runSim(t, simPlan{seed: *simSeed, units: *simUnits, events: *simEvents})
			t.Logf("%d units, %d events, %d starts, %d checks in %v", *simUnits, w.events, w.spawns, w.probes, time.Since(start))
		})
	}
}

// BenchmarkSimulation gives the simulator's figures: its steps in a second, the
// worlds that it ran, and the pairs of a unit's phase and an event about it that
// they met, of all there are.
func BenchmarkSimulation(b *testing.B) {
	const seeds = 40
	steps, met, start := 0, covered{}, time.Now()
	for b.Loop() {
		for seed := range uint64(seeds) {
			w := runSim(b, simPlan{seed: seed, units: []int{2, 5, 12, 40, 150}[seed%5], events: 8000})
			steps += w.events
			for pair, n := range w.covered {
				met[pair] += n
			}
		}
	}
	pairs, missed := met.missed()
	b.ReportMetric(float64(steps)/time.Since(start).Seconds(), "steps/s")
	b.ReportMetric(float64(steps), "steps")
	b.ReportMetric(seeds, "seeds")
	b.ReportMetric(float64(pairs-len(missed)), "pairs-met")
	b.ReportMetric(float64(pairs), "pairs")
}
