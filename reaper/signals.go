package reaper

import (
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// firstRealTime and lastRealTime are the real-time signals that are passed on:
// SIGRTMIN+1 to SIGRTMIN+30 as systemd and every libc count them. SIGRTMIN
// itself, 34, is one that the Go runtime leaves to threading libraries; as PID 1
// it has no effect, since the kernel drops what an init does not handle.
const (
	firstRealTime = 35
	lastRealTime  = 64
)

// relayed are the signals that the supervisor acts on.
func relayed() []os.Signal {
	list := []os.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGQUIT, syscall.SIGPWR, syscall.SIGWINCH,
	}
	for s := firstRealTime; s <= lastRealTime; s++ {
		list = append(list, syscall.Signal(s))
	}
	return list
}

// endings are those of them that ask for an end of everything.
func (r *reaper) endings() []syscall.Signal {
	if r.config.Endings != nil {
		return r.config.Endings
	}
	return []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPWR}
}

// swallowed are those that must not end PID 1, though nobody acts on them. (As
// another process, the reaper dies of them as everybody else.)
func swallowed() []os.Signal {
	list := []os.Signal{syscall.SIGPIPE}
	if os.Getpid() == 1 {
		list = append(list, syscall.SIGABRT, syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGIO,
			syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGSTKFLT, syscall.SIGSYS)
	}
	return list
}

// inbox collects signals and wakes the loop through an eventfd.
type inbox struct {
	fd int

	mu      sync.Mutex
	child   bool
	signals []syscall.Signal // each at most once, in the order of arrival
}

// listen starts to collect. No SIGCHLD is lost: the channel holds one, and
// whoever takes it looks at all children afterwards.
func listen() (*inbox, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	in := &inbox{fd: fd}
	child, others := make(chan os.Signal, 1), make(chan os.Signal, 128)
	signal.Notify(child, syscall.SIGCHLD)
	signal.Notify(others, append(relayed(), swallowed()...)...)
	go func() {
		for {
			select {
			case <-child:
				in.add(syscall.SIGCHLD)
			case s := <-others:
				if slices.Contains(relayed(), s) {
					in.add(s.(syscall.Signal))
				}
			}
		}
	}()
	return in, nil
}

func (in *inbox) add(s syscall.Signal) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if s == syscall.SIGCHLD {
		in.child = true
	} else if !slices.Contains(in.signals, s) {
		in.signals = append(in.signals, s)
	}
	unix.Write(in.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// take empties the inbox.
func (in *inbox) take() (child bool, signals []syscall.Signal) {
	in.mu.Lock()
	defer in.mu.Unlock()
	var count [8]byte
	unix.Read(in.fd, count[:])
	child, signals = in.child, in.signals
	in.child, in.signals = false, nil
	return child, signals
}

// setMask blocks all relayed signals on the calling thread, or none at all. The
// mask of the thread that calls execve or forks is what the new program gets.
func setMask(block bool) {
	var set unix.Sigset_t
	if block {
		for _, s := range relayed() {
			n := uint(s.(syscall.Signal)) - 1
			set.Val[n/64] |= 1 << (n % 64)
		}
	}
	unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil)
}
