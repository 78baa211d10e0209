package program

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A thread cannot enter a user namespace as long as its process has others
// (setns(2)), and what a child gets new at its birth belongs to the user
// namespace of the one who clones it. So a child whose namespaces are to belong to
// a user namespace that exists is cloned by a process in between, which enters it
// and ends. It shares the table of descriptors with this process, so that the
// child's pidfd lies here, but no memory; it is in no group of the container.

// through is what such a fork works on, beside run.
type through struct {
	first  cloneArgs // of the process in between
	pidfd  int32     // its own
	userNS uintptr
	pipe   uintptr
	told   [3]uint32 // pid, pidfd, errno
}

// userNamespace gives the descriptor of the user namespace to be born in, or None.
func (im *Image) userNamespace() int {
	for _, e := range im.ForkIn {
		if e.Kind == unix.CLONE_NEWUSER {
			return int(im.Regs[e.Reg])
		}
	}
	return None
}

// EntersUser tells whether the child is born in a user namespace that exists
// already. Then it must get all its new namespaces at its birth.
func (im *Image) EntersUser() bool { return im.userNamespace() != None }

// forkThrough is the rest of Fork for such a child. The process in between is
// gone when it returns; as a sibling it is the parent's to reap.
func (im *Image) forkThrough(userNS int, parent bool) (pid int, pidfd int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return 0, -1, fmt.Errorf("cannot fork the child: pipe2: %w", err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	r := &im.run
	t := &through{userNS: uintptr(userNS), pipe: uintptr(p[1])}
	t.first = cloneArgs{flags: unix.CLONE_FILES | unix.CLONE_PIDFD, pidfd: uint64(uintptr(unsafe.Pointer(&t.pidfd))), exitSignal: r.clone.exitSignal}
	if parent {
		t.first.flags |= unix.CLONE_PARENT
	}
	r.clone.flags |= unix.CLONE_PARENT // a child of this process, or its sibling, as the one in between
	r.clone.exitSignal = 0
	r.through = t
	between, errno := im.lockedFork()
	if errno != 0 {
		return 0, -1, fmt.Errorf("cannot fork the child: clone3: %w", errno)
	}
	defer unix.Close(int(t.pidfd))
	poll := []unix.PollFd{{Fd: t.pidfd, Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(poll, -1); n > 0 || err != nil && err != unix.EINTR {
			break
		}
	}
	if !parent {
		for {
			if _, err := unix.Wait4(int(between), nil, unix.WALL, nil); err != unix.EINTR {
				break
			}
		}
	}
	buf := make([]byte, unsafe.Sizeof(t.told))
	if n, _ := unix.Read(p[0], buf); n != len(buf) {
		return 0, -1, fmt.Errorf("cannot fork the child: the process that was to enter the user namespace was killed")
	}
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(buf[4*i:]) }
	if e := word(2); e != 0 {
		return 0, -1, fmt.Errorf("cannot fork the child in the user namespace: %w", unix.Errno(e))
	}
	return int(word(0)), int(word(1)), nil
}
