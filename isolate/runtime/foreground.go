package runtime

import (
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// foreground stands in for a process of a container: signals that this process
// gets go to it, and its exit code is ours. It is made before anything of the
// container, so that no signal is lost or leaves it half made, and takes signals
// and children of this process over for good: who uses it ends when the process has.
type foreground struct {
	signals chan os.Signal
	made    chan error
}

// maxPending is how many signals may wait for being passed on.
const maxPending = 2048

// usual are the signals that people and their tools send. They are caught before
// the process runs, and all others soon after: each costs the Go runtime two
// switches between threads.
var usual = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2}

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
		signal.Notify(f.signals, usual...)
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

// wait waits for the end of the child with that pid and reaps it, and whatever
// else ends before. The result is its exit code, or 128 and the signal that ended it.
func (f *foreground) wait(pid, pidfd int, r *relay) (int, error) {
	go f.pass(pidfd, r)
	return reapUntil(pid)
}

// pass passes signals on to the process behind a pidfd, for as long as there is
// this process.
func (f *foreground) pass(pidfd int, r *relay) {
	patience := time.After(catchAllAfter)
	for {
		select {
		case <-patience:
			signal.Notify(f.signals)
		case s := <-f.signals:
			sig, _ := s.(unix.Signal)
			switch sig {
			case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE: // of reapUntil, of the Go runtime, and of our output
			case unix.SIGWINCH:
				if r != nil {
					r.resize()
				}
			default:
				_ = unix.PidfdSendSignal(pidfd, sig, nil, 0) // it may have ended just now
			}
		}
	}
}

// catchAllAfter is when the signals that are not usual are caught, too.
const catchAllAfter = 5 * time.Millisecond

// reapUntil reaps children until the one with that pid has ended, and gives its exit code.
func reapUntil(pid int) (int, error) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("cannot wait for process %d: %w", pid, err)
		case got == pid:
			return exitCode(ws), nil
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
