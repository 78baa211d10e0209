package supervisor

import (
	"context"
	"regexp"
	"time"

	"berth/supervisor/core"
	"berth/units"
)

// The pauses between two looks at whether a unit is ready: each is twice the one
// before. What starts fast is seen fast, and what takes long is not held up by it.
const (
	firstReadyPause = 20 * time.Millisecond
	lastReadyPause  = time.Second
)

// awaitReady finds out when a unit is ready in the way that its [ready] says.
// It ends with the main process, and when the unit leaves Running.
func (s *Supervisor) awaitReady(e core.AwaitReady) {
	r := s.runs[e.Incarnation]
	if r == nil {
		return // gone meanwhile
	}
	r.unawaited()
	ctx, cancel := context.WithCancel(r.alive)
	r.unawaited = cancel
	switch ready := e.Config.Ready; {
	case ready.Notify, ready.FD != nil, ready.Log != "": // listen, readReady and watchLog tell it
	default:
		go s.pollReady(ctx, r, ready)
	}
}

// pollReady asks until the answer is yes. Why it is no is told when it changes.
func (s *Supervisor) pollReady(ctx context.Context, r *run, ready units.Ready) {
	told := ""
	for pause := firstReadyPause; ; pause = min(2*pause, lastReadyPause) {
		err := s.probeReady(ctx, r, ready)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			s.readiness(r, true, "")
			return
		}
		if why := err.Error(); why != told {
			told = why
			s.readiness(r, false, why)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// readiness tells the core. Of an incarnation that is over it takes no notice.
func (s *Supervisor) readiness(r *run, ready bool, why string) {
	s.post(func() {
		s.step(core.Readiness{Unit: r.unit, Incarnation: r.id, Ready: ready, Why: why})
	})
}

// watchLog looks for the line that [ready] log names, from before the program's
// first line on. The pump waits with it until the core knows of the start.
func (s *Supervisor) watchLog(r *run) {
	if r.cfg.Ready.Log == "" || r.streams == nil {
		return
	}
	re, err := regexp.Compile(r.cfg.Ready.Log)
	if err != nil {
		return // units has refused it
	}
	r.streams.Watch(re, func() {
		select {
		case <-r.known:
			s.tellReady(r, true, "")
		case <-s.done:
		}
	})
}

// readyTimeout bounds one look at whether a unit is ready; what does not answer is
// asked again.
const readyTimeout = 10 * time.Second

// probeReady makes the check that [ready] names, once: tcp, http, exec or file.
func (s *Supervisor) probeReady(ctx context.Context, r *run, ready units.Ready) error {
	_, err := s.probe(ctx, r, units.Probe{TCP: ready.TCP, HTTP: ready.HTTP, Exec: ready.Exec, File: ready.File}, readyTimeout)
	return err
}
