package main

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// trim gives back memory that only the start needed: free heap, and the pages of
// the program file that are mapped here (its initialisation touched nearly all
// of them). The latter are clean, stay in the page cache, and come back one by
// one as they are used (madvise(2), MADV_DONTNEED on a private file mapping).
func trim() {
	debug.FreeOSMemory()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		// start-end perms offset device inode path, proc_pid_maps(5)
		fields := strings.Fields(sc.Text())
		if len(fields) < 6 || strings.Join(fields[5:], " ") != exe || strings.Contains(fields[1], "w") {
			continue
		}
		from, to, ok := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if !ok || err1 != nil || err2 != nil {
			continue
		}
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED) // only advice
	}
}

// trimInterval is short against a service's life and long against the
// millisecond that a trim takes.
const trimInterval = 20 * time.Second

// trimNowAndThen trims when the start is over, and every now and then: all three
// processes are idle nearly always.
func trimNowAndThen() {
	time.Sleep(startTime)
	trim()
	for range time.Tick(trimInterval) {
		trim()
	}
}

// The supervisor's garbage collection (GOGC). While it starts, time counts: the
// heap may grow to 8 MB before the first collection, which a start with some ten
// units does not need. Afterwards memory does: it is idle nearly always.
const (
	startCollection = 200
	startTime       = 2 * time.Second
	collection      = 50
)

// collectLater sets the supervisor's garbage collection for its start, and in a
// while for its life. Then it trims now and then.
func collectLater() {
	debug.SetGCPercent(startCollection)
	go func() {
		time.Sleep(startTime)
		debug.SetGCPercent(collection)
	}()
	go trimNowAndThen()
}

// tableSize is how many descriptors a process has room for from the start.
const tableSize = 1024

// growTable makes room in the process's table of descriptors. The kernel doubles
// it as it fills, and of a process with several threads waits each time until no
// processor can be looking at the old one (expand_fdtable in fs/file.c, RCU):
// milliseconds, in which a reaper or a supervisor would do nothing else.
func growTable() {
	if fd, err := unix.FcntlInt(uintptr(unix.Stdin), unix.F_DUPFD_CLOEXEC, tableSize-1); err == nil {
		unix.Close(fd)
	}
}
