package supervisor

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"berth/config"
	"berth/supervisor/api"
	"berth/supervisor/core"
	"berth/units"

	"go.uber.org/zap"
)

func logDir(stateDir string) string { return filepath.Join(stateDir, "log") }

// watch starts to watch the unit directories and takes up what they hold now;
// watching comes first, so that no change falls between.
func (s *Supervisor) watch(ctx context.Context) (<-chan struct{}, error) {
	changes, err := config.Watch(ctx, config.WatchOptions{Dirs: s.cfg.Directories, Log: s.log.Sugar().Warnf})
	if err != nil {
		return nil, err
	}
	s.reload("started")
	return changes, nil
}

// reload reads all unit files as a new generation and applies it if it is
// valid. Called by the loop.
func (s *Supervisor) reload(why string) api.Reload {
	set, err := config.Load(config.Options{Dirs: s.cfg.Directories})
	if err != nil {
		s.log.Error("cannot read the unit files", zap.Error(err))
		return api.Reload{Generation: s.generation, Diagnostics: units.Diagnostics{{Severity: units.Error, Message: err.Error()}}}
	}
	if set.Diagnostics.HasErrors() {
		s.invalid = set.Diagnostics
		var text strings.Builder
		set.Diagnostics.Format(&text, false)
		s.log.Error("the unit files are not valid, nothing was changed: see berth check", zap.String("diagnostics", text.String()))
		return api.Reload{Generation: s.generation, Diagnostics: set.Diagnostics}
	}
	plan := s.plan(set)
	s.invalid, s.set = nil, set
	if s.generation > 0 && !slices.ContainsFunc(plan, func(c api.Change) bool { return c.Action != "none" || len(c.Keys) > 0 }) {
		return api.Reload{Generation: s.generation, Changes: plan}
	}
	boot := s.generation == 0
	s.generation++
	changes := map[string]core.Change{}
	for _, c := range plan {
		if len(c.Keys) == 0 {
			continue
		}
		keys := make([]string, len(c.Keys))
		for i, k := range c.Keys {
			keys[i] = k.Key
		}
		changes[c.Unit] = core.Change{Class: units.Heaviest(c.Keys), Keys: keys}
	}
	s.log.Info("taking up a new generation", zap.Uint64("generation", s.generation), zap.String("because", why), zap.Int("units", len(set.Units)))
	s.step(core.Load{Generation: s.generation, Units: set.Units, Changes: changes, Boot: boot})
	s.events.send(api.Event{Time: time.Now(), Generation: s.generation})
	return api.Reload{Generation: s.generation, Changes: plan, Diagnostics: set.Diagnostics}
}

// plan compares a set with what runs, unit by unit, in name order.
func (s *Supervisor) plan(set *config.Set) []api.Change {
	out := []api.Change{}
	names := map[string]bool{}
	for n := range set.Units {
		names[n] = true
	}
	for _, n := range s.state.Names() {
		names[n] = true
	}
	for _, name := range sortedKeys(names) {
		next := set.Units[name]
		var old *units.Unit
		if u, ok := s.state.Unit(name); ok && !u.Gone {
			old = u.Config
			if u.Next != nil {
				old = u.Next
			}
		}
		out = append(out, change(name, old, next))
	}
	return out
}

func change(name string, old, next *units.Unit) api.Change {
	c := api.Change{Unit: name, Action: "none"}
	switch {
	case old == nil && next == nil:
	case old == nil:
		if next.Unit.Start == "boot" {
			c.Action = "start"
		}
	case next == nil:
		c.Action = "stop"
	default:
		c.Keys = units.Diff(old, next)
		switch units.Heaviest(c.Keys) {
		case units.Live:
			c.Action = "live"
		case units.ReloadClass:
			c.Action = "reload"
		case units.RestartClass:
			c.Action = "restart"
		}
	}
	return c
}
