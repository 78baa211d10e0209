package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"

	"go.uber.org/zap"
)

// pauseTime is how long the processes of a unit may take to be frozen: one in
// an uninterruptible wait is so only after it.
const pauseTime = 5 * time.Second

// pause freezes or thaws the groups of running units. The kernel keeps whether
// a unit is paused, over a restart of the supervisor too, and the state machine
// knows nothing of it: to stop a unit thaws it.
func (b backend) pause(ctx context.Context, c api.Command) (*api.Result, error) {
	type answer struct {
		unit string
		err  error
	}
	answers := make(chan answer, len(c.Units))
	runs := make(map[string]*run)
	var refused error
	err := b.ask(ctx, func() {
		for _, name := range c.Units {
			u, ok := b.state.Unit(name)
			if !ok {
				refused = b.notFound(name)
				return
			}
			r := b.runs[u.Incarnation]
			if r == nil || u.Phase != core.Running || u.MainPID == 0 || u.Halt {
				refused = &api.Error{Code: "not-running", Message: fmt.Sprintf("cannot %s %s: %s", c.Verb, name, core.NotRunning)}
				return
			}
			runs[name] = r
		}
		// Among the signals, so that those of a stop come after it.
		for _, name := range slices.Sorted(maps.Keys(runs)) {
			r := runs[name]
			r.signals.add(func() { answers <- answer{name, b.freeze(r, c.Verb == api.VerbPause)} })
		}
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}
	out := &api.Result{}
	if c.NoBlock {
		return out, nil
	}
	for range runs {
		select {
		case a := <-answers:
			if a.err != nil {
				if out.Failed == nil {
					out.Failed = make(map[string]string)
				}
				out.Failed[a.unit] = a.err.Error()
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-b.done:
			return nil, errStopped
		}
	}
	return out, nil
}

// freeze freezes or thaws a run's group and tells the events so.
func (s *Supervisor) freeze(r *run, on bool) error {
	r.mu.Lock()
	group := r.group
	r.mu.Unlock()
	if group == nil {
		return errors.New(core.NotRunning)
	}
	what, err := "resumed", error(nil)
	if on {
		ctx, cancel := context.WithTimeout(context.Background(), pauseTime)
		defer cancel()
		what = "paused"
		if err = group.Freeze(ctx); err != nil {
			err = errors.Join(err, group.Thaw())
		}
	} else {
		err = group.Thaw()
	}
	if err != nil {
		return err
	}
	s.log.Info("unit is "+what, zap.String("unit", r.unit))
	s.events.send(api.Event{Time: time.Now(), Unit: r.unit, Incarnation: uint64(r.id), From: core.Running, To: core.Running, Reason: what})
	return nil
}

// thawForStop lets a paused unit act on the signals sent before: a v1 freezer
// holds even a killed process. It is called by
// the loop and done after them.
func (s *Supervisor) thawForStop(r *run) {
	r.signals.add(func() {
		r.mu.Lock()
		group := r.group
		r.mu.Unlock()
		if group == nil {
			return
		}
		if frozen, err := group.Frozen(); err != nil || !frozen {
			return
		}
		if err := group.Thaw(); err != nil {
			s.log.Warn("cannot resume the paused unit to stop it", zap.String("unit", r.unit), zap.Error(err))
		}
	})
}
