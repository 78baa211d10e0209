package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"berth/reaper"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// leftoverTime is how long a process that was killed may take to be gone.
const leftoverTime = 10 * time.Second

// leftovers remembers, where there are no control groups that would tell, which
// processes a daemon has started: a file for each in the state directory, named by
// the number of its start, with its pid, its time of birth and the boot. It is
// written while the process waits at the gate, so nothing runs that has none. Were
// the reaper killed, its services would run on, and the next daemon start them
// beside themselves.
//
// Each such process is the first of a PID namespace of its own, or in that of
// another one, and takes with it all that came of it. Only what has joined a
// namespace by its path, and was left by its parent, is not found.
type leftovers struct {
	dir    string
	on     bool // there are no groups
	reaper int  // its pid
}

// note writes a process down.
func (l *leftovers) note(id uint64, pid int) error {
	if !l.on {
		return nil
	}
	mark, err := processMark(pid)
	if err == nil {
		if err = os.MkdirAll(l.dir, 0o700); err == nil {
			err = os.WriteFile(l.file(id), []byte(mark+"\n"), 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot note the process for a later berthd: %w", err)
	}
	return nil
}

// forget removes what was noted, when the process has ended.
func (l *leftovers) forget(id uint64) {
	if l.on {
		_ = os.Remove(l.file(id)) // it may have ended before it was noted
	}
}

func (l *leftovers) file(id uint64) string {
	return filepath.Join(l.dir, strconv.FormatUint(id, 10))
}

// end kills every process that is noted and not in keep, and waits until they are
// gone. The error tells what is still there.
func (l *leftovers) end(keep []reaper.Registration, log *zap.Logger) error {
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot look for processes of an earlier berthd: %w", err)
	}
	kept := map[string]bool{}
	for _, r := range keep {
		kept[strconv.FormatUint(r.ID, 10)] = true
	}
	deadline := time.Now().Add(leftoverTime)
	var still error
	for _, e := range entries {
		if kept[e.Name()] {
			continue
		}
		file := filepath.Join(l.dir, e.Name())
		mark, err := os.ReadFile(file)
		if err == nil {
			err = killMarked(strings.TrimSpace(string(mark)), deadline, log)
		}
		if err == nil {
			err = os.Remove(file)
		}
		still = errors.Join(still, err)
	}
	return still
}

// endWithReaper kills every process that is noted when the reaper has ended, which
// took its connection with it. One that executes itself anew closes that too, but stays,
// and ends this supervisor.
func (l *leftovers) endWithReaper(log *zap.Logger) {
	if !l.on {
		return
	}
	if pidfd, err := unix.PidfdOpen(l.reaper, 0); err == nil {
		ended := os.Getppid() != l.reaper || awaitEnd(pidfd, time.Now().Add(leftoverTime))
		unix.Close(pidfd)
		if !ended {
			return
		}
	}
	if err := l.end(nil, log); err != nil {
		log.Error("processes are left", zap.Error(err))
	}
}

// awaitEnd waits until the process has ended, and tells whether it has.
func awaitEnd(pidfd int, deadline time.Time) bool {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left/time.Millisecond)+1)
		if n > 0 || err != nil && err != unix.EINTR {
			return n > 0
		}
	}
}

// processMark is what tells a process from all others that had its pid, or get it.
func processMark(pid int) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// After the name, which may hold anything, fields 3 and on; 22 is the time of birth (proc_pid_stat(5)).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat has no time of birth", pid)
	}
	return fmt.Sprintf("%d %s %s", pid, fields[19], strings.TrimSpace(string(boot))), nil
}

// killMarked kills the process that has the mark, if there is one, and waits for its end.
func killMarked(mark string, deadline time.Time, log *zap.Logger) error {
	number, _, _ := strings.Cut(mark, " ")
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 0 {
		return nil // cut off: its process never passed the gate
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH || err == unix.EINVAL {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	// Of the process that the descriptor holds: were that gone by now, it could not be signalled.
	if now, err := processMark(pid); err != nil || now != mark {
		return nil
	}
	log.Warn("ending a process left by an earlier berthd", zap.Int("pid", pid))
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("cannot kill process %d of an earlier berthd: %w", pid, err)
	}
	if !awaitEnd(pidfd, deadline) {
		return fmt.Errorf("process %d of an earlier berthd was killed and does not end", pid)
	}
	return nil
}
