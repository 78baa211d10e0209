package supervisor

import (
	"strconv"
	"strings"
	"syscall"

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

// signal sends to the main process, or to every process of the group.
func (s *Supervisor) signal(r *run, name string, whole bool) {
	sig, ok := units.SignalNumber(name)
	if !ok {
		s.log.Error("no such signal", zap.String("unit", r.unit), zap.String("signal", name))
		return
	}
	r.mu.Lock()
	proc, group := r.proc, r.group
	r.mu.Unlock()
	if proc == nil {
		return
	}
	if whole && group != nil {
		if err := s.signalGroup(r, syscall.Signal(sig)); err != nil {
			s.log.Warn("cannot signal the unit's group", zap.String("unit", r.unit), zap.Error(err))
		}
		return
	}
	if container.DroppedByInit(proc.pid, syscall.Signal(sig)) {
		r.mu.Lock()
		r.emulated = syscall.Signal(sig)
		r.mu.Unlock()
		sig = int(unix.SIGKILL)
	}
	if err := unix.PidfdSendSignal(int(proc.pidfd.Fd()), syscall.Signal(sig), nil, 0); err != nil && err != unix.ESRCH {
		s.log.Warn("cannot signal the main process", zap.String("unit", r.unit), zap.String("signal", name), zap.Error(err))
	}
}

// signalGroup sends to each process of the group by a pidfd that was opened
// while the process was seen in the group, so that a reused pid is never hit.
func (s *Supervisor) signalGroup(r *run, sig syscall.Signal) error {
	if sig == unix.SIGKILL {
		return r.group.Kill()
	}
	pids, err := r.group.Pids()
	if err != nil {
		return err
	}
	fds := map[int]int{}
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			defer unix.Close(fd)
			fds[pid] = fd
		}
	}
	if pids, err = r.group.Pids(); err != nil {
		return err
	}
	for _, pid := range pids {
		if fd, ok := fds[pid]; ok {
			_ = unix.PidfdSendSignal(fd, sig, nil, 0) // gone meanwhile: what was wanted
		}
	}
	return nil
}

func (s *Supervisor) killGroup(r *run) {
	r.mu.Lock()
	proc, group := r.proc, r.group
	r.mu.Unlock()
	if group != nil {
		if err := group.Kill(); err != nil {
			s.log.Warn("cannot kill the unit's group", zap.String("unit", r.unit), zap.Error(err))
		}
	}
	if proc != nil { // even if it has moved itself to another group
		_ = unix.PidfdSendSignal(int(proc.pidfd.Fd()), unix.SIGKILL, nil, 0)
	}
}
