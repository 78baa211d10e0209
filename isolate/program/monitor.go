package program

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// monitorSlack is what the Go runtime's monitor may sleep longer than it asks
// for: long against the 20 µs that it asks for at first, short against the
// milliseconds after which it takes a processor from somebody.
const monitorSlack = 2_000_000 // ns

// SlackenMonitor makes the Go runtime's monitor thread of this process wake less
// often. For some milliseconds after a process has begun or has been idle it wakes
// every 20 µs, and takes the processor of a goroutine that is in a system call
// away, for which other threads are woken that find nothing to do: for a process
// that does little but a few system calls this is a third of its processor time,
// and it disturbs the others. It is called once, at the beginning of main. It is not
// for a process with many goroutines: one that waits for the processor of another
// that is in a system call gets it later.
//
// Another thread's timer slack (PR_SET_TIMERSLACK of prctl(2)) is set by
// /proc/TID/timerslack_ns, with CAP_SYS_NICE; without it, or where the thread is not
// found, all stays as it was.
func SlackenMonitor() {
	id := monitor()
	if id == 0 {
		return
	}
	if fd, err := unix.Open("/proc/"+strconv.Itoa(id)+"/timerslack_ns", unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
		_, _ = unix.Write(fd, strconv.AppendInt(nil, monitorSlack, 10))
		unix.Close(fd)
	}
}

// monitor gives the thread id of the monitor, 0 if it is not found. It is the first
// thread that the runtime starts (runtime.main), before any code that is not its
// own, so the one with the number after the process' unless something else on the
// machine has been started at that moment.
func monitor() int {
	const elsewhere = 256
	pid := unix.Getpid()
	for id := pid + 1; id <= pid+elsewhere; id++ {
		if unix.Tgkill(pid, id, 0) == nil {
			return id
		}
	}
	return 0
}
