package supervisor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"berth/isolate/cgroup"
	"berth/supervisor/api"
	"berth/supervisor/core"

	"go.uber.org/zap"
)

// maxNamed bounds how many processes of a unit are looked at by name.
const maxNamed = 20

// named tells what is in a group, at most so many.
func named(group *cgroup.Group) (list []core.Process, more int) {
	if group == nil {
		return nil, 0
	}
	pids, _ := group.Pids() // gone meanwhile: no processes
	for _, pid := range pids[:min(len(pids), maxNamed)] {
		list = append(list, core.Process{PID: pid, Name: comm(pid)})
	}
	return list, len(pids) - len(list)
}

// groupNow gives the run's group; nil: it has none.
func (r *run) groupNow() *cgroup.Group {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.group
}

// Stops tells how far the stops that are under way have got: of the named units
// and those that they wait for, or of all.
func (b backend) Stops(ctx context.Context, names []string) ([]api.Stopping, error) {
	out := []api.Stopping{}
	var groups []*cgroup.Group
	err := b.ask(ctx, func() {
		queue := slices.Clone(names)
		if len(names) == 0 {
			queue = b.state.Names()
		}
		for seen := map[string]bool{}; len(queue) > 0; queue = queue[1:] {
			name := queue[0]
			if seen[name] {
				continue
			}
			seen[name] = true
			p, ok := b.state.Progress(name)
			if !ok {
				continue
			}
			queue = append(queue, p.WaitsFor...)
			u, _ := b.state.Unit(name)
			out = append(out, api.Stopping{Progress: p})
			groups = append(groups, b.runs[u.Incarnation].groupNow())
		}
	})
	for i, g := range groups {
		out[i].Processes, out[i].More = named(g)
	}
	return out, err
}

// stopped gives the accounts of the stops that have ended since a time.
func (s *Supervisor) stopped(since time.Time) map[string]core.Stop {
	out := map[string]core.Stop{}
	for _, name := range s.state.Names() {
		if u, _ := s.state.Unit(name); u.LastStop != nil && u.LastStop.Ended.After(since) {
			out[name] = *u.LastStop
		}
	}
	return out
}

// tellStep tells the events which step of a stop has been done.
func (s *Supervisor) tellStep(unit string, incarnation core.Incarnation) {
	p, ok := s.state.Progress(unit)
	if !ok || p.Signal == "" {
		return
	}
	text := "sent " + p.Signal
	if p.Step > p.Steps {
		text = "not down in its time: killed all its processes"
	} else if !p.Until.IsZero() {
		text += fmt.Sprintf("; %s follows at %s", p.Next, p.Until.Format(time.TimeOnly))
	}
	s.events.send(api.Event{
		Time: time.Now(), Unit: unit, Incarnation: uint64(incarnation),
		From: p.Phase, To: p.Phase, Reason: text,
	})
}

// tellStop logs a stop that was not smooth.
func (s *Supervisor) tellStop(u *core.Unit) {
	stop := u.LastStop
	if stop == nil || stop.Ended.IsZero() || !stop.Killed && len(stop.Left) == 0 {
		return
	}
	s.log.Warn("the unit did not stop by itself", zap.String("unit", u.Name), zap.Duration("took", stop.Ended.Sub(stop.Began)),
		zap.Bool("killed", stop.Killed), zap.Any("left", stop.Left), zap.Bool("empty", stop.Empty))
}

const (
	waitTold = 10 * time.Second // between two times that a shutdown tells what it waits for
	maxWaits = 20               // units that are told of at a time
)

// tellWaits logs what a shutdown waits for.
func (s *Supervisor) tellWaits() {
	told := 0
	for _, name := range s.state.Names() {
		p, ok := s.state.Progress(name)
		if !ok || len(p.WaitsFor) > 0 || told == maxWaits {
			continue
		}
		told++
		u, _ := s.state.Unit(name)
		list, more := named(s.runs[u.Incarnation].groupNow())
		fields := []zap.Field{zap.String("unit", name), zap.String("phase", string(p.Phase)), zap.String("sent", p.Signal), zap.Any("processes", list), zap.Int("more", more)}
		if !p.Until.IsZero() {
			fields = append(fields, zap.Time("until", p.Until), zap.String("then", p.Next))
		}
		s.log.Warn("waiting for the unit to stop", fields...)
	}
}

// overdue tells what a shutdown that takes too long waits for.
func (s *Supervisor) overdue(e core.Overdue) {
	s.abandoned = e.Abandoned
	what := "the time of the shutdown is over: killing what is left"
	if e.Abandoned {
		what = "going down without what could not even be killed"
	}
	for _, name := range e.Units {
		u, _ := s.state.Unit(name)
		list, more := named(s.runs[u.Incarnation].groupNow())
		s.log.Error(what, zap.String("unit", name), zap.String("hook", string(u.Hook)), zap.Any("processes", list), zap.Int("more", more))
	}
}
