package program

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// monitorSlack is what the Go runtime's monitor may sleep longer than it asks
// for: long against the 20 µs that it asks for at first, short against the
// milliseconds after which it takes a processor from somebody.
const monitorSlack = 500_000 // ns

// SlackenMonitor makes the Go runtime's monitor thread of this process wake less
// often. For some milliseconds after a process has begun or has been idle it wakes
// every 20 µs, and takes the processor of a goroutine that is in a system call
// away, for which other threads are woken that find nothing to do: for a process
// that does little but a few system calls this is a third of its processor time,
// and it disturbs the others. It is called once, at the beginning of main.
//
// The monitor is the first thread that the runtime starts (runtime.main), before
// any code that is not its own. Another thread's timer slack (PR_SET_TIMERSLACK of
// prctl(2)) is set by /proc/TID/timerslack_ns, with CAP_SYS_NICE; without it, or
// where anything is missing, all stays as it was.
func SlackenMonitor() {
	if fd, err := unix.Open("/proc/"+strconv.Itoa(monitor())+"/timerslack_ns", unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
		_, _ = unix.Write(fd, strconv.AppendInt(nil, monitorSlack, 10))
		unix.Close(fd)
	}
}

// monitor is the thread id of the process' second thread, 0 if that is not known:
// /proc/self/task has the threads in the order in which they began.
func monitor() int {
	dir, err := unix.Open("/proc/self/task", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(dir)
	var entries [512]byte
	n, err := unix.ReadDirent(dir, entries[:])
	if err != nil {
		return 0
	}
	if _, _, threads := unix.ParseDirent(entries[:n], 2, nil); len(threads) == 2 {
		id, _ := strconv.Atoi(threads[1])
		return id
	}
	return 0
}
