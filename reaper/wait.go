package reaper

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childInfo is siginfo_t as waitid(2) fills it on 64-bit machines.
type childInfo struct {
	signo, errno, code int32
	_                  int32
	pid                int32
	uid                uint32
	status             int32
	_                  [100]byte
}

// si_code of a SIGCHLD, sigaction(2).
const (
	cldExited = 1
	cldDumped = 3
)

// waitid calls waitid(2) without ever blocking. It gives the pid of an ended
// child that matches, or 0 when there is none. __WALL: also children with
// another exit signal than SIGCHLD.
func waitid(idType, id, options int, info *childInfo, usage *syscall.Rusage) (int, syscall.Errno) {
	info.pid = 0
	options |= unix.WEXITED | unix.WNOHANG | unix.WALL
	_, _, errno := unix.RawSyscall6(unix.SYS_WAITID, uintptr(idType), uintptr(id),
		uintptr(unsafe.Pointer(info)), uintptr(options), uintptr(unsafe.Pointer(usage)), 0)
	return int(info.pid), errno
}

// peekAny looks for an ended child and leaves it as it is; 0: there is none.
func peekAny() int {
	var info childInfo
	pid, _ := waitid(unix.P_ALL, 0, unix.WNOWAIT, &info, nil)
	return pid
}

// peek tells whether the child pid has ended, and leaves it as it is. The errno
// is ECHILD when pid is not a child.
func peek(pid int) (bool, syscall.Errno) {
	var info childInfo
	got, errno := waitid(unix.P_PID, pid, unix.WNOWAIT, &info, nil)
	return got == pid, errno
}

// peekExit gives the exit of an ended child, and leaves it a zombie.
func peekExit(pid int) (Exit, bool) {
	var info childInfo
	usage := new(syscall.Rusage)
	if got, errno := waitid(unix.P_PID, pid, unix.WNOWAIT, &info, usage); errno != 0 || got != pid {
		return Exit{}, false
	}
	x := Exit{PID: pid, Rusage: usage}
	if info.code == cldExited {
		x.Code = int(info.status)
	} else {
		x.Signal = syscall.Signal(info.status)
		x.Core = info.code == cldDumped
	}
	return x, true
}

// reapPID takes an ended child away; it does nothing to one that runs.
func reapPID(pid int) (childInfo, bool) {
	var info childInfo
	got, errno := waitid(unix.P_PID, pid, 0, &info, nil)
	return info, errno == 0 && got == pid
}

// checkPIDFD tells whether pidfd refers to pid and pid is a child, ended or not.
func (r *reaper) checkPIDFD(pid, pidfd int) (syscall.Errno, string) {
	var info childInfo
	got, errno := waitid(unix.P_PIDFD, pidfd, unix.WNOWAIT, &info, nil)
	switch {
	case errno == syscall.EBADF:
		return syscall.EINVAL, "not a pidfd"
	case errno == syscall.ECHILD:
		return errno, "not a process of this reaper"
	case errno != 0:
		return errno, "waitid"
	case got != 0 && got != pid:
		return syscall.EINVAL, "the pidfd is another process's"
	}
	if _, errno := peek(pid); errno != 0 {
		return errno, "not a process of this reaper"
	}
	if got == 0 && r.hasProc() {
		if of, ok := pidOf(pidfd); ok && of != pid {
			return syscall.EINVAL, "the pidfd is another process's"
		}
	}
	return 0, ""
}

// pidOf reads the pid of a pidfd from its fdinfo, proc_pid_fdinfo(5).
func pidOf(pidfd int) (int, bool) {
	data, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, false
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if value, found := strings.CutPrefix(line, "Pid:"); found {
			pid, err := strconv.Atoi(strings.TrimSpace(value))
			return pid, err == nil && pid > 0
		}
	}
	return 0, false
}
