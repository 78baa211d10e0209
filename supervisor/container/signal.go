package container

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DroppedByInit tells whether pid is the init of a PID namespace that has left
// sig at its default action, and that action is to end the process. The kernel
// drops such a signal for an init (pid_namespaces(7)), so a program that never
// thought of being PID 1 could only be stopped by waiting for the KILL. What
// the signal would have done outside a namespace is to be done by KILL instead.
// The caller sees to it that pid is not reused meanwhile.
//
// An init that waits in sigtimedwait(2) or the like looks as if it had not
// blocked what it waits for, though nothing is dropped (real_blocked in
// kernel/signal.c). So it is looked at several times, with and without; a look
// at one that is just running, or wants to, tells nothing about where it waits.
// It may take 50 ms with one that never sleeps.
func DroppedByInit(pid int, sig syscall.Signal) bool {
	switch sig {
	case unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGABRT, unix.SIGPIPE, unix.SIGPWR:
	default:
		return false
	}
	asleep := 0
	for range 50 {
		if !defaultInInit(pid, sig) {
			return false
		}
		switch call := systemCall(pid); call {
		case strconv.Itoa(unix.SYS_RT_SIGTIMEDWAIT):
			return false
		case "running":
			time.Sleep(time.Millisecond)
			continue
		}
		if asleep++; asleep == 3 {
			return true
		}
	}
	return true
}

// systemCall gives the number of the system call that the main thread waits in,
// "running" when it does not wait, "" where the kernel shows nothing
// (proc_pid_syscall(5)).
func systemCall(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	if err != nil {
		return ""
	}
	call, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	return call
}

// defaultInInit tells whether pid is an init that neither blocks, ignores nor
// handles sig.
func defaultInInit(pid int, sig syscall.Signal) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	defer f.Close()
	init := false
	var handled uint64
	for sc := bufio.NewScanner(f); sc.Scan(); {
		key, value, _ := strings.Cut(sc.Text(), ":")
		switch key {
		case "NSpid":
			ids := strings.Fields(value)
			init = len(ids) > 1 && ids[len(ids)-1] == "1"
		case "SigBlk", "SigIgn", "SigCgt":
			mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil {
				return false
			}
			handled |= mask
		}
	}
	return init && handled&(1<<(sig-1)) == 0
}
