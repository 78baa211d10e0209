package reaper

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// procIsOwn reports whether /proc is mounted and shows this process's own PID
// namespace, so that the numbers in it mean the same as those of waitid.
func procIsOwn() bool {
	self, err := os.Readlink("/proc/self")
	return err == nil && self == strconv.Itoa(os.Getpid())
}

// children lists the pids of all children, ended ones too, in buf, and reports
// whether it could: the list may lack some otherwise. It reads the
// children of every thread, since a child hangs on the thread that forked it or
// to which the kernel gave it; where the kernel has no such file
// (CONFIG_PROC_CHILDREN), it looks at every process for its parent.
//
// The kernel warns that the file can skip entries when children are taken away
// meanwhile. Only the caller takes them away, and not meanwhile.
func children(buf []int) ([]int, bool) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return childrenByParent(buf)
	}
	for _, task := range tasks {
		data, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil {
			if _, gone := os.Stat("/proc/self/task/" + task.Name()); gone != nil {
				continue // the thread has ended
			}
			if os.IsNotExist(err) {
				return childrenByParent(buf[:0])
			}
			return buf, false
		}
		buf = appendPIDs(buf, data)
	}
	return buf, true
}

// appendPIDs reads decimal numbers that are separated by spaces.
func appendPIDs(buf []int, data []byte) []int {
	pid := 0
	for _, c := range data {
		switch {
		case c >= '0' && c <= '9':
			pid = pid*10 + int(c-'0')
		case pid > 0:
			buf = append(buf, pid)
			pid = 0
		}
	}
	if pid > 0 {
		buf = append(buf, pid)
	}
	return buf
}

// childrenByParent lists the processes in /proc whose parent is this one.
func childrenByParent(buf []int) ([]int, bool) {
	dir, err := os.Open("/proc")
	if err != nil {
		return buf, false
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return buf, false
	}
	self := os.Getpid()
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err == nil && parentIn(string(stat)) == self {
			buf = append(buf, pid)
		}
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) {
			return buf, false
		}
	}
	return buf, true
}

// parentIn gives the fourth field of a line of proc_pid_stat(5). The second, the
// name in parentheses, may hold anything.
func parentIn(stat string) int {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}
