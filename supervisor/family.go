package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// family gives the daemon's other processes: the reaper and those of its
// children that are in this process's control groups (the launcher; containers
// are in groups of their own). They must leave a delegated group together.
func family() []int {
	reaper := os.Getppid()
	pids := []int{reaper}
	mine, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return pids
	}
	tasks := fmt.Sprintf("/proc/%d/task/", reaper)
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return pids
	}
	for _, t := range threads {
		text, err := os.ReadFile(tasks + t.Name() + "/children") // proc(5), CONFIG_PROC_CHILDREN
		if err != nil {
			continue // a thread that has ended
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil || pid == os.Getpid() {
				continue
			}
			if theirs, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); err == nil && bytes.Equal(mine, theirs) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
