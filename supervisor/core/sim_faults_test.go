package core

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"berth/units"
)

func simName(i int) string { return fmt.Sprintf("u%05d", i) }

func (w *sim) chance(p float64) bool { return w.r.Float64() < p }

// randomUnit makes unit i, which requires and comes after lower ones only.
func (w *sim) randomUnit(i int) *units.Unit {
	u := svc(simName(i))
	low := func() string { return simName(max(0, i-1-w.r.IntN(min(i, 40)+1))) }
	any := func() string { return simName(w.r.IntN(i + 20)) }
	if i > 0 {
		for range w.r.IntN(3) {
			u.Unit.Requires = append(u.Unit.Requires, low())
		}
		for range w.r.IntN(2) {
			u.Unit.After = append(u.Unit.After, units.Dependency{Unit: low(), Is: []string{"started", "ready", "healthy", "completed"}[w.r.IntN(4)]})
		}
		u.Unit.Requires = slices.DeleteFunc(u.Unit.Requires, func(n string) bool { return n == u.Name })
	}
	if w.chance(0.3) {
		u.Unit.Wants = append(u.Unit.Wants, any())
	}
	if w.chance(0.05) {
		u.Unit.Conflicts = append(u.Unit.Conflicts, any())
	}
	if w.chance(0.05) {
		u.Unit.OnFailure = append(u.Unit.OnFailure, any())
	}
	if w.chance(0.4) {
		u.Unit.Start = "demand"
	}
	u.Restart.Policy = []string{"always", "on-failure", "on-failure", "on-success", "never"}[w.r.IntN(5)]
	u.Restart.Limit.Burst = w.r.IntN(6)
	switch x := w.r.Float64(); {
	case x < 0.1:
		u.Service.Type = "group"
	case x < 0.3:
		u.Service.Type, u.Service.Remain = "task", w.chance(0.5)
		u.Restart.Policy = []string{"on-failure", "never"}[w.r.IntN(2)]
	}
	if w.chance(0.2) {
		postStart(u)
	}
	if w.chance(0.3) && u.Service.Type == "service" {
		notifies(u)
	}
	if w.chance(0.2) {
		postStop(u)
	}
	if w.chance(0.3) {
		w.checks(u)
	}
	if w.chance(0.5) {
		replaces(u)
	}
	switch x := w.r.Float64(); {
	case x < 0.3:
		reloads(u)
	case x < 0.4:
		reloadHUP(u)
	case x < 0.5:
		reloadNotify(u)
	case x < 0.6:
		reloadCommandNotify(u)
	}
	if w.chance(0.2) && u.Service.Type != "group" {
		watched(units.Duration(10*time.Second), []string{"restart", "restart", "none", "stop"}[w.r.IntN(4)])(u)
	}
	if w.chance(0.2) {
		u.Stop.Steps = []units.StopStep{{Signal: "QUIT", Wait: units.Duration(time.Second)}, {Signal: "TERM", Wait: units.Duration(time.Second)}}
	}
	drawTriggers(u, w.r.Float64())
	return u
}

// checks gives the unit one or two health checks.
func (w *sim) checks(u *units.Unit) {
	for _, name := range []string{"up", "other"}[:1+w.r.IntN(2)] {
		check(name, func(p *units.Probe) {
			p.Retries = 1 + w.r.IntN(3)
			p.Interval = units.Duration(1+w.r.IntN(5)) * units.Duration(time.Second)
			p.StartPeriod = units.Duration(w.r.IntN(2)) * units.Duration(10*time.Second)
			p.OnFailure = []string{"restart", "restart", "stop", "none"}[w.r.IntN(4)]
			p.TCP = []string{"127.0.0.1:80", "127.0.0.1:81"}[w.r.IntN(2)]
		})(u)
	}
}

// load gives the files as a new generation. References to units that are not
// there are cut, as the real loader would refuse them.
func (w *sim) load(changes map[string]Change, boot bool) {
	gen := make(map[string]*units.Unit, len(w.files))
	if changes == nil {
		changes = map[string]Change{}
	}
	for name, f := range w.files {
		missing := func(n string) bool { return w.files[n] == nil }
		cut := slices.ContainsFunc(f.Unit.Requires, missing) || slices.ContainsFunc(f.Unit.After, func(d units.Dependency) bool { return missing(d.Unit) })
		if cut {
			c := *f
			c.Unit.Requires = slices.DeleteFunc(slices.Clone(f.Unit.Requires), missing)
			c.Unit.After = slices.DeleteFunc(slices.Clone(f.Unit.After), func(d units.Dependency) bool { return missing(d.Unit) })
			f = &c
			w.files[name] = f
			if _, ok := changes[name]; !ok {
				changes[name] = Change{units.Live, []string{"unit.requires"}}
			}
		}
		gen[name] = f
	}
	w.gen++
	w.step(Load{Generation: w.gen, Units: gen, Changes: changes, Boot: boot, Retry: w.chance(0.2)})
}

// live decides how a process will end by itself.
func (w *sim) live(e Spawned) {
	task := w.files[e.Unit] != nil && w.files[e.Unit].Service.Type == "task"
	if u := w.s.Units[e.Unit]; u != nil {
		task = u.task()
	}
	status := ExitStatus{Code: w.r.IntN(2), OOM: w.chance(0.05)}
	if w.calm {
		status = ExitStatus{}
	}
	if task || !w.calm && w.chance(0.5) {
		w.later(time.Duration(w.r.ExpFloat64()*float64(5*time.Second)), Exited{e.Unit, e.Incarnation, status})
	}
}

func (w *sim) remember(e Event) {
	switch e.(type) {
	case Load, Command, Shutdown:
		return
	}
	if len(w.past) < 500 {
		w.past = append(w.past, e)
	} else {
		w.past[w.r.IntN(500)] = e
	}
}

// stale repeats something of the past that can only be stale: an event of a
// released incarnation, or a timer.
func (w *sim) stale() {
	if len(w.past) == 0 {
		return
	}
	e := w.past[w.r.IntN(len(w.past))]
	var i Incarnation
	switch x := e.(type) {
	case Spawned:
		i = x.Incarnation
	case SpawnFailed:
		i = x.Incarnation
	case Exited:
		i = x.Incarnation
	case Released:
		i = x.Incarnation
	case HookDone:
		i = x.Incarnation
	case Emptied:
		i = x.Incarnation
	case Readiness:
		i = x.Incarnation
	case Notified:
		i = x.Incarnation
	case Probed:
		i = x.Incarnation
	}
	if p := w.inc[i]; p != nil && slices.Contains(w.holds[p.unit], i) {
		return
	}
	w.cover(e)
	before := mustJSON(w.t, w.s.Head)
	out := Step(w.s, Input{w.now, 0.5, e, nil})
	if len(out) != 0 || before != mustJSON(w.t, w.s.Head) {
		w.fatalf("stale %T %+v did %v", e, e, out)
	}
}

// save keeps what a snapshot holds after a step: what was changed, and the head
// if more than the number of a timer was.
func (w *sim) save(dirty []string) {
	if w.saved == nil {
		return
	}
	for _, name := range dirty {
		if u, ok := w.s.Unit(name); ok {
			w.saved[name] = json.RawMessage(mustJSON(w.t, u))
		} else {
			delete(w.saved, name)
		}
	}
	head := w.s.Head
	head.TimerSeq = w.head.TimerSeq
	if len(dirty) > 0 || mustJSON(w.t, head) != mustJSON(w.t, w.head) {
		text := mustJSON(w.t, w.s.Head)
		w.head = Head{}
		if err := json.Unmarshal([]byte(text), &w.head); err != nil {
			w.t.Fatal(err)
		}
	}
}

// snapshot gives the state that a new supervisor finds.
func (w *sim) snapshot() string {
	if w.saved == nil {
		return mustJSON(w.t, w.s)
	}
	return mustJSON(w.t, struct {
		Head
		Units map[string]json.RawMessage `json:"units"`
	}{w.head, w.saved})
}

// crash loses the supervisor: what its workers were doing is lost or was done
// without its knowledge, and a new one resumes from the snapshot.
func (w *sim) crash() {
	var next State
	if err := json.Unmarshal([]byte(w.snapshot()), &next); err != nil {
		w.t.Fatal(err)
	}
	w.s = &next
	// Timers and probes end with the supervisor, and their numbers may be given
	// out again: the snapshot need not have the last of them.
	w.past = slices.DeleteFunc(w.past, func(e Event) bool {
		switch e.(type) {
		case TimerFired, Probed:
			return true
		}
		return false
	})
	kept := w.queue[:0]
	lost := []Incarnation{}
	for _, x := range w.queue {
		switch e := x.ev.(type) {
		case Exited:
			kept = append(kept, x)
		case Spawned:
			lost = append(lost, e.Incarnation)
		case SpawnFailed:
			lost = append(lost, e.Incarnation)
		}
	}
	w.queue = kept
	heap.Init(&w.queue)
	for _, x := range Resume(w.s, Input{w.now, 0.5, nil, nil}) {
		w.do(x)
	}
	slices.Sort(lost)
	for _, i := range slices.Compact(lost) {
		p := w.inc[i]
		if !p.spawning {
			continue
		}
		if w.chance(0.5) {
			w.soon(Spawned{p.unit, i, 1000 + int(i)})
		} else {
			w.soon(SpawnFailed{p.unit, i, "supervisor lost", true})
		}
	}
}

// user does what users do.
func (w *sim) user() {
	verb := []Verb{VerbStart, VerbStart, VerbStop, VerbRestart, VerbReload, VerbKill, VerbReset}[w.r.IntN(7)]
	names := []string{w.someUnit()}
	for w.chance(0.3) {
		names = append(names, w.someUnit())
	}
	if nobody := w.chance(0.02); !nobody {
		names = slices.DeleteFunc(names, func(n string) bool { return w.files[n] == nil })
	}
	if len(names) == 0 {
		return
	}
	w.nextID++
	w.asked[w.nextID] = false
	w.step(Command{ID: w.nextID, Verb: verb, Units: names, NoBlock: w.chance(0.2), Signal: "TERM", Whole: w.chance(0.5)})
}

// someUnit gives a name, of a unit or not: which, does not hang on what units there are.
func (w *sim) someUnit() string { return simName(w.r.IntN(w.size + 10)) }

// edit changes unit files.
func (w *sim) edit() {
	changes, before := map[string]Change{}, maps.Clone(w.files)
	for range 1 + w.r.IntN(4) {
		i := w.r.IntN(w.size + 10)
		name := simName(i)
		if w.files[name] == nil {
			if w.make(i) && before[name] != nil {
				changes[name] = Change{units.RestartClass, nil}
			}
			continue
		}
		if w.chance(0.2) && len(w.files) > 3 {
			delete(w.files, name)
			delete(changes, name)
			continue
		}
		f := *w.files[name]
		class := units.Class(w.r.IntN(4))
		if _, twice := changes[name]; twice {
			continue
		}
		switch class {
		case units.Live:
			other := w.randomUnit(i)
			f.Unit, f.Health = other.Unit, other.Health
		case units.RestartClass:
			f = *w.randomUnit(i)
		}
		w.files[name] = &f
		changes[name] = Change{class, []string{"some.key"}}
	}
	w.load(changes, false)
}

// chaos runs n events with faults of every kind, or the turns that the cut gives.
func (w *sim) chaos(n int) {
	w.calm, w.stage = false, simChaos
	round := len(w.turns)
	w.turns = append(w.turns, 0)
	rare := min(1, 100/float64(w.size+1)) // what costs as much as there are units
	for end := w.events + n; ; w.turns[round]++ {
		if w.cut.turns == nil && w.events >= end || w.cut.turns != nil && w.turns[round] >= w.cut.turns[round] {
			return
		}
		turn := fmt.Sprintf("%d/%d", round, w.turns[round])
		w.throw(turn)
		if w.chance(w.users) {
			w.stimulus(turn, "user", true, w.user)
			continue
		}
		switch x := w.r.Float64(); {
		case x < 0.05:
			w.stimulus(turn, "user", true, w.user)
		case x < 0.05+0.01*rare:
			w.stimulus(turn, "edit", true, w.edit)
		case x < 0.1:
			w.stimulus(turn, "stale", true, w.stale)
		case x < 0.1+0.002*rare:
			w.stimulus(turn, "crash", true, w.crash)
		case x < 0.13:
			w.stimulus(turn, "outside", true, w.outside)
		default:
			if !w.deliver() {
				w.stimulus(turn, "user", true, w.user)
			}
		}
	}
}

// stimulus does what comes from outside, if it is to come and is not left out.
func (w *sim) stimulus(turn, kind string, due bool, f func()) {
	name := turn + ":" + kind
	if !due || w.cut.stimuli[name] || w.cut.turns != nil && !w.cut.given[name] {
		return
	}
	w.stimuli = append(w.stimuli, name)
	w.note("# %s", name)
	f()
}
