package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/cgroup/ocigroup"
)

// killWait is how long processes that were killed may take to be gone: those in
// an uninterruptible wait of the kernel do not heed a signal.
const killWait = 10 * time.Second

// ParseSignal gives the signal of a number or a name, with or without SIG before
// it, in any case; real-time ones are RTMIN+n and RTMAX-n.
func ParseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("unknown signal %q", s)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	// The first two real-time signals are the C library's own.
	for base, number := range map[string]int{"SIGRTMIN": 34, "SIGRTMAX": 64} {
		rest, ok := strings.CutPrefix(name, base)
		n, err := strconv.Atoi(rest)
		if ok && (rest == "" || err == nil && (rest[0] == '+' || rest[0] == '-')) && number+n >= 34 && number+n <= 64 {
			return unix.Signal(number + n), nil
		}
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

// Kill sends a signal to the first process of a container, or to all of its
// processes. ErrNotRunning if it has stopped, except with all, which then is
// for those that it may have left.
func (rt *Runtime) Kill(id string, signal unix.Signal, all bool) error {
	r, status, pidfd, err := rt.look(id)
	if err != nil {
		return err
	}
	defer closeFD(pidfd)
	if all || r.SharedPID && signal == unix.SIGKILL {
		return rt.killAll(r, signal, all, status, pidfd)
	}
	if pidfd < 0 {
		return ErrNotRunning
	}
	if err := sendSignal(pidfd, signal); err != nil {
		return err
	}
	if status == Created && ends(signal) {
		// At the gate every signal still has its default effect, which the kernel
		// leaves out for the first process of a PID namespace.
		signal = unix.SIGKILL
		if err := sendSignal(pidfd, signal); err != nil {
			return err
		}
	}
	if signal == unix.SIGKILL && status == Paused {
		// On v1 a frozen process dies only when it is thawed.
		return rt.withGroup(r, (*ocigroup.Group).Thaw)
	}
	return nil
}

// killAll signals the processes of the container's groups.
func (rt *Runtime) killAll(r *Record, signal unix.Signal, all bool, status Status, pidfd int) error {
	return rt.withGroup(r, func(g *ocigroup.Group) error {
		if pidfd < 0 && !all {
			// Without a PID namespace of its own the others outlive the first process.
			if left, err := g.Pids(); err != nil || len(left) == 0 {
				return cmp.Or(err, ErrNotRunning)
			}
		}
		switch {
		case g.None() && pidfd < 0:
			return nil
		case g.None():
			return sendSignal(pidfd, signal)
		case signal == unix.SIGKILL:
			if err := g.Kill(); err != nil || status != Paused {
				return err
			}
			return g.Thaw()
		}
		return g.Signal(signal)
	})
}

// ends tells whether a signal ends a process by default (signal(7)).
func ends(signal unix.Signal) bool {
	switch signal {
	case 0, unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		return false
	}
	return true
}

func sendSignal(pidfd int, signal unix.Signal) error {
	err := unix.PidfdSendSignal(pidfd, signal, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return ErrNotRunning
	}
	if err != nil {
		return fmt.Errorf("cannot send signal %d: %w", int(signal), err)
	}
	return nil
}
