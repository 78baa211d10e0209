package core

import (
	"fmt"
	"time"

	"berth/units"
)

// awaitReady waits for what [ready] names, for its timeout at most.
func (st *step) awaitReady(u *Unit) {
	u.Awaits = true
	st.emit(AwaitReady{u.Name, u.Incarnation, u.Config})
	if limit := u.Config.Ready.Timeout; limit != units.Infinity {
		st.arm(u, TimerReady, time.Duration(limit))
	}
	st.touch(u)
}

func (st *step) readiness(u *Unit, e Readiness) {
	st.touch(u)
	if !e.Ready {
		u.NotReady = e.Why
		return
	}
	u.Awaits, u.NotReady = false, ""
	st.disarm(u, TimerReady)
	if !u.Halt { // with Halt it is about to be stopped anyway
		st.postStart(u)
	}
}

// neverReady gives up a unit whose time to become ready is over.
func (st *step) neverReady(u *Unit) {
	if u.Halt {
		return
	}
	st.giveUp(u, neverReadyReason(st.in.Now.Sub(u.StartedAt), u.NotReady))
}

// neverReadyReason tells how long it took, and what the last look has found.
func neverReadyReason(after time.Duration, why string) string {
	reason := fmt.Sprintf("not ready after %v", after.Round(time.Millisecond))
	if why != "" {
		reason += ": " + why
	}
	return reason
}
