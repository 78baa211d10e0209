package reaper

import (
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// warmThreads is how many threads are made at the beginning: more than there
	// are goroutines of this process that are ever in a system call at a time.
	warmThreads = 6
	// reexecFDs is how many descriptors must be free for an execve of the reaper:
	// what the runtime and Run open before they can close anything.
	reexecFDs = 16
)

// warmUp has the Go runtime make now what it makes on first use otherwise, and
// ends the process if it cannot: its poller (two descriptors), and threads. Idle
// threads stay, so that later, when a fork bomb has taken every process there may
// be or every descriptor is in use, nothing of it is missing.
func warmUp() {
	// A pipe is put into the poller; a timer starts it too.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	time.NewTimer(time.Hour).Stop()

	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC) != nil {
		return
	}
	var begun, ended atomic.Int32
	for range warmThreads {
		go func() {
			begun.Add(1)
			var b [1]byte
			unix.Read(fds[0], b[:]) // blocks its thread, so the next one needs another
			ended.Add(1)
		}()
	}
	for begun.Load() < warmThreads {
		runtime.Gosched()
	}
	unix.Write(fds[1], make([]byte, warmThreads))
	for ended.Load() < warmThreads {
		runtime.Gosched()
	}
	unix.Close(fds[0])
	unix.Close(fds[1])
}

// roomToReexec tells whether the program that is executed in this one's place
// will be able to open what it needs before it can free anything.
func roomToReexec() error {
	var spare []int
	defer func() {
		for _, fd := range spare {
			unix.Close(fd)
		}
	}()
	for range reexecFDs {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			return err
		}
		spare = append(spare, fd)
	}
	return nil
}
