package supervisor

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"berth/isolate/cgroup"
	"berth/supervisor/notify"

	"golang.org/x/sys/unix"
)

// untrusted tells why what a sender says does not count; "" if it does. The
// kernel tells who it is; what is found out by its pid holds because the process
// is held meanwhile. A former main process, still registered, counts as one.
func (s *Supervisor) untrusted(r *run, sender *notify.Sender) string {
	r.mu.Lock()
	access, group := r.access, r.group
	mains := append([]*process{r.proc}, r.former...)
	r.mu.Unlock()
	if access == "none" {
		return "the unit has no notify-access"
	}
	for _, main := range mains {
		// As long as it is there its pid is its own.
		if main != nil && main.pid == sender.PID && main.use(func(fd int) error { return unix.PidfdSendSignal(fd, 0, nil, 0) }) == nil {
			return ""
		}
	}
	if err := sender.Hold(); err != nil {
		return err.Error() + ": it has ended too soon to be known"
	}
	ours, err := s.within(r, sender.PID)
	child := err == nil && ours && r.cfg.Service.Init && parentOf(sender.PID) == r.main().pid
	if !sender.Is() { // its pid may be another's: what the kernel remembers of it counts
		id, known := sender.Group()
		if ours = known && group != nil && id == groupID(group); !ours {
			return fmt.Sprintf("process %d has ended too soon to be known", sender.PID)
		}
		child = false
	}
	switch {
	case !ours:
		return fmt.Sprintf("process %d (user %d) is none of the unit's", sender.PID, sender.UID)
	case access == "all", child:
		return ""
	}
	return fmt.Sprintf("process %d is not the unit's main process, and notify-access is %q", sender.PID, "main")
}

// within tells whether a process is the unit's: in its group or, where there are
// no groups, a descendant of its main process.
func (s *Supervisor) within(r *run, pid int) (bool, error) {
	if !s.tree.None() {
		name, err := s.tree.UnitOf(pid)
		return name == groupName(r.unit, r.side), err
	}
	main := r.main()
	for steps := 0; pid > 1 && steps < 1000; steps++ {
		if main != nil && pid == main.pid {
			return true, nil
		}
		pid = parentOf(pid)
	}
	return false, nil
}

// parentOf gives a process's parent; 0 if that cannot be told.
func parentOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name before it is in parentheses and may have any in it.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

// groupID is the number by which the kernel knows a v2 group; 0: it has none.
func groupID(group *cgroup.Group) uint64 {
	var st unix.Stat_t
	if path, ok := group.Paths()[""]; !ok || unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}
