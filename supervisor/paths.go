package supervisor

import (
	"context"
	"maps"
	"slices"
	"sync"

	"berth/config"
	"berth/supervisor/core"

	"go.uber.org/zap"
)

// pathWatch watches the paths of all units, with one inotify instance.
type pathWatch struct {
	kick chan struct{} // there is something else to watch

	mu    sync.Mutex
	units map[string]map[string]string // unit → path → as it was when it was told of last
}

func newPathWatch() *pathWatch {
	return &pathWatch{kick: make(chan struct{}, 1), units: map[string]map[string]string{}}
}

// set has these paths watched for a unit. A change counts from here on.
func (w *pathWatch) set(unit string, paths []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	was, now := w.units[unit], map[string]string{}
	for _, path := range paths {
		stamp, known := was[path]
		if !known {
			stamp = config.PathStamp(path)
		}
		now[path] = stamp
	}
	w.units[unit] = now
	if len(now) == 0 {
		delete(w.units, unit)
	}
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// all gives every path that is watched.
func (w *pathWatch) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	paths := map[string]bool{}
	for _, of := range w.units {
		for path := range of {
			paths[path] = true
		}
	}
	return slices.Sorted(maps.Keys(paths))
}

// changed gives, by unit, a path that is not as it was.
func (w *pathWatch) changed() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, out := map[string]string{}, map[string]string{}
	for unit, of := range w.units {
		for _, path := range slices.Sorted(maps.Keys(of)) {
			stamp, known := now[path]
			if !known {
				stamp = config.PathStamp(path)
				now[path] = stamp
			}
			if of[path] != stamp {
				of[path], out[unit] = stamp, path
			}
		}
	}
	return out
}

// watchPaths tells the core of changes until the supervisor ends.
func (s *Supervisor) watchPaths() {
	end := func() {}
	defer func() { end() }()
	var ticks <-chan struct{}
	for {
		select {
		case <-s.paths.kick:
			end()
			ticks, end = s.followPaths(s.paths.all())
		case <-ticks:
		case <-s.done:
			return
		}
		// Also after a new beginning: between the old watch and the new there was none.
		for unit, path := range s.paths.changed() {
			s.post(func() { s.step(core.PathChanged{Unit: unit, Path: path}) })
		}
	}
}

// followPaths watches until end is called.
func (s *Supervisor) followPaths(paths []string) (ticks <-chan struct{}, end func()) {
	ctx, end := context.WithCancel(context.Background())
	if len(paths) == 0 {
		return nil, end
	}
	ticks, err := config.WatchPaths(ctx, config.WatchOptions{Dirs: paths, Log: s.log.Sugar().Warnf})
	if err != nil {
		s.log.Error("cannot watch the units' paths", zap.Error(err))
	}
	return ticks, end
}
