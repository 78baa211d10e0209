package launcher

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// ahead makes the namespaces of the next child while the supervisor still
// prepares its start: with a network namespace that is half of what a start
// takes. They are made for this thread by unshare(2), inherited by the child, and
// left again at once. Nothing has been in them before: each child gets its own.
//
// It belongs to one thread, to which the caller is locked.
type ahead struct {
	own  [len(aheadKinds)]*os.File // this process's namespaces; nil: cannot be returned to, so none is made ahead
	made program.Ahead             // what this thread is in now
}

// aheadKinds are program.AheadFlags. In a user namespace of the child's they must
// be its own.
var aheadKinds = [...]struct {
	flag uint64
	name string
}{{unix.CLONE_NEWNET, "net"}, {unix.CLONE_NEWIPC, "ipc"}, {unix.CLONE_NEWUTS, "uts"}}

// open remembers the namespaces to come back to.
func (a *ahead) open() {
	for i, k := range aheadKinds {
		f, err := os.Open("/proc/thread-self/ns/" + k.name)
		if err != nil {
			continue // no /proc yet, or no such namespaces in this kernel: every child makes its own
		}
		a.own[i] = f
	}
}

// make makes the namespaces in flags, as far as they can be left again. Where
// it fails none is made, and the child's clone tells why.
func (a *ahead) make(flags uint64) {
	if flags&unix.CLONE_NEWUSER != 0 || a.made.Flags != 0 {
		return
	}
	for i, k := range aheadKinds {
		if a.own[i] == nil {
			flags &^= k.flag
		}
	}
	a.made = program.MakeAhead(flags)
}

// fits tells whether a child with these clone flags can take what was made.
func (a *ahead) fits(flags uint64) bool {
	return flags&unix.CLONE_NEWUSER == 0 && a.made.Flags&^flags == 0
}

// leave goes back to this process's own namespaces.
func (a *ahead) leave() error {
	for i, k := range aheadKinds {
		if a.made.Flags&k.flag == 0 {
			continue
		}
		if _, _, e := syscall.RawSyscall(unix.SYS_SETNS, a.own[i].Fd(), uintptr(k.flag), 0); e != 0 {
			return fmt.Errorf("cannot leave the %s namespace of a child: %w", k.name, e)
		}
		a.made.Flags &^= k.flag
	}
	return nil
}
