package core

import (
	"slices"
	"time"
)

// CauseKind says what kind of thing asked for a unit to go up or down.
type CauseKind string

// The kinds.
const (
	CauseCommand    CauseKind = "command"    // a user's: Verb, By
	CauseBoot       CauseKind = "boot"       // start = "boot"
	CauseNew        CauseKind = "new"        // a new unit file with start = "boot"
	CauseChange     CauseKind = "change"     // its configuration: Keys
	CauseRemoved    CauseKind = "removed"    // its unit file
	CauseRequired   CauseKind = "required"   // by Unit
	CauseWanted     CauseKind = "wanted"     // by Unit
	CauseOnFailure  CauseKind = "on-failure" // of Unit
	CauseConflict   CauseKind = "conflict"   // with Unit
	CauseDependency CauseKind = "dependency" // it requires Unit, which went down or was restarted: Verb
	CauseRevived    CauseKind = "revived"    // Unit, because of which it had failed, is up
	CauseTimer      CauseKind = "timer"      // its own
	CauseSocket     CauseKind = "socket"     // traffic on its own: By
	CausePath       CauseKind = "path"       // a change of one that it watches: By
	CauseShutdown   CauseKind = "shutdown"
)

// Cause is what asked for a unit to be up, down or restarted. It is kept over a
// lost supervisor, and it is what `berth why` tells.
type Cause struct {
	Kind CauseKind `json:"kind"`
	Unit string    `json:"unit,omitempty"`
	Verb Verb      `json:"verb,omitempty"`
	By   string    `json:"by,omitempty"` // who gave the command, for people
	Keys []string  `json:"keys,omitempty"`
	// Generation is that in which the unit files changed.
	Generation uint64    `json:"generation,omitempty"`
	At         time.Time `json:"at"`
}

// Entry is one change of a unit's phase that tells something of its past.
type Entry struct {
	At          time.Time   `json:"at"`
	Incarnation Incarnation `json:"incarnation,omitempty"`
	Phase       Phase       `json:"phase"`
	Reason      string      `json:"reason,omitempty"`
}

// maxPast is how many entries are kept: the last life, its end and two retries.
const maxPast = 8

// under does f with that cause for whatever it starts and stops.
func (st *step) under(c Cause, f func()) {
	was := st.cause
	st.cause = c
	f()
	st.cause = was
}

// asked notes why the unit is to change.
func (st *step) asked(u *Unit) {
	u.Asked = st.cause
	u.Asked.At = st.in.Now
}

// pass notes a phase that is entered: when it was reached on the way up, and
// what people want to know of the past.
func (st *step) pass(u *Unit, to Phase, reason string) {
	switch to {
	case Waiting:
		u.Times = Times{Waiting: st.in.Now}
		return
	case Starting:
		u.Times.Starting = st.in.Now
		return
	case Completed:
		st.arrived(u)
	case Cleaning:
		if reason == "" || u.Phase == Completed {
			return
		}
	}
	if n := len(u.Past); n > 0 && u.Past[n-1].Phase == Cleaning && u.Past[n-1].Reason == reason {
		u.Past = slices.Clone(u.Past[:n-1]) // it says nothing beside what followed
	}
	u.Past = append(u.Past, Entry{st.in.Now, u.Incarnation, to, reason})
	if n := len(u.Past) - maxPast; n > 0 {
		u.Past = slices.Clone(u.Past[n:])
	}
}

// arrived notes that the unit is up. The times of the first way up are kept, for
// those who look at how the machine came up.
func (st *step) arrived(u *Unit) {
	u.Times.Ready = st.in.Now
	if u.First.Ready.IsZero() {
		u.First = u.Times
	}
}

// Times are the moments of a unit's last way up; zero: not reached.
type Times struct {
	Waiting  time.Time `json:"waiting"`  // asked for, and waiting for others
	Starting time.Time `json:"starting"` // its turn has come
	Executed time.Time `json:"executed"` // its program runs
	Ready    time.Time `json:"ready"`    // up for those that require it
}
