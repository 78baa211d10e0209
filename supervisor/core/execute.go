package core

import "fmt"

// execute does what the unit's desire asks for, as far as the others allow it
// now. It is called for every unit whose own state, or whose neighbours', has
// changed, until nothing more can be done.
func (st *step) execute(u *Unit) {
	st.tryReplace(u)
	switch u.Phase {
	case Waiting:
		st.tryStart(u)
	case Running, Completed:
		if u.Halt && !st.heldUp(u) {
			st.takeDown(u)
		}
	}
}

// tryStart starts a unit in Waiting when everything it needs is there.
func (st *step) tryStart(u *Unit) {
	n := st.s.graph[u.Name]
	for _, name := range n.requires {
		if !st.requirement(u, name) {
			return
		}
	}
	if !st.conflictsDown(u, n) || u.Phase != Waiting {
		return
	}
	if st.delayed(n) {
		return
	}
	if u.group() {
		u.Incarnation = 0
		st.enter(u, Running, "")
		st.ready(u)
		return
	}
	st.s.Incarnation++
	u.Incarnation, u.Side = st.s.Incarnation, First
	u.PostStopDue = len(u.Config.Service.PostStop) > 0
	u.Applied = nil
	st.enter(u, Starting, "")
	st.emit(Spawn{u.Name, u.Incarnation, u.Config})
}

// delayed reports whether a unit with that place in the graph has to wait for
// those that it is ordered after.
func (st *step) delayed(n *node) bool {
	for _, d := range n.after {
		if o := st.s.Units[d.Unit]; o != nil && o.delays(d.Is) {
			return true
		}
	}
	for _, name := range n.members {
		if o := st.s.Units[name]; o != nil && o.delays("ready") {
			return true
		}
	}
	return false
}

// requirement reports whether the required unit is up. If it will not come up
// any more, the waiting unit fails.
func (st *step) requirement(u *Unit, name string) bool {
	d := st.s.Units[name]
	switch {
	case d == nil:
		st.fail(u, name, fmt.Sprintf("dependency %s does not exist", name))
	case d.provides():
		return true
	case d.Phase == Failed:
		st.fail(u, name, fmt.Sprintf("dependency %s failed", name))
	case d.Phase == Inactive:
		st.fail(u, name, fmt.Sprintf("dependency %s is not up", name))
	}
	return false
}

// conflictsDown reports whether all conflicting units are down. Those that are
// to be up lose: this unit was asked for later, or the conflict is new.
func (st *step) conflictsDown(u *Unit, n *node) bool {
	free := true
	for _, name := range n.conflicts {
		c := st.s.Units[name]
		if c == nil {
			continue
		}
		if st.stoppable(c) {
			st.conflict(c, u)
		}
		if c.inTheWay() {
			free = false
		}
	}
	return free
}

// inTheWay reports whether a unit that conflicts with this one cannot start yet.
func (u *Unit) inTheWay() bool { return !u.Phase.down() || u.Halt }

// delays reports whether a unit that is to start after this one has to wait
// until this one is what is said. Only a task can complete; for the others
// "completed" is taken as "ready", so that nobody waits for ever.
func (u *Unit) delays(is string) bool {
	if u.rises() {
		return true
	}
	toEnd := u.task() && is != "started"
	switch u.Phase {
	case Waiting, Starting:
		return true
	case Running:
		return !u.Halt && (toEnd || is != "started" && !u.Ready || is == "healthy" && !u.healthy())
	case Cleaning:
		return toEnd && (u.Then == Completed || u.Then == Backoff)
	case Backoff:
		return toEnd
	}
	return false
}

// heldUp reports whether units that have to stop before this one are still
// going down.
func (st *step) heldUp(u *Unit) bool {
	for _, name := range st.s.graph[u.Name].before {
		if v := st.s.Units[name]; v != nil && v.leaving() {
			return true
		}
	}
	return false
}

// leaving reports whether the unit is going down.
func (u *Unit) leaving() bool { return u.Halt || u.Phase == Stopping || u.Phase == Cleaning }

// takeDown begins the stop of a unit in Running or Completed that has Halt.
func (st *step) takeDown(u *Unit) {
	then, reason := u.Then, u.ThenReason
	switch {
	case u.Phase == Completed && u.PostStopDue:
		st.leave(u, Cleaning, then, reason)
		st.clean(u)
	case u.Phase == Completed || u.group():
		u.Then, u.ThenReason = then, reason
		st.land(u)
	default:
		st.leave(u, Stopping, then, reason)
		st.stopStep(u)
	}
}

// leave enters Stopping or Cleaning with what is to follow.
func (st *step) leave(u *Unit, phase, then Phase, reason string) {
	st.enter(u, phase, reason)
	u.Then, u.ThenReason = then, reason
	if phase == Stopping {
		st.account(u)
	}
}

// WaitsFor returns, sorted, the units that keep this one in Waiting, from being
// replaced, or from stopping; for people who ask why nothing happens.
func (s *State) WaitsFor(name string) []string {
	s.derive()
	u, n := s.Units[name], s.graph[name]
	if u == nil {
		return nil
	}
	waits := map[string]bool{}
	note := func(name string, yes func(*Unit) bool) {
		if o := s.Units[name]; o != nil && yes(o) {
			waits[name] = true
		}
	}
	switch {
	case u.Halt:
		for _, v := range n.before {
			note(v, (*Unit).leaving)
		}
	case u.Phase == Waiting || u.ReplaceDue != "" && u.Beside == nil:
		for _, d := range n.requires {
			note(d, func(o *Unit) bool { return !o.provides() })
		}
		for _, d := range n.after {
			note(d.Unit, func(o *Unit) bool { return o.delays(d.Is) })
		}
		for _, d := range n.members {
			note(d, func(o *Unit) bool { return o.delays("ready") })
		}
		for _, c := range n.conflicts {
			note(c, (*Unit).inTheWay)
		}
	}
	return sortedNames(waits)
}
