package config

import (
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
	ActionReplace Action = "replace" // a new instance beside the old one, which is then stopped
	ActionStart   Action = "start"   // new, and to be up
	ActionStop    Action = "stop"    // its file is gone
)

// Step is what a plan means for one unit, and the keys that cause it.
type Step struct {
	Unit   string            `json:"unit"`
	Action Action            `json:"action"`
	Keys   []units.KeyChange `json:"keys,omitempty"`
	New    bool              `json:"new,omitempty"`  // the unit was not there before
	Gone   bool              `json:"gone,omitempty"` // its file is not there any more
	Down   bool              `json:"down,omitempty"` // it is not up: what changed holds from its next start on
	// Hidden are the keys whose values were taken out, for they may be secrets.
	Hidden []string `json:"hidden,omitempty"`
	// Rejected tells why this version was tried before and is not what runs.
	Rejected string `json:"rejected,omitempty"`
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
		s.Action, s.Gone = ActionStop, true
	case old == nil:
		s.New = true
		if new.Unit.Start == "boot" {
			s.Action = ActionStart
		}
	default:
		if old == new {
			return s
		}
		s.Keys = units.Diff(old, new)
		switch units.Heaviest(s.Keys) {
		case units.Live:
			s.Action = ActionLive
		case units.ReloadClass:
			// Without a reload of its own a unit takes up the change by a restart.
			s.Action = restart(old, new)
			if new.Service.Reload != nil {
				s.Action = ActionReload
			}
		case units.RestartClass:
			s.Action = restart(old, new)
		}
	}
	return s
}

// restart is how a service is restarted that is up.
func restart(old, new *units.Unit) Action {
	if new.Restart.Mode == "replace" && old.Service.Type == "service" && new.Service.Type == "service" {
		return ActionReplace
	}
	return ActionRestart
}

// Empty tells whether the plan leaves everything as it is, descriptions included.
func (p Plan) Empty() bool {
	return !slices.ContainsFunc(p, Step.matters)
}

func (s Step) matters() bool { return s.Action != ActionNone || s.New || s.Gone || len(s.Keys) > 0 }

// Changed gives the steps that leave a unit otherwise than it was.
func (p Plan) Changed() Plan {
	out := Plan{}
	for _, s := range p {
		if s.matters() {
			out = append(out, s)
		}
	}
	return out
}

// WithoutSecrets gives the plan without the values of environment variables,
// which are where secrets are; they are marked as hidden.
func (p Plan) WithoutSecrets() Plan {
	out := slices.Clone(p)
	for i, s := range out {
		out[i].Keys = slices.Clone(s.Keys)
		for j := range s.Keys {
			if k := &out[i].Keys[j]; secret(k.Key) {
				out[i].Hidden = append(slices.Clip(out[i].Hidden), k.Key)
				k.Old, k.New = "", ""
			}
		}
	}
	return out
}

func secret(key string) bool {
	return key == "service.environment" || strings.HasPrefix(key, "service.environment.")
}
