package foreground

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"berth/isolate"
	"berth/isolate/program"
	"berth/supervisor/container"

	"golang.org/x/sys/unix"
)

// process is a started program, a child of this process.
type process struct {
	child  *isolate.Child
	pidfd  *os.File      // a duplicate of child's; ours to close
	exited chan struct{} // closed when it is a zombie, which code reaps
	// asked is a signal whose default action was carried out by KILL.
	asked  syscall.Signal
	reaped bool
	status unix.WaitStatus
}

// ends tells whether a signal asks us to end.
func ends(sig os.Signal) bool {
	return sig == unix.SIGHUP || sig == unix.SIGINT || sig == unix.SIGQUIT || sig == unix.SIGTERM
}

// spawn starts a compiled program in the group and waits until it executes. On
// failure it is dead. A signal meanwhile that asks us to end kills it: then it
// is given as ended by that signal.
func (s *session) spawn(prog *program.Program, std *stdio) (*process, error) {
	entry, err := s.group.Open()
	if err != nil {
		return nil, err
	}
	defer entry.Close()
	files := std.files
	files.CgroupDir, files.CgroupProcs = entry.Dir, entry.Procs
	prepared, err := isolate.Prepare(prog, files)
	if err != nil {
		return nil, err
	}
	defer prepared.Close()
	uid, gid := int(prepared.UID()), int(prepared.GID())
	for _, f := range std.far {
		if err := f.Chown(uid, gid); err != nil && (s.env.Ordinary == nil || !errors.Is(err, unix.EPERM)) {
			return nil, fmt.Errorf("cannot give input and output to the program's user: %w", err)
		}
	}
	if s.unit.Cgroup.Delegate {
		if err := s.group.Chown(uid, gid); err != nil {
			return nil, err
		}
	}
	child, err := prepared.Fork()
	if err != nil {
		return nil, err
	}
	std.launched()
	var p *process
	if err = s.keeper.watch(child.PID); err == nil {
		p, err = watch(child)
	}
	if err != nil {
		_ = child.Kill()
		_, _ = child.Wait()
		return nil, err
	}
	if err = prepared.Proceed(); err == nil {
		err = s.started(prepared, p)
	}
	if err != nil {
		s.giveUp(p)
		return nil, err
	}
	return p, nil
}

// started waits until the program is executed.
func (s *session) started(prepared *isolate.Prepared, p *process) error {
	timeout := time.Duration(s.unit.Service.StartTimeout)
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	result := make(chan error, 1)
	go func() { result <- prepared.Wait(deadline) }()
	for {
		select {
		case err := <-result:
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("cannot start %s: it took longer than %v (service.start-timeout)", s.unit.Name, timeout)
			}
			return err
		case sig := <-s.signals:
			if ends(sig) {
				p.asked = sig.(syscall.Signal)
				p.kill()
				_ = s.group.Thaw()
			}
		}
	}
}

// giveUp kills a process that did not get to its program. A group that was
// frozen meanwhile is thawed for the signal to take effect.
func (s *session) giveUp(p *process) {
	for {
		p.kill()
		_ = s.group.Thaw()
		select {
		case <-p.exited:
			p.code()
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// watch follows a child by its pidfd.
func watch(child *isolate.Child) (*process, error) {
	fd, err := unix.FcntlInt(uintptr(child.PIDFD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot follow the program: %w", err)
	}
	p := &process{child: child, pidfd: os.NewFile(uintptr(fd), "pidfd"), exited: make(chan struct{})}
	go func() {
		for {
			// WNOWAIT: signals are sent until it is reaped, so that is the owner's to do.
			err := unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if err != unix.EINTR {
				break
			}
		}
		close(p.exited)
	}()
	return p, nil
}

// signal sends a signal; one that the init of a PID namespace would not notice
// ends it as it would end any other program.
func (p *process) signal(sig syscall.Signal) {
	if container.DroppedByInit(p.child.PID, sig) {
		p.asked = sig
		sig = unix.SIGKILL
	}
	_ = p.child.Signal(sig) // it may have ended
}

func (p *process) kill() { _ = p.child.Kill() }

// code reaps the process, which has exited, and gives its exit code as a shell does.
func (p *process) code() int {
	p.reap()
	switch ws := p.status; {
	case ws.Signaled() && ws.Signal() == unix.SIGKILL && p.asked != 0:
		return 128 + int(p.asked)
	case ws.Signaled():
		return 128 + int(ws.Signal())
	default:
		return ws.ExitStatus()
	}
}

// failure reaps the process and tells whether it has failed.
func (p *process) failure() error {
	p.reap()
	switch ws := p.status; {
	case ws.Signaled():
		return fmt.Errorf("killed by signal %d (%v)", int(ws.Signal()), ws.Signal())
	case ws.ExitStatus() != 0:
		return fmt.Errorf("exited with status %d", ws.ExitStatus())
	}
	return nil
}

func (p *process) reap() {
	if p.reaped {
		return
	}
	p.reaped = true
	p.status, _ = p.child.Wait() // it is our child, and waited for nowhere else
	p.pidfd.Close()
}
