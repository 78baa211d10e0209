package supervisor

import (
	"berth/reaper"
	"berth/supervisor/core"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// onExit takes the end of a registered process. The reaper tells each at least
// once and numbers them; those seen before are acknowledged again and dropped.
func (s *Supervisor) onExit(e reaper.Exit) {
	s.left.forget(e.ID)
	if x := s.execs[e.ID]; x != nil {
		delete(s.execs, e.ID)
		x.exit = e
		close(x.exited)
		s.ack(e.Seq)
		return
	}
	r := s.runs[core.Incarnation(e.ID)]
	if r == nil || r.exit != nil {
		s.ack(e.Seq) // of an incarnation that is over, or told before
		return
	}
	if r.first == nil {
		r.first = &e
		close(r.exited)
	}
	if r.settled {
		s.mainExited(r, e)
	}
}

// mainExited takes the end of a main process, after what it has said before: it
// may have told of another one.
func (s *Supervisor) mainExited(r *run, e reaper.Exit) {
	s.drained(r, func() {
		switch {
		case r.exit != nil:
			s.ack(e.Seq)
		case !s.succeeded(r, e):
			s.ended(r, e)
		}
	})
}

// ended is the end of the incarnation's main process.
func (s *Supervisor) ended(r *run, e reaper.Exit) {
	r.exit = &e
	r.dead()
	s.exited(r, e)
}

// exited gives the core an exit; it is acknowledged only when the snapshot
// holds what came of it.
func (s *Supervisor) exited(r *run, e reaper.Exit) {
	status := core.ExitStatus{Code: e.Code, Signal: int(e.Signal), Core: e.Core}
	r.mu.Lock()
	if e.Signal == unix.SIGKILL && r.emulated != 0 {
		status.Signal = int(r.emulated)
	}
	if r.group != nil {
		if n, err := r.group.OOMKills(); err == nil && n > r.oomKills {
			status.OOM = true
			if stats, err := r.group.Stats(); err == nil {
				status.MemoryMax, status.MemoryPeak = value(stats.Memory.Max), value(stats.Memory.Peak)
			}
		}
	}
	r.mu.Unlock()
	s.step(core.Exited{Unit: r.unit, Incarnation: r.id, Status: status})
	s.ack(e.Seq)
}

func value(n *uint64) uint64 {
	if n == nil {
		return 0
	}
	return *n
}

func (s *Supervisor) ack(seq uint64) {
	if err := s.reaper.Ack(seq); err != nil {
		s.log.Error("cannot acknowledge an exit", zap.Error(err))
	}
}
