package notify

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Sender is who has sent a message, by the kernel's word.
type Sender struct {
	PID   int // in our PID namespace; 0: it is not in it
	UID   uint32
	pidfd *os.File // nil: the kernel does not give it
}

func (s *Sender) close() {
	if s.pidfd != nil {
		s.pidfd.Close()
		s.pidfd = nil
	}
}

// Hold gets hold of the sender's process, where the kernel has not done so
// already (before Linux 6.5): from here on Is tells whether what was found out by
// its pid is about that process. What ended before, its pid taken by another, is
// not told from that one.
func (s *Sender) Hold() error {
	if s.pidfd != nil {
		return nil
	}
	fd, err := unix.PidfdOpen(s.PID, 0)
	if err != nil {
		return fmt.Errorf("cannot look at process %d: %w", s.PID, err)
	}
	s.pidfd = os.NewFile(uintptr(fd), "pidfd of the sender")
	return nil
}

// Is tells, after Hold, that the sender's pid is still its own, so that what was
// read below /proc/PID meanwhile was about the sender.
func (s *Sender) Is() bool {
	return s.pidfd != nil && Exists(s.pidfd)
}

// Exists tells whether a process, perhaps a zombie, still has its pid.
func Exists(pidfd *os.File) bool {
	err := use(pidfd, func(fd int) error { return unix.PidfdSendSignal(fd, 0, nil, 0) })
	return err == nil || err == unix.EPERM
}

// use has f use a descriptor that a program may share with us: unlike os.File.Fd
// it leaves its mode alone.
func use(file *os.File, f func(fd int) error) (err error) {
	conn, failed := file.SyscallConn()
	if failed == nil {
		failed = conn.Control(func(fd uintptr) { err = f(int(fd)) })
	}
	if failed != nil {
		return failed
	}
	return err
}

// Group gives the id (the inode number of the directory) of the v2 control group
// that the sender was in when it ended. Known only of one that has ended, from
// Linux 6.16 on.
func (s *Sender) Group() (id uint64, ok bool) {
	if s.pidfd == nil {
		return 0, false
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT | unix.PIDFD_INFO_CGROUPID}
	if err := pidfdInfo(s.pidfd, &info); err != nil {
		return 0, false
	}
	const both = unix.PIDFD_INFO_EXIT | unix.PIDFD_INFO_CGROUPID
	return info.Cgroupid, info.Mask&both == both
}

// ExitOf tells how a process, which has ended, did so, as wait(2) has it. Of one
// that its parent has waited for already that is known from Linux 6.15 on.
func ExitOf(pid int, pidfd *os.File) (status unix.WaitStatus, ok bool) {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && Exists(pidfd) {
		// proc_pid_stat(5): the state is field 3, exit_code 52. The name before them
		// is in parentheses and may have any in it.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) >= 50 && fields[0] == "Z" {
			code, err := strconv.Atoi(fields[49])
			return unix.WaitStatus(code), err == nil
		}
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := pidfdInfo(pidfd, &info); err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return 0, false
	}
	return unix.WaitStatus(info.Exit_code), true
}

func pidfdInfo(pidfd *os.File, info *unix.PidfdInfo) error {
	return use(pidfd, func(fd int) error { return unix.IoctlPidfdInfo(fd, info) })
}

// PIDOf gives the process that a pidfd refers to, in our PID namespace.
func PIDOf(pidfd *os.File) (int, error) {
	var text []byte
	err := use(pidfd, func(fd int) (err error) {
		text, err = os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cannot look at a pidfd: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "Pid:"); ok {
			if pid, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && pid > 0 {
				return pid, nil
			}
			return 0, fmt.Errorf("cannot use a pidfd: its process has ended, or is outside of the daemon's PID namespace")
		}
	}
	return 0, fmt.Errorf("cannot use a descriptor as pidfd: it is none")
}

// PIDs gives the numbers that a process has in its PID namespaces, the
// outermost (ours) first; see proc_pid_status(5), NSpid.
func PIDs(pid int) ([]int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "NSpid:"); ok {
			var pids []int
			for _, f := range strings.Fields(value) {
				n, err := strconv.Atoi(f)
				if err != nil {
					return nil, fmt.Errorf("cannot read /proc/%d/status: %w", pid, err)
				}
				pids = append(pids, n)
			}
			return pids, nil
		}
	}
	return nil, fmt.Errorf("cannot read /proc/%d/status: it has no NSpid", pid)
}

// Namespace names the PID namespace of a process.
func Namespace(pid int) (string, error) { return os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)) }
