package program

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AheadFlags are the namespaces that can be made before the process that is to
// live in them is: a PID namespace begins with it, a cgroup namespace in its
// group, and a mount namespace is cloned when the sources of mounts are open.
const AheadFlags = unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// LoopbackUp gives the struct ifreq of netdevice(7) with which SIOCSIFFLAGS brings
// the loopback interface up.
func LoopbackUp() []byte {
	req := make([]byte, 40)
	copy(req, "lo")
	req[unix.IFNAMSIZ] = unix.IFF_UP | unix.IFF_RUNNING
	return req
}

// Ahead are namespaces that a thread has made and is in, for its next child. The
// zero value is none.
type Ahead struct {
	Flags    uint64 // CLONE_NEW*
	loopback bool   // is up in the network namespace
}

// MakeAhead moves this thread, to which the caller is locked, into new namespaces
// of those in flags that are among AheadFlags, and brings the loopback interface
// up there. Where it fails there are none: the image makes them, and tells why it
// cannot.
func MakeAhead(flags uint64) Ahead {
	flags &= AheadFlags
	if flags == 0 {
		return Ahead{}
	}
	// Raw: the runtime would hand the processor over meanwhile, and take its time
	// to get it back.
	if _, _, e := syscall.RawSyscall(unix.SYS_UNSHARE, uintptr(flags), 0, 0); e != 0 {
		return Ahead{}
	}
	return Ahead{flags, flags&unix.CLONE_NEWNET != 0 && loopbackUp()}
}

// loopbackUp does what the steps with Ahead do.
func loopbackUp() bool {
	fd, _, e := syscall.RawSyscall(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if e != 0 {
		return false
	}
	_, _, e = syscall.RawSyscall(unix.SYS_IOCTL, fd, unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&LoopbackUp()[0])))
	syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	return e == 0
}

// Inherit lets the child have the namespaces of the thread that forks it, and
// leaves out the steps that were done there. It comes after Decode or Complete,
// and before Fork.
func (im *Image) Inherit(made Ahead) {
	im.CloneFlags &^= made.Flags
	if made.Flags&unix.CLONE_NEWNET == 0 || !made.loopback {
		return
	}
	for i := range im.Ops {
		if op := &im.Ops[i]; op.Ahead != 0 {
			op.Nr, op.Args, op.Dst = unix.SYS_GETPPID, 0, None // a call that does nothing
		}
	}
}
