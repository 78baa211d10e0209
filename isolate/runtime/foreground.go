package runtime

import (
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/runtime/catch"
)

// foreground stands in for a process of a container: signals that this process
// gets go to it, and its exit code is ours. It takes signals and children of this
// process over for good: who uses it ends when the process has.
type foreground struct{ signals *os.File }

// caught are the signals that are passed on. Not among them are SIGCHLD, which
// reapUntil is for, SIGPIPE, which is about our output, SIGURG, which the Go runtime
// sends itself, those by which the processor tells of a fault, and the two that are
// for threads (signal(7)).
func caught() (list []unix.Signal) {
	for s := unix.Signal(1); s <= 64; s++ {
		switch s {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG, 32, 33:
		case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS:
		default:
			list = append(list, s)
		}
	}
	return list
}

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
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("cannot catch signals: pipe2: %w", err)
	}
	f := &foreground{os.NewFile(uintptr(ends[0]), "signals")}
	return f, catch.To(ends[1], caught()...)
}

// wait waits for the end of the child with that pid and reaps it, and whatever
// else ends before. The result is its exit code, or 128 and the signal that ended it.
func (f *foreground) wait(pid, pidfd int, r *relay) (int, error) {
	if !awaitEnd(pidfd, brief) {
		signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE) // else the Go runtime ends this process when nobody takes its output
		go f.pass(pidfd, r)
	}
	return reapUntil(pid)
}

// brief is how long signals wait before they are passed on: a process that has
// ended by then gets none, and the thread that this takes need not be begun.
const brief = 5 * time.Millisecond

// pass passes signals on to the process behind a pidfd, for as long as there is
// this process.
func (f *foreground) pass(pidfd int, r *relay) {
	var got [64]byte
	for {
		n, err := f.signals.Read(got[:])
		if err != nil {
			return
		}
		for _, s := range got[:n] {
			if sig := unix.Signal(s); sig != unix.SIGWINCH {
				_ = unix.PidfdSendSignal(pidfd, sig, nil, 0) // it may have ended just now
			} else if r != nil {
				r.resize()
			}
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
