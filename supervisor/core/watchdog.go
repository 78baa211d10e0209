package core

import (
	"fmt"
	"time"

	"berth/units"
)

// watchdogSignal asks a program that does not answer any more to end, with a
// core dump that shows where it hangs.
const watchdogSignal = "ABRT"

// guard begins to listen for the program's WATCHDOG=1, if it has to say that.
func (st *step) guard(u *Unit) {
	if interval := u.WatchedEvery(); interval > 0 {
		u.WatchdogAt = st.in.Now
		st.arm(u, TimerWatchdog, interval)
	}
}

// watched takes what a message says for the watchdog.
func (st *step) watched(u *Unit, m Message) {
	if m.Interval > 0 {
		u.WatchdogInterval = units.Duration(m.Interval)
	}
	if !u.Ready || u.Halt {
		return
	}
	switch armed, ok := u.Timers[TimerWatchdog]; {
	case m.Trigger:
		st.disarm(u, TimerWatchdog)
		st.unwell(u, u.Config.Watchdog.OnFailure, watchdogSignal, "watchdog: the program says that it is not well")
	case m.Interval > 0:
		st.guard(u)
	case ok && m.Watchdog.After(u.WatchdogAt):
		u.WatchdogAt = m.Watchdog
		if at := m.Watchdog.Add(u.WatchedEvery()); at.After(armed.At) {
			st.arm(u, TimerWatchdog, at.Sub(st.in.Now))
		}
	}
}

// silent is the end of the time in which the program had to be heard of.
func (st *step) silent(u *Unit) {
	reason := fmt.Sprintf("watchdog: not heard of for %v", st.in.Now.Sub(u.WatchdogAt).Round(time.Millisecond))
	if !u.Halt { // with Halt it is about to be stopped anyway
		st.unwell(u, u.Config.Watchdog.OnFailure, watchdogSignal, reason)
	}
}

// unwell does with a unit in Running what its configuration says for one that
// runs and does not work: onFailure is one of restart, none, stop, shutdown. A
// restart follows whatever restart.policy says of ends, with back-off and start
// limit. signal, if any, takes the place of those of [stop].
func (st *step) unwell(u *Unit, onFailure, signal, reason string) {
	switch onFailure {
	case "none":
		st.emit(Report{u.Name, u.Incarnation, reason})
		st.guard(u)
		return
	case "shutdown":
		st.emit(Report{u.Name, u.Incarnation, reason + ": stopping everything"})
		st.shutdown(Ending{Action: ActionExit, By: u.Name + ": " + reason})
		return
	}
	if onFailure == "restart" && u.Beside.heir() {
		st.yield(u, reason, signal)
		return
	}
	then, why := Backoff, reason
	switch {
	case !u.Ready && u.Good != nil:
		then, why = st.revert(u, reason)
	case onFailure == "stop":
		then = Failed
	}
	st.leave(u, Stopping, then, reason)
	u.ThenReason, u.StopSignal = why, signal
	st.stopStep(u)
}
