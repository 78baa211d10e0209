package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/rawfile"
)

// Identity is a process that can be told from any other, also from a later one
// with the same pid.
type Identity struct {
	PID int `json:"pid"`
	// Inode is that of the process' pidfd on pidfs, which no other process ever has;
	// 0 on kernels before 6.9, where all have the same.
	Inode uint64 `json:"inode,omitempty"`
	// Start, without an inode, is the time the process began at, in ticks since the
	// machine's boot: field 22 of proc_pid_stat(5).
	Start uint64 `json:"start,omitempty"`
	// Boot is the kernel's random boot_id: ticks and inodes begin anew with it.
	Boot string `json:"boot"`
}

// pidfsMagic is PID_FS_MAGIC of linux/magic.h.
const pidfsMagic = 0x50494446

var errGone = errors.New("the process has ended")

var bootID = sync.OnceValues(func() (string, error) {
	text, err := rawfile.Read("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot tell which boot of the machine this is: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
})

// identify takes down who the process behind a pidfd is. It must not have been
// reaped, so that the pid is still its own.
func identify(pid, pidfd int) (id Identity, err error) {
	id.PID = pid
	if id.Boot, err = bootID(); err != nil {
		return id, err
	}
	if id.Inode, err = pidfdInode(pidfd); err != nil || id.Inode != 0 {
		return id, err
	}
	if id.Start, err = startTime(pid); err != nil {
		return id, fmt.Errorf("cannot tell process %d from others: %w", pid, err)
	}
	return id, nil
}

// self is this process' own identity.
var self = sync.OnceValues(func() (Identity, error) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return Identity{}, fmt.Errorf("cannot open the own process: pidfd_open: %w", err)
	}
	defer unix.Close(fd)
	return identify(os.Getpid(), fd)
})

// startTime reads field 22 of /proc/PID/stat.
func startTime(pid int) (uint64, error) {
	stat, err := rawfile.Read("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	return parseStartTime(stat)
}

// parseStartTime finds the field. The second one is the name of the program in
// parentheses, and may have anything in it.
func parseStartTime(stat []byte) (uint64, error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, io.ErrUnexpectedEOF
	}
	fields := bytes.Fields(stat[end+1:])
	const at = 22 - 3 // the first field after the name is the third
	if len(fields) <= at {
		return 0, io.ErrUnexpectedEOF
	}
	return strconv.ParseUint(string(fields[at]), 10, 64)
}

// pidfdInode gives the inode of a pidfd, 0 where that says nothing.
func pidfdInode(pidfd int) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(pidfd, &fs); err != nil {
		return 0, fmt.Errorf("cannot look at a pidfd: fstatfs: %w", err)
	}
	if int64(fs.Type) != pidfsMagic {
		return 0, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(pidfd, &st); err != nil {
		return 0, fmt.Errorf("cannot look at a pidfd: fstat: %w", err)
	}
	return st.Ino, nil
}

// open gives a pidfd of the process, which the caller closes. The error is
// errGone when the process has ended, reaped or not, or its pid is another's.
func (id Identity) open() (int, error) {
	if id.PID <= 0 {
		return -1, errGone
	}
	if boot, err := bootID(); err != nil {
		return -1, err
	} else if boot != id.Boot {
		return -1, errGone
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	switch {
	case err == unix.ESRCH || err == unix.EINVAL: // EINVAL: the pid is that of a thread now
		return -1, errGone
	case err != nil:
		return -1, fmt.Errorf("cannot open process %d: pidfd_open: %w", id.PID, err)
	}
	if err := id.check(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// check tells whether a pidfd opened by the pid is that of the process meant.
// What stands in /proc may be of a later process than the pidfd's; then it began
// later too, and is found to be another.
func (id Identity) check(pidfd int) error {
	inode, err := pidfdInode(pidfd)
	if err != nil {
		return err
	}
	if id.Inode != 0 && inode != id.Inode {
		return errGone
	}
	if id.Inode == 0 {
		start, err := startTime(id.PID)
		switch {
		case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH):
			return errGone
		case err != nil:
			return fmt.Errorf("cannot tell process %d from others: %w", id.PID, err)
		case start != id.Start:
			return errGone
		}
	}
	if ended(pidfd) {
		return errGone
	}
	return nil
}

// alive tells whether the process has not ended.
func (id Identity) alive() (bool, error) {
	fd, err := id.open()
	if err == errGone {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	unix.Close(fd)
	return true, nil
}

// ended tells whether the process behind a pidfd has ended, reaped or not.
func ended(pidfd int) bool { return awaitEnd(pidfd, 0) }

// awaitEnd waits until the process behind a pidfd has ended, for at most so
// long, and tells whether it has.
func awaitEnd(pidfd int, atMost time.Duration) bool {
	deadline := time.Now().Add(atMost)
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		left := max(time.Until(deadline).Milliseconds(), 0)
		if n, err := unix.Poll(p, int(left)); err != unix.EINTR {
			return n > 0
		}
	}
}

// namespacePID gives the pid of a process in its own PID namespace: the last of
// NSpid in /proc/PID/status.
func namespacePID(pid int) (int, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if all := strings.Fields(rest); len(all) > 0 {
				return strconv.Atoi(all[len(all)-1])
			}
		}
	}
	return 0, fmt.Errorf("process %d has no NSpid", pid)
}
