package supervisor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"berth/isolate/cgroup"
	"berth/supervisor/container"
	"berth/units"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// signalName gives a signal's name without SIG.
func signalName(sig syscall.Signal) string {
	if n := unix.SignalName(sig); n != "" {
		return strings.TrimPrefix(n, "SIG")
	}
	return strconv.Itoa(int(sig))
}

// signal sends to the main process, or to every process of the group. Like
// killGroup it is called by the loop and done by a worker, for to look at many
// processes, or to freeze a v1 group, takes time; one after the other for one
// run, so that they come in the order in which they were asked for.
func (s *Supervisor) signal(r *run, name string, whole bool) {
	n, ok := units.SignalNumber(name)
	if !ok {
		s.log.Error("no such signal", zap.String("unit", r.unit), zap.String("signal", name))
		return
	}
	r.signals.add(func() {
		if err := s.sendSignal(r, syscall.Signal(n), whole); err != nil {
			s.log.Warn("cannot signal the unit", zap.String("unit", r.unit), zap.String("signal", name), zap.Error(err))
		}
	})
}

func (s *Supervisor) sendSignal(r *run, sig syscall.Signal, whole bool) error {
	r.mu.Lock()
	proc, group := r.proc, r.group
	r.mu.Unlock()
	switch {
	case proc == nil:
		return nil
	case whole && group != nil && sig == unix.SIGKILL:
		return group.Kill()
	case whole && group != nil:
		return s.signalGroup(group, sig)
	}
	if container.DroppedByInit(proc.pid, sig) {
		r.mu.Lock()
		r.emulated = sig
		r.mu.Unlock()
		sig = unix.SIGKILL
	}
	return proc.signal(sig)
}

// signalGroup sends to each process of the group. A process is held by a pidfd
// while it is seen in the group, so that a reused pid is never hit; one at a
// time, for a unit may have more processes than this one may have descriptors.
func (s *Supervisor) signalGroup(group *cgroup.Group, sig syscall.Signal) error {
	pids, err := group.Pids()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err == unix.ESRCH || err == unix.EINVAL {
			continue // gone meanwhile, its pid perhaps taken by a thread
		}
		if err != nil {
			return fmt.Errorf("cannot open process %d: %w", pid, err)
		}
		if name, err := s.tree.UnitOf(pid); err == nil && name == group.Name() {
			_ = unix.PidfdSendSignal(fd, sig, nil, 0) // gone meanwhile: what was wanted
		}
		unix.Close(fd)
	}
	return nil
}

func (s *Supervisor) killGroup(r *run) {
	r.signals.add(func() {
		r.mu.Lock()
		proc, group := r.proc, r.group
		r.mu.Unlock()
		if group != nil {
			if err := group.Kill(); err != nil {
				s.log.Warn("cannot kill the unit's group", zap.String("unit", r.unit), zap.Error(err))
			}
		}
		if proc != nil { // even if it has moved itself to another group
			_ = proc.signal(unix.SIGKILL) // it may have ended
		}
	})
}

// signal sends to the process. One that has ended needs none.
func (p *process) signal(sig syscall.Signal) error {
	err := p.use(func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
	if err == unix.ESRCH {
		return nil
	}
	return err
}

// duplicate gives a pidfd of one's own, for who needs it beyond the run's life.
func (p *process) duplicate() (*os.File, error) {
	var out *os.File
	err := p.use(func(fd int) error {
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return os.NewSyscallError("fcntl", err)
		}
		out = os.NewFile(uintptr(own), p.pidfd.Name())
		return nil
	})
	return out, err
}

// use has f use the pidfd, which stays open meanwhile; a number that was closed
// and given out again could be any other process's.
func (p *process) use(f func(fd int) error) error {
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return unix.ESRCH
	}
	result := error(unix.ESRCH)
	if conn.Control(func(fd uintptr) { result = f(int(fd)) }) != nil {
		return unix.ESRCH // closed: released
	}
	return result
}
