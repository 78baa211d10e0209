package config

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"berth/units"
)

// Action is what has to happen to a unit to get from one generation to the next.
type Action string

// The actions.
const (
	ActionNone    Action = "none"    // nothing to do for what runs
	ActionLive    Action = "live"    // changed keys are written to the running unit
	ActionReload  Action = "reload"  // the unit's own [service] reload
	ActionRestart Action = "restart" // stop and start
	ActionStart   Action = "start"   // new, and to be up
	ActionStop    Action = "stop"    // its file is gone
)

// Step is what a plan means for one unit, and the keys that cause it.
type Step struct {
	Unit   string            `json:"unit"`
	Action Action            `json:"action"`
	Keys   []units.KeyChange `json:"keys,omitempty"`
	New    bool              `json:"new,omitempty"` // the unit was not there before
}

// Plan is the way from one generation to the next: a step for every unit of
// either, in name order.
type Plan []Step

// DiffUnits compares two sets of units key by key; either may be nil. It is
// pure. It looks at what files say and not at what runs: a unit that is down is
// not started by a change of it. The old units need not have been loaded
// together: what runs may be older than the last generation.
func DiffUnits(old, new map[string]*units.Unit) Plan {
	names := slices.Collect(maps.Keys(old))
	for name := range new {
		if old[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	plan := make(Plan, len(names))
	for i, name := range names {
		plan[i] = step(name, old[name], new[name])
	}
	return plan
}

func step(name string, old, new *units.Unit) Step {
	s := Step{Unit: name, Action: ActionNone}
	switch {
	case new == nil:
		s.Action = ActionStop
	case old == nil:
		s.New = true
		if new.Unit.Start == "boot" {
			s.Action = ActionStart
		}
	default:
		s.Keys = units.Diff(old, new)
		switch units.Heaviest(s.Keys) {
		case units.Live:
			s.Action = ActionLive
		case units.ReloadClass:
			// Without a reload of its own a unit takes up the change by a restart.
			s.Action = ActionRestart
			if new.Service.Reload != nil {
				s.Action = ActionReload
			}
		case units.RestartClass:
			s.Action = ActionRestart
		}
	}
	return s
}

// Empty tells whether the plan leaves everything as it is, descriptions included.
func (p Plan) Empty() bool {
	return !slices.ContainsFunc(p, Step.matters)
}

func (s Step) matters() bool { return s.Action != ActionNone || s.New || len(s.Keys) > 0 }

// Format writes the plan for people: a line for each unit to which something
// happens, below it one for each key with the class in which that is applied,
// and how many units stay as they are. Values of environment variables are left
// out: they are where secrets are.
func (p Plan) Format(w io.Writer) error {
	var b strings.Builder
	same := 0
	for _, s := range p {
		if !s.matters() {
			same++
			continue
		}
		fmt.Fprintf(&b, "%-8s %s%s\n", s.Action, s.Unit, s.note())
		for _, k := range s.Keys {
			fmt.Fprintf(&b, "         %-8s %s%s\n", k.Class, k.Key, values(k))
		}
	}
	switch same {
	case 0:
	case 1:
		b.WriteString("1 unit stays as it is\n")
	default:
		fmt.Fprintf(&b, "%d units stay as they are\n", same)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Step) note() string {
	switch {
	case s.Action == ActionStop:
		return " (its file is gone)"
	case s.Action == ActionStart:
		return " (new)"
	case s.New:
		return " (new, started on demand)"
	}
	return ""
}

func values(k units.KeyChange) string {
	if strings.HasPrefix(k.Key, "service.environment.") || k.Key == "service.environment" {
		return ""
	}
	or := func(s string) string {
		if s == "" {
			return "(none)"
		}
		return s
	}
	return ": " + or(k.Old) + " → " + or(k.New)
}
