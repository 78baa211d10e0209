package core

import (
	"fmt"
	"slices"
	"time"
)

// cause is why a unit is started, which decides what the start counts as.
type cause int

const (
	manual    cause = iota // a user, a new or changed file, or boot: fresh back-off and limit
	automatic              // another unit's failure: counts towards the limit
)

// start makes the unit, and all it requires and wants, desired to be up, and
// stops what conflicts with it. seen are the units that this start has reached.
func (st *step) start(u *Unit, why cause, seen map[string]bool) {
	if seen[u.Name] || st.s.Shutdown || u.Gone {
		return
	}
	seen[u.Name] = true
	n := st.s.graph[u.Name]
	wasUp := u.Up && u.Phase != Failed
	if !wasUp {
		st.asked(u)
	}
	u.Up, u.Stopped = true, false
	st.touch(u)
	for _, name := range n.conflicts {
		if c := st.s.Units[name]; c != nil && st.stoppable(c) {
			st.conflict(c, u)
		}
	}
	for i, name := range slices.Concat(n.requires, n.wants) {
		d := st.s.Units[name]
		if d == nil || wasUp && d.Phase == Completed {
			continue
		}
		kind := CauseRequired
		if i >= len(n.requires) {
			kind = CauseWanted
		}
		st.under(Cause{Kind: kind, Unit: u.Name}, func() { st.start(d, why, seen) })
	}
	if u.Up { // not lost to a conflict of what it pulled in
		st.raise(u, why)
	}
	if u.Up && triggers(u.newest()) {
		st.activate(u)
	}
}

// startOne starts the unit with everything it pulls in.
func (st *step) startOne(u *Unit, why cause) { st.start(u, why, map[string]bool{}) }

// raise gives a unit that is desired to be up the phase, or what follows its
// present phase, that gets it there.
func (st *step) raise(u *Unit, why cause) {
	switch u.Phase {
	case Inactive, Failed:
		st.begin(u, why)
	case Completed:
		if u.Halt {
			u.Then, u.ThenReason = Waiting, "started again"
		} else if !u.Config.Service.Remain {
			st.begin(u, why)
		}
	case Backoff:
		st.refresh(u, why)
		st.enter(u, Waiting, "")
	case Running:
		if !u.Halt || u.Then == Waiting {
			return
		}
		if u.Ready && u.Then == Inactive && u.Next == nil && st.requirementsMet(u) {
			u.Halt, u.Then, u.ThenReason = false, "", ""
			return
		}
		u.Then, u.ThenReason = Waiting, "started again"
	case Stopping:
		u.Then, u.ThenReason = Waiting, "started again"
	case Cleaning:
		if u.Then != Completed {
			st.refresh(u, why)
			u.Then, u.ThenReason = Waiting, "started again"
		}
	}
}

// begin takes a unit that is down to Waiting.
func (st *step) begin(u *Unit, why cause) {
	if why == automatic {
		if st.limited(u, st.in.Now) {
			st.fail(u, "", st.limitReason(u))
			return
		}
		st.count(u)
	}
	st.refresh(u, why)
	st.enter(u, Waiting, "")
}

// refresh forgets, for a manual start, what the automatic ones have added up.
func (st *step) refresh(u *Unit, why cause) {
	if why == manual {
		u.Restarts, u.Tries, u.Starts, u.Ill = 0, 0, nil, nil
	}
}

// requirementsMet reports whether all that the unit requires is up.
func (st *step) requirementsMet(u *Unit) bool {
	for _, name := range st.s.graph[u.Name].requires {
		if d := st.s.Units[name]; d == nil || !d.provides() {
			return false
		}
	}
	return true
}

// revive starts what the unit requires and is inactive, before an automatic start.
func (st *step) revive(u *Unit) {
	for _, name := range st.s.graph[u.Name].requires {
		if d := st.s.Units[name]; d != nil && d.Phase == Inactive {
			st.under(Cause{Kind: CauseRequired, Unit: u.Name}, func() { st.startOne(d, manual) })
		}
	}
}

// conflict stops a unit for the sake of another.
func (st *step) conflict(u, other *Unit) {
	st.under(Cause{Kind: CauseConflict, Unit: other.Name}, func() { st.stop(u, fmt.Sprintf("conflicts with %s", other.Name)) })
}

// stoppable reports whether a stop would change anything: the unit is not down
// for good, nor on its way there.
func (st *step) stoppable(u *Unit) bool {
	switch u.Phase {
	case Inactive, Failed:
		return false
	case Completed:
		return u.remains() && !(u.Halt && u.Then == Inactive)
	case Running:
		return !(u.Halt && u.Then == Inactive)
	case Stopping, Cleaning:
		return u.Then == Waiting || u.Then == Backoff || u.Then == Completed && u.Config.Service.Remain
	}
	return true
}

// remains reports whether the unit counts as up in Completed.
func (u *Unit) remains() bool { return u.Phase == Completed && u.Config.Service.Remain }

// stop makes the unit, and all that require it, desired to be down.
func (st *step) stop(u *Unit, reason string) {
	st.asked(u)
	u.Up, u.Stopped = false, true
	st.touch(u)
	st.deactivate(u)
	switch u.Phase {
	case Waiting, Backoff:
		st.enter(u, Inactive, reason)
	case Starting:
		st.abort(u, Inactive, reason)
	case Running:
		u.Halt, u.Then, u.ThenReason = true, Inactive, reason
	case Completed:
		if u.remains() {
			u.Halt, u.Then, u.ThenReason = true, Inactive, reason
		} else {
			st.enter(u, Inactive, reason)
		}
	case Stopping, Cleaning:
		if u.Then != Failed && (u.Then != Completed || u.Config.Service.Remain) {
			u.Then, u.ThenReason = Inactive, reason
		}
	}
	st.stopDependents(u)
}

// stopDependents stops those that require a unit which is being stopped.
func (st *step) stopDependents(u *Unit) {
	for _, name := range st.s.graph[u.Name].requiredBy {
		v := st.s.Units[name]
		if v == nil || !st.stoppable(v) || !u.binds() && v.Phase != Waiting {
			continue
		}
		st.under(Cause{Kind: CauseDependency, Unit: u.Name, Verb: VerbStop}, func() {
			st.stop(v, fmt.Sprintf("dependency %s stopped", u.Name))
		})
	}
}

// fail ends a unit that has no process, for good.
func (st *step) fail(u *Unit, by, reason string) {
	st.enter(u, Failed, reason)
	u.FailedBy = by
	st.failDependents(u)
	if st.alarmed == nil {
		st.alarmed = map[string]bool{}
	}
	if u.Gone || st.alarmed[u.Name] {
		return
	}
	st.alarmed[u.Name] = true
	for _, name := range st.s.graph[u.Name].onFailure {
		if f := st.s.Units[name]; f != nil {
			st.under(Cause{Kind: CauseOnFailure, Unit: u.Name}, func() { st.startOne(f, automatic) })
		}
	}
}

// failDependents takes down those that require a unit which has failed for good.
// Those in Waiting find out by themselves.
func (st *step) failDependents(u *Unit) {
	if !u.binds() {
		return
	}
	for _, name := range st.s.graph[u.Name].requiredBy {
		if v := st.s.Units[name]; v != nil {
			st.failDependent(v, u.Name)
		}
	}
}

func (st *step) failDependent(v *Unit, by string) {
	reason := fmt.Sprintf("dependency %s failed", by)
	switch v.Phase {
	case Backoff:
		st.fail(v, by, reason)
		return
	case Starting:
		st.abort(v, Failed, reason)
	case Running, Completed:
		if v.Phase == Completed && !v.remains() || v.Halt && (v.Then == Failed || v.Then == Inactive) {
			return
		}
		v.Halt, v.Then, v.ThenReason = true, Failed, reason
	case Stopping, Cleaning:
		if v.Then != Waiting && v.Then != Backoff && !(v.Then == Completed && v.Config.Service.Remain) {
			return
		}
		v.Then, v.ThenReason = Failed, reason
	default:
		return
	}
	v.FailedBy = by
	st.touch(v)
	st.failDependents(v)
}

// restart replaces the unit, or stops it and those that require it, and starts
// them again. It reports whether it is a replace.
func (st *step) restart(u *Unit) bool {
	st.startOne(u, manual)
	switch {
	case !u.Up:
	case u.replaceable():
		st.replace(u, "restarted")
		return true
	default:
		st.renew(u, "restarted")
		st.renewDependents(u)
	}
	return false
}

func (st *step) renewDependents(u *Unit) {
	if !u.binds() {
		return
	}
	for _, name := range st.s.graph[u.Name].requiredBy {
		v := st.s.Units[name]
		if v == nil || !v.Up || v.Phase == Failed || v.Phase == Completed && !v.remains() || v.Halt && v.Then != Waiting {
			continue
		}
		if v.Phase == Waiting || v.rises() {
			continue
		}
		st.under(Cause{Kind: CauseDependency, Unit: u.Name, Verb: VerbRestart}, func() {
			st.renew(v, fmt.Sprintf("dependency %s restarted", u.Name))
			st.renewDependents(v)
		})
	}
}

// renew stops a unit that is up and starts it again afterwards.
func (st *step) renew(u *Unit, reason string) {
	st.touch(u)
	st.asked(u)
	st.refresh(u, manual)
	switch u.Phase {
	case Starting:
		st.abort(u, Waiting, reason)
	case Running, Completed:
		u.Halt, u.Then, u.ThenReason = true, Waiting, reason
	case Stopping, Cleaning:
		if u.Then != Completed || u.Config.Service.Remain {
			u.Then, u.ThenReason = Waiting, reason
		}
	case Backoff:
		st.enter(u, Waiting, reason)
	}
}

// abort gives up the start of a unit that is not up yet, so nobody has to be
// waited for.
func (st *step) abort(u *Unit, then Phase, reason string) {
	st.leave(u, Stopping, then, reason)
	st.emit(Abort{u.Name, u.Incarnation})
}

// limited reports whether one more automatic start at that time would exceed
// the unit's limit.
func (st *step) limited(u *Unit, at time.Time) bool {
	l := u.Config.Restart.Limit
	if l.Burst <= 0 {
		return false
	}
	if l.Within >= 0 { // not infinity
		since := at.Add(-time.Duration(l.Within))
		u.Starts = slices.DeleteFunc(u.Starts, func(t time.Time) bool { return !t.After(since) })
	}
	return len(u.Starts) >= l.Burst
}

func (st *step) limitReason(u *Unit) string {
	l := u.Config.Restart.Limit
	if l.Within < 0 {
		return fmt.Sprintf("start limit hit: %d starts", l.Burst)
	}
	return fmt.Sprintf("start limit hit: %d starts in %v", l.Burst, time.Duration(l.Within))
}

// count adds an automatic start, as far as a limit needs it.
func (st *step) count(u *Unit) {
	if u.Config.Restart.Limit.Burst > 0 {
		u.Starts = append(u.Starts, st.in.Now)
	}
	st.touch(u)
}
