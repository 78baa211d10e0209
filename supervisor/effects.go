package supervisor

import (
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"

	"go.uber.org/zap"
)

// do carries out one effect. Slow ones go to the unit's queue.
func (s *Supervisor) do(e core.Effect) {
	switch e := e.(type) {
	case core.Spawn:
		s.startRun(e)
	case core.Abort:
		// Not in the queue: it is the job at its head that shall be given up.
		if r := s.runs[e.Incarnation]; r != nil {
			r.cancel()
		}
	case core.Signal:
		// Signals are quick, and must not wait behind a hook that hangs.
		if r := s.runs[e.Incarnation]; r != nil {
			s.signal(r, e.Signal, e.Whole)
			life := s.state.Life(e.Unit, e.Incarnation)
			stopping := life != nil && life.Phase == core.Stopping
			if stopping {
				// A stopped process (SIGSTOP, job control) acts on nothing else.
				s.signal(r, "CONT", e.Whole)
			}
			if stopping || e.Signal == "KILL" {
				s.thawForStop(r)
			}
			if stopping {
				s.tellStep(e.Unit, e.Incarnation)
			}
		}
	case core.KillGroup:
		if r := s.runs[e.Incarnation]; r != nil {
			s.killGroup(r)
			s.tellStep(e.Unit, e.Incarnation)
			if r.killed.IsZero() {
				r.killed = time.Now()
			} else if time.Since(r.killed) >= stuckTime-time.Second { // the core's timer has come again
				s.tellStuck(r)
			}
		}
	case core.Release:
		s.release(e)
	case core.RunHook:
		s.runHook(e)
	case core.AwaitReady:
		s.awaitReady(e)
	case core.Probe:
		s.checkHealth(e)
	case core.HealthChanged:
		s.healthChanged(e)
	case core.ApplyLive:
		s.applyLive(e)
	case core.SetTimer:
		s.setTimer(e)
	case core.StopTimer:
		s.stopTimer(timerKey{e.Unit, e.Timer})
	case core.Reply:
		if ch := s.replies[e.ID]; ch != nil {
			delete(s.replies, e.ID)
			ch <- e
		}
	case core.Transition:
		s.transition(e)
	case core.Beside:
		s.beside(e)
	case core.Sockets:
		s.setSockets(e)
	case core.Watch:
		s.paths.set(e.Unit, e.Paths)
	case core.Stamp:
		s.stamps.set(e.Unit, e.Run)
	case core.Report:
		s.report(e)
	case core.Outcome:
		s.outcome(e)
	case core.Overdue:
		s.overdue(e)
	case core.Done:
		// The loop ends by itself once nothing is left to do.
	}
}

func (s *Supervisor) setTimer(e core.SetTimer) {
	k := timerKey{e.Unit, e.Timer}
	s.stopTimer(k)
	at := e.At
	if e.Timer == core.TimerCalendar {
		at = at.Round(0) // by the wall clock, which may have been set meanwhile
	}
	s.timers[k] = time.AfterFunc(time.Until(at), func() {
		fired := core.TimerFired{Unit: e.Unit, Timer: e.Timer, Seq: e.Seq}
		s.post(func() {
			if e.Timer == core.TimerWatchdog {
				s.watchdogFired(fired)
				return
			}
			s.step(fired)
		})
	})
}

func (s *Supervisor) stopTimer(k timerKey) {
	if t := s.timers[k]; t != nil {
		t.Stop()
		delete(s.timers, k)
	}
}

func (s *Supervisor) transition(e core.Transition) {
	if r := s.runs[e.Incarnation]; r != nil && e.From == core.Running && e.To != core.Running {
		r.unawaited()
		r.unchecked()
	}
	s.dropFDs(e)
	s.unstuck(e)
	fields := []zap.Field{zap.String("unit", e.Unit), zap.String("from", string(e.From)), zap.String("to", string(e.To))}
	if e.Reason != "" {
		fields = append(fields, zap.String("reason", e.Reason))
	}
	switch {
	case e.To == core.Failed:
		s.log.Error("unit failed", fields...)
	case e.To == core.Backoff:
		s.log.Warn("unit will be restarted", fields...)
	case e.From == core.Running && e.To == core.Running && e.Reason == "":
		s.log.Info("unit was replaced", fields...)
	case e.To == core.Running && e.Reason != "": // not the version that was asked for
		s.log.Warn("unit is running", fields...)
	case e.To == core.Running, e.To == core.Inactive, e.To == core.Completed:
		s.log.Info("unit is "+string(e.To), fields...)
	default:
		s.log.Debug("unit is "+string(e.To), fields...)
	}
	if u, ok := s.state.Unit(e.Unit); ok && e.From == core.Cleaning {
		s.tellStop(u)
	}
	s.events.send(api.Event{
		Time: time.Now(), Unit: e.Unit, Incarnation: uint64(e.Incarnation),
		From: e.From, To: e.To, Reason: e.Reason,
	})
}

// beside tells what becomes of a unit's other instance in a replace.
func (s *Supervisor) beside(e core.Beside) {
	if r := s.runs[e.Incarnation]; r != nil && e.From == core.Running {
		r.unawaited()
		r.unchecked()
	}
	s.log.Debug("unit: the instance beside it is "+string(e.To), zap.String("unit", e.Unit), zap.Uint64("incarnation", uint64(e.Incarnation)), zap.String("reason", e.Reason))
	s.events.send(api.Event{
		Time: time.Now(), Unit: e.Unit, Incarnation: uint64(e.Incarnation), Beside: true,
		From: e.From, To: e.To, Reason: e.Reason,
	})
}

// report tells of a unit without a change of phase.
func (s *Supervisor) report(e core.Report) {
	s.log.Warn("unit: "+e.Text, zap.String("unit", e.Unit))
	phase := core.Phase("")
	if u, ok := s.state.Unit(e.Unit); ok {
		phase = u.Phase
	}
	s.events.send(api.Event{Time: time.Now(), Unit: e.Unit, Incarnation: uint64(e.Incarnation), From: phase, To: phase, Reason: e.Text})
}

// applyLive writes what changed and needs no restart: limits and logging.
func (s *Supervisor) applyLive(e core.ApplyLive) {
	r := s.runs[e.Incarnation]
	if r == nil {
		return
	}
	s.enqueue(r, func() {
		if err := s.update(r, e.Config); err != nil {
			s.log.Error("cannot apply the change to the running unit", zap.String("unit", e.Unit), zap.Strings("keys", e.Keys), zap.Error(err))
		}
	})
}
