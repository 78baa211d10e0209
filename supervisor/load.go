package supervisor

import (
	"context"
	"path/filepath"
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
// watching comes first, so that no change falls between. Called before the loop.
func (s *Supervisor) watch(ctx context.Context) (<-chan struct{}, error) {
	changes, err := config.Watch(ctx, config.WatchOptions{Dirs: s.cfg.Directories, Log: s.log.Sugar().Warnf})
	if err != nil {
		return nil, err
	}
	set, err := s.readUnits()
	s.takeUp(set, err, "started")
	return changes, nil
}

func (s *Supervisor) readUnits() (*config.Set, error) {
	return config.Load(config.Options{Dirs: s.cfg.Directories})
}

// reload reads all unit files as a new generation and applies it if it is
// valid. Many files, or a slow disk, must not hold up the loop: the reading is
// done by the caller, one at a time, so that none overtakes a later one.
func (s *Supervisor) reload(ctx context.Context, why string) (*api.Reload, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	set, failed := s.readUnits()
	var out api.Reload
	err := s.ask(ctx, func() { out = s.takeUp(set, failed, why) })
	return &out, err
}

// reloadLater is reload for the loop itself.
func (s *Supervisor) reloadLater(why string) {
	go func() { _, _ = s.reload(context.Background(), why) }() // fails only when the supervisor ends
}

// takeUp applies a set that was read, or tells why there is none. Called by the loop.
func (s *Supervisor) takeUp(set *config.Set, err error, why string) api.Reload {
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
	if s.generation > 0 && plan.Empty() && !s.withdrawn(set) {
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

// withdrawn tells whether a version that was rejected is no longer asked for; it
// may be that what runs instead now is, and then the plan is empty.
func (s *Supervisor) withdrawn(set *config.Set) bool {
	for _, name := range s.state.Names() {
		u, _ := s.state.Unit(name)
		if now := set.Units[name]; u.Rejected != nil && now != nil && len(units.Diff(u.Rejected, now)) > 0 {
			return true
		}
	}
	return false
}

// plan compares a set with what runs, or will at the next start.
func (s *Supervisor) plan(set *config.Set) config.Plan {
	running := map[string]*units.Unit{}
	for _, name := range s.state.Names() {
		switch u, _ := s.state.Unit(name); {
		case u.Gone:
		case u.Rejected != nil && set.Units[name] != nil && len(units.Diff(u.Rejected, set.Units[name])) == 0:
			running[name] = u.Rejected // tried, and not to be tried again
		case u.Next != nil:
			running[name] = u.Next
		default:
			running[name] = u.Config
		}
	}
	return config.DiffUnits(running, set.Units)
}
