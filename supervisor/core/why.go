package core

import "time"

// Link is one unit of the chain of causes that led to a unit's state: the facts
// as they are kept, for whoever tells them.
type Link struct {
	Unit string `json:"unit"`
	// Depth is 0 for the unit that was asked about; a link's causes follow it, one deeper.
	Depth int `json:"depth"`
	// Relation is what this unit is to the one above: "failed", "waits for",
	// "required by" and so on; "" at depth 0.
	Relation string `json:"relation,omitempty"`

	Up       bool      `json:"up"`
	Phase    Phase     `json:"phase"`
	Ready    bool      `json:"ready"`
	Since    time.Time `json:"since"`
	Reason   string    `json:"reason,omitempty"`
	NotReady string    `json:"not_ready,omitempty"`
	// Health is that of a unit with health checks, and Failing those that have failed.
	Health  HealthState   `json:"health,omitempty"`
	Failing []FailedCheck `json:"failing,omitempty"`

	Incarnation Incarnation `json:"incarnation,omitempty"`
	LastExit    *ExitStatus `json:"last_exit,omitempty"`
	LastPID     int         `json:"last_pid,omitempty"`
	Times       Times       `json:"times"`
	RestartAt   *time.Time  `json:"restart_at,omitempty"`
	Starts      []time.Time `json:"starts,omitempty"` // those that the start limit counts
	Asked       Cause       `json:"asked"`
	Past        []Entry     `json:"past,omitempty"`
	// Seen: it is told further up already, and its causes with it.
	Seen bool `json:"seen,omitempty"`
}

// maxLinks bounds a chain: a group may wait for a thousand units.
const maxLinks = 50

// Why tells what led to the unit's state: first the unit itself, then, each one
// deeper than what it explains, the unit whose failure took it down, the units
// that it waits for, and those that had it started or stopped. It is nil for a
// unit that there is not, and bounded: of many causes the first 50 are told.
func (s *State) Why(name string) []Link {
	s.derive()
	w := &whys{s: s, seen: map[string]bool{}}
	w.tell(name, "", 0)
	return w.chain
}

type whys struct {
	s     *State
	seen  map[string]bool
	chain []Link
}

func (w *whys) tell(name, relation string, depth int) {
	u := w.s.Units[name]
	if u == nil || len(w.chain) == maxLinks {
		return
	}
	l := Link{
		Unit: name, Depth: depth, Relation: relation,
		Up: u.Up, Phase: u.Phase, Ready: u.Ready, Since: u.Since, Reason: u.Reason, NotReady: u.NotReady,
		Incarnation: u.Incarnation, LastExit: u.LastExit, LastPID: u.LastPID, Times: u.Times,
		Health: u.Health(), Failing: u.failing(),
		Starts: u.Starts, Asked: u.Asked, Past: u.Past, Seen: w.seen[name],
	}
	if u.Phase == Backoff {
		l.RestartAt = &u.RestartAt
	}
	w.chain = append(w.chain, l)
	if l.Seen {
		return
	}
	w.seen[name] = true
	if u.FailedBy != "" && (u.Phase == Failed || u.Then == Failed) {
		w.tell(u.FailedBy, "failed", depth+1)
	}
	for _, d := range w.s.WaitsFor(name) {
		w.tell(d, "waits for", depth+1)
	}
	if other := u.Asked.Unit; other != "" && !w.seen[other] {
		w.tell(other, u.Asked.relation(), depth+1)
	}
}

// relation says what the other unit of a cause did.
func (c Cause) relation() string {
	switch c.Kind {
	case CauseRequired:
		return "required by"
	case CauseWanted:
		return "wanted by"
	case CauseOnFailure:
		return "started by the failure of"
	case CauseConflict:
		return "conflicts with"
	case CauseDependency:
		if c.Verb == VerbRestart {
			return "restarted with"
		}
		return "stopped with"
	}
	return string(c.Kind)
}
