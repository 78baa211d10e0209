package supervisor

import (
	"fmt"
	"os"

	"berth/reaper"
	"berth/supervisor/core"
	"berth/supervisor/notify"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// A program may tell that another of its processes is the main one (MAINPID= of
// sd_notify(3)). That one is followed by its pidfd. As soon as the former has
// ended, which makes it the reaper's child where nobody else is its subreaper, it
// is registered in the former's place, and then its end is known as surely. In a
// PID namespace of its own the end of the first process is that of all.

// mainTold finds the process that a message says is the main one; nil for none.
// The caller owns its pidfd.
func (s *Supervisor) mainTold(r *run, m *notify.Message) *process {
	if m.MainPID == 0 && !m.MainPIDFD {
		return nil
	}
	p, err := s.findMain(r, m)
	if err != nil {
		s.log.Warn("the unit's main process stays as it is", zap.String("unit", r.unit), zap.Int("told", m.MainPID), zap.Error(err))
		return nil
	}
	return p
}

func (s *Supervisor) findMain(r *run, m *notify.Message) (*process, error) {
	if m.MainPIDFD {
		if len(m.Files) != 1 {
			return nil, fmt.Errorf("cannot tell the process: %d descriptors came with MAINPIDFD=1", len(m.Files))
		}
		pid, err := notify.PIDOf(m.Files[0])
		if err != nil {
			return nil, err
		}
		return s.member(r, pid, m.MainPIDFDID)
	}
	pid, err := s.seenBySender(r, &m.Sender, m.MainPID)
	if err != nil {
		return nil, err
	}
	return s.member(r, pid, m.MainPIDFDID)
}

// member gets hold of a process that has to be the unit's. id, if given, is the
// inode number of its pidfds.
func (s *Supervisor) member(r *run, pid int, id uint64) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot look at process %d: %w", pid, err)
	}
	p := &process{pid: pid, pidfd: os.NewFile(uintptr(fd), fmt.Sprint("pidfd of ", pid))}
	if err := s.mayBeMain(r, p, id); err != nil {
		p.pidfd.Close()
		return nil, err
	}
	return p, nil
}

// mayBeMain tells why a process cannot be the unit's main one.
func (s *Supervisor) mayBeMain(r *run, p *process, id uint64) error {
	ours, err := s.within(r, p.pid)
	if err != nil {
		return err
	}
	if !ours {
		return fmt.Errorf("process %d is none of the unit's", p.pid)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(p.pidfd.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if id != 0 && st.Ino != id {
		return fmt.Errorf("process %d is another one than MAINPIDFDID tells", p.pid)
	}
	if !notify.Exists(p.pidfd) { // what was found may be about another of its pid
		return fmt.Errorf("process %d has ended", p.pid)
	}
	return nil
}

// seenBySender gives the pid, in our PID namespace, of the process that has the
// given one in the sender's.
func (s *Supervisor) seenBySender(r *run, sender *notify.Sender, pid int) (int, error) {
	theirs, err := notify.Namespace(sender.PID)
	if err != nil { // it has ended: the unit's own
		sender = &notify.Sender{PID: r.main().pid}
		if theirs, err = notify.Namespace(sender.PID); err != nil {
			return 0, fmt.Errorf("cannot tell in which PID namespace process %d is meant: %w", pid, err)
		}
	}
	if ours, err := notify.Namespace(os.Getpid()); err == nil && ours == theirs {
		return pid, nil
	}
	numbers, err := notify.PIDs(sender.PID)
	if err != nil {
		return 0, err
	}
	depth := len(numbers)
	r.mu.Lock()
	group := r.group
	r.mu.Unlock()
	if group == nil {
		return 0, errNotRunning
	}
	pids, err := group.Pids()
	if err != nil {
		return 0, err
	}
	for _, candidate := range pids {
		numbers, err := notify.PIDs(candidate)
		if err != nil || len(numbers) < depth || numbers[depth-1] != pid {
			continue
		}
		if in, err := notify.Namespace(candidate); len(numbers) > depth || err == nil && in == theirs {
			return candidate, nil
		}
	}
	return 0, fmt.Errorf("the unit has no process %d, as the sender counts them", pid)
}

// main gives the main process of the moment.
func (r *run) main() *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.proc
}

// moveMain makes p, which it takes over, the main process, and gives its pid; 0
// if it is the main process already. Called by the loop.
func (s *Supervisor) moveMain(r *run, p *process) int {
	if r.exit != nil || r.proc.pid == p.pid {
		p.pidfd.Close()
		return 0
	}
	if err := s.reaper.Store(storeName("main", uint64(r.id)), p.pidfd); err != nil {
		s.log.Error("cannot keep the unit's main process", zap.String("unit", r.unit), zap.Error(err))
	}
	s.log.Info("the unit's main process is another one now", zap.String("unit", r.unit), zap.Int("from", r.proc.pid), zap.Int("to", p.pid))
	s.watchMain(r, p)
	if r.first != nil && r.registered == nil {
		s.register(r, func() {})
	}
	return p.pid
}

// watchMain takes over p as main process and watches for its end.
func (s *Supervisor) watchMain(r *run, p *process) {
	r.mu.Lock()
	if r.proc != nil {
		r.former = append(r.former, r.proc)
	}
	r.proc = p
	r.mu.Unlock()
	if r.streams != nil {
		r.streams.SetMainPID(p.pid)
	}
	own, err := p.duplicate()
	if err != nil {
		s.log.Error("cannot watch the unit's main process", zap.String("unit", r.unit), zap.Error(err))
		return
	}
	go func() {
		defer own.Close()
		poll := []unix.PollFd{{Fd: int32(own.Fd()), Events: unix.POLLIN}}
		for {
			if n, err := unix.Poll(poll, -1); n > 0 || err != nil && err != unix.EINTR {
				break
			}
		}
		status, known := notify.ExitOf(p.pid, own)
		s.post(func() {
			if r.exit == nil && r.proc == p && r.registered != p {
				s.mainGone(r, status, known)
			}
		})
	}()
}

// mainGone is the end of a main process that the reaper does not wait for. How it
// ended may be known to its parent alone: that is taken for success.
func (s *Supervisor) mainGone(r *run, status unix.WaitStatus, known bool) {
	e := reaper.Exit{ID: uint64(r.id), PID: r.proc.pid}
	if known {
		if status.Signaled() {
			e.Signal, e.Core = status.Signal(), status.CoreDump()
		} else {
			e.Code = status.ExitStatus()
		}
	} else {
		s.log.Warn("how the unit's main process ended is known to its parent alone", zap.String("unit", r.unit), zap.Int("pid", e.PID))
	}
	s.ended(r, e)
}

// register has the reaper report the end of a main process that was not
// registered from birth, once its parent is gone. let releases the place of the
// registration before.
func (s *Supervisor) register(r *run, let func()) {
	id := s.execID.Add(1) // while this is open the reaper holds whoever ends
	if err := s.reaper.Begin(id); err != nil {
		s.log.Warn("cannot have the unit's main process reported", zap.String("unit", r.unit), zap.Error(err))
		let()
		return
	}
	let()
	// It is no child of the reaper where another process of the unit is its
	// parent; then only its pidfd tells of its end.
	if err := s.reaper.Register(uint64(r.id), r.proc.pid, r.proc.pidfd); err == nil {
		r.registered = r.proc
	}
	_ = s.reaper.Abandon(id)
}

// succeeded tells whether another main process lives on after one that has ended.
// It acknowledges the end then.
func (s *Supervisor) succeeded(r *run, e reaper.Exit) bool {
	if r.proc == nil || r.proc.pid == e.PID || !alive(r.proc) {
		return false
	}
	s.log.Info("a former main process of the unit has ended", zap.String("unit", r.unit), zap.Int("pid", e.PID))
	r.registered = nil
	s.register(r, func() { s.ack(e.Seq) })
	return true
}

// alive tells whether a process has not ended.
func alive(p *process) bool {
	ended := true
	_ = p.use(func(fd int) error {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		ended = n > 0 || err != nil && err != unix.EINTR
		return nil
	})
	return !ended
}

// adoptMain goes on with a main process that was told to an earlier supervisor.
// Registered is the one that the reaper knows, nil for none.
func (s *Supervisor) adoptMain(r *run, l *core.Life, stored map[string][]*os.File) {
	kept := takeStored(stored, storeName("main", uint64(r.id)))
	if kept == nil {
		return
	}
	pid, err := notify.PIDOf(kept)
	if err != nil { // it has ended
		pid = l.MainPID
	}
	if r.proc != nil && r.proc.pid == pid {
		r.registered = r.proc
		kept.Close()
		return
	}
	if r.proc == nil {
		r.first = &reaper.Exit{}
		close(r.exited)
	}
	s.watchMain(r, &process{pid: pid, pidfd: kept})
	if r.first != nil {
		s.register(r, func() {})
	}
	if l.MainPID != pid {
		s.step(core.Notified{Unit: r.unit, Incarnation: r.id, Message: core.Message{MainPID: pid}})
	}
}
