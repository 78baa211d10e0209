package core

import (
	"maps"
	"slices"
	"time"
)

// Step takes one event and returns what is to be done, in this order.
//
// It changes s in place, and s belongs to the caller alone: a copy of thousands
// of units for each event would cost more than the event, and nobody but the
// one goroutine that owns the state may see it between two steps. Equal states
// and inputs give equal effects. Events of an incarnation that is over, of
// timers that were replaced, and of units that are not known change nothing.
// The configurations given by Load are kept and handed out in effects, never
// written; the caller must not write them either.
func Step(s *State, in Input) []Effect {
	s.derive()
	st := &step{s: s, in: in, queued: map[string]bool{}, touched: map[string]bool{}}
	if !st.takeBeside(in.Event) {
		st.take(in.Event)
	}
	st.work()
	if st.exitUnit(); len(st.queue) > 0 {
		st.work()
	}
	st.settleAll()
	return st.out
}

// step is the work on one event.
type step struct {
	s       *State
	in      Input
	out     []Effect
	queue   []string // units to look at, in order
	queued  map[string]bool
	touched map[string]bool
	cause   Cause           // of what is started and stopped now
	alarmed map[string]bool // whose on-failure units this step has started
}

func (st *step) take(e Event) {
	switch e := e.(type) {
	case Load:
		st.load(e)
	case Command:
		st.command(e)
	case Shutdown:
		st.shutdown(Ending{Action: e.Action, By: e.By, Force: e.Force})
	case Spawned:
		if u := st.current(e.Unit, e.Incarnation); u != nil {
			st.spawned(u, e.PID)
		}
	case SpawnFailed:
		if u := st.current(e.Unit, e.Incarnation); u != nil {
			st.spawnFailed(u, e)
		}
	case Exited:
		if u := st.current(e.Unit, e.Incarnation); u != nil {
			st.exited(u, e.Status)
		}
	case Released:
		if u := st.current(e.Unit, e.Incarnation); u != nil && u.Phase == Cleaning && u.Hook == "" {
			st.released(u)
		}
	case HookDone:
		if u := st.current(e.Unit, e.Incarnation); u != nil && u.Hook == e.Hook {
			st.hookDone(u, e)
		}
	case Readiness:
		if u := st.current(e.Unit, e.Incarnation); u != nil && u.Awaits {
			st.readiness(u, e)
		}
	case Notified:
		if u := st.current(e.Unit, e.Incarnation); u != nil {
			st.notified(u, e.Message)
		}
	case Probed:
		if u := st.current(e.Unit, e.Incarnation); u != nil {
			if c := u.Checks[e.Check]; c != nil && c.Seq != 0 && c.Seq == e.Seq {
				st.probed(u, e)
			}
		}
	case Emptied:
		if u := st.current(e.Unit, e.Incarnation); u != nil {
			st.emptied(u, e)
		}
	case ClockChanged:
		st.clockChanged()
	case Activated:
		if u := st.s.Units[e.Unit]; u != nil && u.Listening.Listen && u.Listening.Seq == e.Seq {
			st.activated(u, e)
		}
	case PathChanged:
		if u := st.s.Units[e.Unit]; u != nil && len(u.Watched) > 0 {
			st.pathChanged(u, e.Path)
		}
	case TimerFired:
		if e.Unit == "" && e.Timer == TimerShutdown {
			st.overdue(e.Seq)
		}
		if u := st.s.Units[e.Unit]; u != nil {
			if t, ok := u.Timers[e.Timer]; ok && t.Seq == e.Seq {
				st.timerFired(u, e.Timer)
			}
		}
	}
}

// work executes what is wanted of the units that this step has touched.
func (st *step) work() {
	for len(st.queue) > 0 {
		name := st.queue[0]
		st.queue = st.queue[1:]
		delete(st.queued, name)
		if u := st.s.Units[name]; u != nil {
			st.execute(u)
		}
	}
}

// current returns the unit if this is its incarnation, which is not 0.
func (st *step) current(name string, i Incarnation) *Unit {
	if u := st.s.Units[name]; u != nil && i != 0 && u.Incarnation == i {
		return u
	}
	return nil
}

func (st *step) emit(e Effect) { st.out = append(st.out, e) }

// touch marks the unit as changed and has it and its neighbours looked at.
func (st *step) touch(u *Unit) {
	st.touched[u.Name] = true
	st.s.dirty[u.Name] = true
	st.wake(u.Name)
	if n := st.s.graph[u.Name]; n != nil {
		for _, name := range n.near {
			st.wake(name)
		}
	}
}

func (st *step) wake(name string) {
	if !st.queued[name] {
		st.queued[name] = true
		st.queue = append(st.queue, name)
	}
}

// enter moves the unit to a phase and tells so. What belongs to the phase it
// leaves, its timers above all, ends here.
func (st *step) enter(u *Unit, to Phase, reason string) {
	for _, t := range slices.Sorted(maps.Keys(u.Timers)) {
		if !t.lasting() {
			st.disarm(u, t)
		}
	}
	st.emit(Transition{u.Name, u.Incarnation, u.Phase, to, reason})
	st.pass(u, to, reason)
	if !u.Phase.down() {
		st.s.active--
	}
	if !to.down() {
		st.s.active++
	}
	u.Phase, u.Since, u.Reason = to, st.in.Now, reason
	u.Ready, u.Halt, u.StopStep, u.Hook, u.RestartAt = false, false, 0, "", time.Time{}
	u.Awaits, u.NotReady = false, ""
	u.ReloadSince, u.ReloadBegun, u.ReloadEnded, u.StopSignal = time.Time{}, false, false, ""
	if to == Starting {
		u.forgetNotice()
	}
	u.endChecks()
	u.ReplaceDue, u.Empty = "", false
	if to != Stopping && to != Cleaning {
		u.Then, u.ThenReason = "", ""
	}
	if to == Waiting || to == Inactive {
		u.FailedBy = ""
	}
	if to != Running && to != Starting {
		u.ReloadAgain = false
	}
	st.listen(u)
	st.touch(u)
}

func (st *step) arm(u *Unit, t Timer, wait time.Duration) {
	st.set(u, t, wait)
	st.touch(u)
}

// set arms a timer without marking the unit as changed.
func (st *step) set(u *Unit, t Timer, wait time.Duration) {
	st.s.TimerSeq++
	armed := Armed{st.s.TimerSeq, st.in.Now.Add(max(wait, 0))}
	if t == TimerCalendar {
		armed.At = wall(armed.At)
	}
	if u.Timers == nil {
		u.Timers = map[Timer]Armed{}
	}
	u.Timers[t] = armed
	st.emit(SetTimer{u.Name, t, armed.Seq, armed.At})
}

// disarm stops a timer, if it is armed.
func (st *step) disarm(u *Unit, t Timer) {
	if _, ok := u.Timers[t]; ok {
		st.forget(u, t)
		st.emit(StopTimer{u.Name, t})
		st.touch(u)
	}
}

func (st *step) forget(u *Unit, t Timer) {
	delete(u.Timers, t)
	if len(u.Timers) == 0 {
		u.Timers = nil // as it comes back from JSON
	}
}

// settleAll answers the commands that this step settled, tells what became of
// the generation, forgets the units that are gone, and tells when a shutdown is over.
func (st *step) settleAll() {
	ids := map[uint64]bool{}
	for name := range st.touched {
		for id := range st.s.waiters[name] {
			ids[id] = true
		}
	}
	order := make([]uint64, 0, len(ids))
	for id := range ids {
		order = append(order, id)
	}
	slices.Sort(order)
	for _, id := range order {
		st.settle(st.s.Commands[id])
	}
	st.judge()
	for name := range st.touched {
		if u := st.s.Units[name]; u != nil && u.Gone && u.Phase.down() && !u.Halt {
			delete(st.s.Units, name)
			delete(st.s.graph, name)
			delete(st.s.waiters, name)
		}
	}
	if st.s.Shutdown && !st.s.Done && st.s.active == 0 {
		st.s.Done = true
		st.emit(Done{})
	}
}
