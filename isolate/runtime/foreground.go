package runtime

import (
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// foreground stands in for a process of a container: signals that this process
// gets go to it, and its exit code is ours. It takes signals and children of this
// process over for good: who uses it ends when the process has.
type foreground struct{ signals chan os.Signal }

// maxPending is how many signals may wait for being passed on.
const maxPending = 256

// usual are the signals that people and their tools send. They are caught before
// the process runs, and all others soon after: each costs the Go runtime two
// switches between threads.
var usual = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2}

// newForeground begins to catch signals. It is called while the process is made,
// when this one has nothing else to do, and before the process may come past its
// gate: a signal that ends this process before leaves no program running, though
// perhaps what delete clears away. With reap, orphans of the container become this
// process' children and are reaped.
func newForeground(reap bool) (*foreground, error) {
	if reap {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("cannot reap the container's orphans: prctl(PR_SET_CHILD_SUBREAPER): %w", err)
		}
	}
	f := &foreground{make(chan os.Signal, maxPending)}
	signal.Notify(f.signals, usual...)
	return f, nil
}

// wait waits for the end of the child with that pid and reaps it, and whatever
// else ends before. The result is its exit code, or 128 and the signal that ended it.
func (f *foreground) wait(pid, pidfd int, r *relay) (int, error) {
	if !awaitEnd(pidfd, brief) {
		signal.Notify(f.signals)
		go f.pass(pidfd, r)
	}
	return reapUntil(pid)
}

// brief is how long signals wait before they are passed on and those that are not
// usual are not caught: a process that has ended by then gets none, and the threads
// that it takes need not be begun.
const brief = 5 * time.Millisecond

// pass passes signals on to the process behind a pidfd, for as long as there is
// this process.
func (f *foreground) pass(pidfd int, r *relay) {
	for s := range f.signals {
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
