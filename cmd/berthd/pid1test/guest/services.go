package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// count writes the numbers from 1 on, one a line, so many milliseconds apart.
func count(interval int) error {
	for n := 1; ; n++ {
		if _, err := os.Stdout.WriteString(strconv.Itoa(n) + "\n"); err != nil {
			return err
		}
		time.Sleep(time.Duration(interval) * time.Millisecond)
	}
}

// talk writes numbered lines as fast as they are taken, and how many there were
// so far to a file, each time after so many.
func talk(each int) error {
	for n := 1; ; n++ {
		if _, err := fmt.Fprintf(os.Stdout, "%d %s\n", n, strings.Repeat("blah ", 20)); err != nil {
			return err
		}
		if n%each == 0 {
			if err := os.WriteFile("/srv/said", []byte(strconv.Itoa(n)), 0o644); err != nil {
				return err
			}
		}
	}
}

// hog takes memory until there is none.
func hog() error {
	var all [][]byte
	for {
		chunk := make([]byte, 1<<20)
		for i := 0; i < len(chunk); i += 4096 {
			chunk[i] = 1
		}
		all = append(all, chunk)
		if len(all) > 1<<20 {
			return nil
		}
	}
}

// bomb starts itself over and over, and so does each of these. Nothing waits
// for them.
func bomb() error {
	signalled := make(chan struct{})
	for {
		_, err := syscall.ForkExec("/proc/self/exe", []string{"guest", "bomb", "0"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
		if err == nil {
			continue
		}
		// No more are allowed: some end, so that there is room for others.
		if os.Getpid()%3 == 0 && os.Getpid() != 1 {
			return nil
		}
		select {
		case <-signalled:
		case <-time.After(time.Millisecond):
		}
	}
}

// orphans makes so many processes that have ended, and leaves them all at once
// to PID 1. They are plain forks, which is what takes the least time; nothing
// runs in them but the system call that ends them.
func orphans(n int) error {
	for range n {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		if pid == 0 {
			for {
				unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
			}
		}
	}
	return nil
}
