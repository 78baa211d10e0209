package container

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

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
// kernel/signal.c). So it is looked at several times, with and without.
func DroppedByInit(pid int, sig syscall.Signal) bool {
	switch sig {
	case unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGABRT, unix.SIGPIPE, unix.SIGPWR:
	default:
		return false
	}
	for range 3 {
		if !defaultInInit(pid, sig) || waitsForSignal(pid) {
			return false
		}
	}
	return true
}

// waitsForSignal tells whether the main thread is in rt_sigtimedwait
// (proc_pid_syscall(5); what the kernel does not show counts as no).
func waitsForSignal(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	if err != nil {
		return false
	}
	number, _, _ := strings.Cut(string(text), " ")
	return number == strconv.Itoa(unix.SYS_RT_SIGTIMEDWAIT)
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
