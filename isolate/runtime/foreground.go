package runtime

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// foreground stands in for a process of a container: signals that this process
// gets go to it, and its exit code is ours. It is made before the process, so
// that no signal is lost.
type foreground struct {
	signals chan os.Signal
	made    chan error
}

// maxPending is how many signals may wait for being passed on.
const maxPending = 2048

// newForeground begins to catch signals, while other things are done: see ready.
// With reap, orphans of the container become this process' children and are reaped.
func newForeground(reap bool) *foreground {
	f := &foreground{make(chan os.Signal, maxPending), make(chan error, 1)}
	go func() {
		var err error
		if reap {
			if err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
				err = fmt.Errorf("cannot reap the container's orphans: prctl(PR_SET_CHILD_SUBREAPER): %w", err)
			}
		}
		signal.Notify(f.signals)
		f.made <- err
	}()
	return f
}

// ready waits until signals are caught. It is called once; nil is nothing to wait for.
func (f *foreground) ready() error {
	if f == nil {
		return nil
	}
	return <-f.made
}

// close lets signals have their own effect again.
func (f *foreground) close() { signal.Stop(f.signals) }

// wait waits for the end of the child with that pid and reaps it, and whatever
// else has ended. The result is its exit code, or 128 and the signal that ended it.
func (f *foreground) wait(pid, pidfd int, r *relay) (int, error) {
	for {
		code, done, err := reapAll(pid)
		if done || err != nil {
			return code, err
		}
		sig, _ := (<-f.signals).(syscall.Signal)
		switch {
		case sig == unix.SIGCHLD:
		case sig == unix.SIGWINCH && r != nil:
			r.resize()
		case sig == unix.SIGURG: // the Go runtime's own
		case sig == unix.SIGPIPE: // of this process' output
		default:
			_ = unix.PidfdSendSignal(pidfd, sig, nil, 0) // it may have ended just now
		}
	}
}

// reapAll reaps every child that has ended, and tells whether the one with that pid was among them.
func reapAll(pid int) (code int, done bool, err error) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err == unix.ECHILD && done, err == nil && got == 0:
			return code, done, nil
		case err != nil:
			return 0, false, fmt.Errorf("cannot wait for process %d: %w", pid, err)
		case got == pid:
			code, done = exitCode(ws), true
		}
	}
}

// exitCode is what a shell would say of an end.
func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
