package machine

import (
	"os"

	"golang.org/x/sys/unix"
)

// Place is where berthd runs, which decides what it has to do beside its units.
type Place int

const (
	// Service is a daemon among others: somebody else is PID 1.
	Service Place = iota
	// Container is PID 1 of a PID namespace that is not the first: a container
	// engine made it, or unshare(1). What the machine has is none of its business.
	Container
	// Machine is PID 1 of the initial PID namespace.
	Machine
)

func (p Place) String() string {
	switch p {
	case Machine:
		return "machine"
	case Container:
		return "container"
	}
	return "service"
}

// initialPIDNamespace is the inode of the first PID namespace in nsfs, the same
// on every machine: PROC_PID_INIT_INO in the kernel's include/linux/proc_ns.h.
const initialPIDNamespace = 0xEFFFFFFC

// Where tells the place of this process: of PID 1 itself, or of a child of PID 1
// that is one of berthd's own. A supervisor calls it before it has connected to
// its reaper, since one whose reaper has ended becomes a child of whatever PID 1
// there is; the connection then fails. It needs /proc; where that cannot be
// mounted, PID 1 is told apart by what ctrl-alt-del can be set to: only the
// initial PID namespace takes that (reboot(2)), and there it is wanted anyway.
// It may be called from any goroutine and keeps nothing open.
func Where() Place {
	if os.Getpid() != 1 && os.Getppid() != 1 {
		return Service
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err == nil {
		if st.Ino == initialPIDNamespace {
			return Machine
		}
		return Container
	}
	if unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) == nil {
		return Machine
	}
	return Container
}
