package core

import (
	"fmt"
	"slices"
	"time"
)

// Message is what a program tells of itself, see sd_notify(3). A field that it
// did not tell of has its zero value.
type Message struct {
	Ready     bool
	Reloading time.Time // when its reload began
	Stopping  bool
	Status    *string
	Errno     *int
	BusError  *string
	// MainPID is the process, as the daemon sees it, that is the main one from now on.
	MainPID int
	// Extend asks for this much time, from now, for what the program is waited for.
	Extend time.Duration
	// Watchdog is when the program was last heard of as alive; Trigger is that it
	// is not well; Interval is how often it will be heard of from now on.
	Watchdog time.Time
	Trigger  bool
	Interval time.Duration
	// Access is whose messages count from now on, see Notice.Access.
	Access string
}

// Notice is what a unit's program has told of itself, for people.
type Notice struct {
	Status    string `json:"status,omitempty"`
	Errno     int    `json:"errno,omitempty"`
	BusError  string `json:"bus_error,omitempty"`
	Reloading bool   `json:"reloading,omitempty"` // it reads its configuration again
	Stopping  bool   `json:"stopping,omitempty"`  // it is about to end
	// Access is whose messages count, as it has asked for; "": as configured.
	Access string `json:"access,omitempty"`
}

// maxExtend bounds what a program may ask for at once.
const maxExtend = 24 * time.Hour

// reloadTimeout bounds the wait for READY=1 after a reload.
const reloadTimeout = 90 * time.Second

// notified takes what the program has told.
func (st *step) notified(u *Unit, m Message) {
	if u.Phase != Running && u.Phase != Stopping || u.MainPID == 0 {
		return
	}
	st.touch(u)
	if m.MainPID != 0 {
		u.MainPID = m.MainPID
	}
	n := &u.Notice
	n.take(m)
	st.extend(u, m.Extend)
	if u.Phase != Running {
		return
	}
	st.watched(u, m)
	if !m.Reloading.IsZero() {
		n.Reloading = true
		if !u.ReloadSince.IsZero() && !m.Reloading.Before(u.ReloadSince) {
			u.ReloadBegun = true
		}
	}
	if m.Ready {
		n.Reloading = false
		st.reloadConfirmed(u)
	}
	switch {
	case !u.Awaits || !u.Config.Ready.Notify:
	case m.Ready:
		st.readiness(u, Readiness{Ready: true})
	case m.Status != nil:
		u.NotReady = n.Status
	}
}

// take keeps what people want to know of a message.
func (n *Notice) take(m Message) {
	if m.Status != nil {
		n.Status = *m.Status
	}
	if m.Errno != nil {
		n.Errno = *m.Errno
	}
	if m.BusError != nil {
		n.BusError = *m.BusError
	}
	if m.Access != "" {
		n.Access = m.Access
	}
	n.Stopping = n.Stopping || m.Stopping
}

// extend gives a program that says so more time to become ready, to reload, or to end.
func (st *step) extend(u *Unit, d time.Duration) {
	if d <= 0 {
		return
	}
	d = min(d, maxExtend)
	for _, t := range []Timer{TimerReady, TimerReload, TimerStop} {
		if armed, ok := u.Timers[t]; ok && !(t == TimerStop && u.killed()) && armed.At.Before(st.in.Now.Add(d)) {
			st.arm(u, t, d)
		}
	}
}

// killed reports whether the last step of the stop, the kill, was taken.
func (u *Unit) killed() bool { return u.StopStep > len(stopSteps(u.Config, u.StopSignal)) }

// confirms reports whether the program says by itself when it has reloaded.
func (u *Unit) confirms() bool { r := u.reload(); return r != nil && r.Notify }

// awaitReload begins to wait for what the program says of the reload.
func (st *step) awaitReload(u *Unit) {
	u.ReloadSince, u.ReloadBegun, u.ReloadEnded = st.in.Now, false, false
}

// reloadOverdue gives up a reload that the program does not tell the end of.
func (st *step) reloadOverdue(u *Unit) {
	why := "begun"
	if u.ReloadBegun {
		why = "ended"
	}
	st.endReload(u, fmt.Sprintf("the program did not say in %v that it has %s", st.in.Now.Sub(u.ReloadSince).Round(time.Millisecond), why))
}

// reloadConfirmed takes the READY=1 that ends a reload which has begun. A
// command that asked for it may yet run.
func (st *step) reloadConfirmed(u *Unit) {
	if !u.ReloadBegun {
		return
	}
	u.ReloadEnded = true
	if u.Hook != HookReload {
		st.endReload(u, "")
	}
}

// endReload ends the wait for the program's word, and the reload with it.
func (st *step) endReload(u *Unit, err string) {
	u.ReloadSince, u.ReloadBegun, u.ReloadEnded = time.Time{}, false, false
	st.disarm(u, TimerReload)
	st.reloadDone(u, err)
	st.reloadNext(u)
}

// reloading reports whether a reload is under way.
func (u *Unit) reloading() bool { return u.Hook == HookReload || !u.ReloadSince.IsZero() }

// reviveDependents starts those that have failed because this unit, which is up
// now, was not, and that are still wanted.
func (st *step) reviveDependents(u *Unit) {
	if st.s.Shutdown || !u.provides() {
		return
	}
	for _, name := range slices.Clone(st.s.graph[u.Name].requiredBy) {
		v := st.s.Units[name]
		if v == nil || !v.Up || v.Phase != Failed || v.FailedBy != u.Name {
			continue
		}
		// u itself, a task perhaps, has no reason to run again.
		seen := map[string]bool{u.Name: true}
		st.under(Cause{Kind: CauseRevived, Unit: u.Name}, func() { st.start(v, automatic, seen) })
	}
}

// WatchedEvery is how often the program has to be heard of; 0: it need not.
func (u *Unit) WatchedEvery() time.Duration {
	if u.WatchdogInterval > 0 {
		return time.Duration(u.WatchdogInterval)
	}
	if u.group() {
		return 0
	}
	return time.Duration(max(u.Config.Watchdog.Interval, 0))
}

// forgetNotice begins anew with a new incarnation.
func (u *Unit) forgetNotice() {
	u.Notice, u.WatchdogInterval, u.WatchdogAt = Notice{}, 0, time.Time{}
}
