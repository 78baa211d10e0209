package supervisor

import (
	"maps"
	"slices"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// checkHealth makes a health check. The core asks for a further one of the same
// name only when this one has been answered, or no longer counts.
func (s *Supervisor) checkHealth(e core.Probe) {
	r := s.runs[e.Incarnation]
	if r == nil {
		return // gone meanwhile: the core is about to hear that
	}
	go func() {
		done := core.Probed{Unit: e.Unit, Incarnation: e.Incarnation, Check: e.Check, Seq: e.Seq}
		if done.Skipped = r.paused(); !done.Skipped {
			s.makeCheck(r, e, &done)
		}
		s.post(func() { s.step(done) })
	}()
}

// makeCheck makes it and fills in the result.
func (s *Supervisor) makeCheck(r *run, e core.Probe, done *core.Probed) {
	start := time.Now()
	output, err := s.probe(r.checking, r, e.Config, time.Duration(e.Config.Timeout))
	done.Output, done.Took = output, time.Since(start)
	if err == nil {
		return
	}
	done.Err = err.Error()
	// Who is paused cannot answer, and who has ended is judged by that.
	done.Skipped = r.paused() || r.ended()
}

// ended reports whether the unit has left Running, or its main process has ended,
// be it before anybody was told.
func (r *run) ended() bool {
	if r.checking.Err() != nil {
		return true
	}
	over := true
	_ = r.main().use(func(fd int) error {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		over = err == nil && n > 0
		return nil
	})
	return over
}

// paused reports whether the run's processes are frozen.
func (r *run) paused() bool {
	r.mu.Lock()
	group := r.group
	r.mu.Unlock()
	if group == nil {
		return false
	}
	frozen, err := group.Frozen()
	return err == nil && frozen
}

// healthChanged tells that a check has changed its mind.
func (s *Supervisor) healthChanged(e core.HealthChanged) {
	reason := e.Reason
	fields := []zap.Field{zap.String("unit", e.Unit), zap.String("check", e.Check)}
	if e.State == core.Unhealthy {
		s.log.Warn("unit is unhealthy", append(fields, zap.String("reason", reason))...)
	} else {
		reason = "health check " + e.Check + " succeeds"
		s.log.Info("health check succeeds", fields...)
	}
	s.events.send(api.Event{
		Time: time.Now(), Unit: e.Unit, Incarnation: uint64(e.Incarnation), From: core.Running, To: core.Running,
		Reason: reason, Check: e.Check, Health: e.State,
	})
}

// checksOf gives a unit's health checks, by name.
func checksOf(u *core.Unit) []api.Check {
	var checks []api.Check
	for _, name := range slices.Sorted(maps.Keys(u.Checks)) {
		c := u.Checks[name]
		out := api.Check{Name: name, State: c.State, Failed: c.Failed, Took: c.Took, Error: c.Err, Output: c.Output}
		if !c.At.IsZero() {
			at := c.At
			out.At = &at
		}
		if next, ok := u.NextCheck(name); ok {
			out.Next = &next
		}
		checks = append(checks, out)
	}
	return checks
}
