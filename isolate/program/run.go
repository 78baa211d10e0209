package program

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The exit codes of a child that did not get as far as its program.
const (
	ExitFailed     = 218 // a step failed; the status pipe tells which
	ExitGateClosed = 219 // the starter gave up or died before it opened the gate
)

// Record is what the child writes to the status pipe: when it comes to a marked
// step, and when a step fails.
type Record struct {
	Magic  uint32
	Origin uint32 // inside step of the Program
	Cause  uint32
	Value  uint32
}

// The causes of a failure, and what Record.Value is then.
const (
	CauseErrno  = 1 // an errno
	CauseResult = 2 // a result other than the one wanted
	CauseStatus = 3 // the wait status of a pre-start command
	// CauseNone is no failure: the child has come to this step. The value is not 0
	// when it executes the program proper next.
	CauseNone = 4
)

// RecordMagic begins every Record.
const RecordMagic = 0x72656331

// RecordSize is the size of a Record in bytes.
const RecordSize = int(unsafe.Sizeof(Record{}))

// cloneArgs is struct clone_args of clone3(2) up to its third version.
type cloneArgs struct {
	flags, pidfd, childTid, parentTid, exitSignal, stack, stackSize, tls, setTid, setTidSize, cgroup uint64
}

// run is what a fork works on; it lies in the Image, on the heap, so that the child needs no stack for it.
type run struct {
	clone   cloneArgs
	through *through // nil: the child is this process's own
	pidfd   int32
	passed  bool // the gate was passed, or need not be
	rec     Record
	byte    [8]byte
	failAt  uint32
	gaps    []gap
	walk    *walk // nil without an OpMake
	kept    []span
	arena   uintptr
}

// gap is a range of descriptor numbers.
type gap struct{ first, last uint32 }

// gaps are the descriptors that are no part of the image. The child closes them
// at once: among them are the starter's own ends of the pipes, which it must see closed.
func (im *Image) gaps(gaps []gap) []gap {
	used := slices.Clone(im.Regs)
	slices.Sort(used)
	next := uint32(0)
	for _, fd := range used {
		if fd < 0 || uint32(fd) < next {
			continue
		}
		if uint32(fd) > next {
			gaps = append(gaps, gap{next, uint32(fd) - 1})
		}
		next = uint32(fd) + 1
	}
	return append(gaps, gap{next, ^uint32(0)})
}

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

// Fork forks the child, which runs the image's steps and then executes its
// program. parent makes it a sibling instead of a child of this process
// (CLONE_PARENT), and it then sends no signal when it exits. The pid is as seen
// in this process's PID namespace; the caller owns the pidfd, which is close-on-exec.
//
// This process is made non-dumpable (PR_SET_DUMPABLE 0) and stays so: the child
// is a copy of it, and must not be traced or opened before it executes.
// Needs clone3 and CLONE_CLEAR_SIGHAND (Linux 5.5). One Image is forked by one
// goroutine at a time; different ones can be forked concurrently.
func (im *Image) Fork(parent bool) (pid int, pidfd int, err error) {
	if err := protect(); err != nil {
		return 0, -1, err
	}
	r := &im.run
	*r = run{failAt: uint32(im.FailAt), passed: im.Expendable, gaps: im.gaps(r.gaps[:0]), walk: r.walk, kept: r.kept}
	if r.walk == nil && slices.ContainsFunc(im.Ops, func(op Op) bool { return op.Nr == pseudo+9 }) {
		r.walk = &walk{}
	}
	r.clone = cloneArgs{
		flags:      im.CloneFlags | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		pidfd:      uint64(uintptr(unsafe.Pointer(&r.pidfd))),
		exitSignal: uint64(unix.SIGCHLD),
	}
	if parent {
		r.clone.flags |= unix.CLONE_PARENT
		r.clone.exitSignal = 0
	}
	if im.BornIn != None {
		r.clone.flags |= unix.CLONE_INTO_CGROUP
		r.clone.cgroup = uint64(im.Regs[im.BornIn])
	}
	if len(im.ForkIn) > 0 {
		leave, err := im.enter()
		if err != nil {
			return 0, -1, err
		}
		defer leave()
	}
	if fd := im.userNamespace(); fd != None {
		return im.forkThrough(fd, parent)
	}
	p, errno := im.lockedFork()
	if errno != 0 {
		return 0, -1, fmt.Errorf("cannot fork the child: clone3: %w", errno)
	}
	return int(p), int(r.pidfd), nil
}

func (im *Image) lockedFork() (pid uintptr, errno syscall.Errno) {
	im.run.kept = im.kept(im.run.kept[:0])
	syscall.ForkLock.Lock()
	pid, errno = im.fork()
	im.run.takeHeap()
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(im)
	return pid, errno
}

// protect makes this process non-dumpable and verifies it.
func protect() error {
	if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0); e != 0 {
		return fmt.Errorf("cannot protect the child from being traced: prctl(PR_SET_DUMPABLE): %w", e)
	}
	if v, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0); e != 0 || v != 0 {
		return errors.New("cannot protect the child from being traced: this process is still dumpable")
	}
	return nil
}

// enter makes children of this thread be born in other namespaces, until leave is called.
func (im *Image) enter() (leave func(), err error) {
	runtime.LockOSThread()
	type own struct{ fd, kind int }
	var owns []own
	leave = func() {
		back := true
		for _, o := range owns {
			back = unix.Setns(o.fd, o.kind) == nil && back
			unix.Close(o.fd)
		}
		// A thread that cannot be brought back is not unlocked: Go ends it with its goroutine.
		if back {
			runtime.UnlockOSThread()
		}
	}
	for _, e := range im.ForkIn {
		if e.Kind == unix.CLONE_NEWUSER {
			continue // see forkThrough
		}
		fd, err := ownNamespace(e.Kind)
		if err != nil {
			leave()
			return nil, fmt.Errorf("cannot remember the own namespace (%s): %w", FlagNames(FmtCloneFlags, e.Kind), err)
		}
		owns = append(owns, own{fd, int(e.Kind)})
		if err := unix.Setns(int(im.Regs[e.Reg]), int(e.Kind)); err != nil {
			leave()
			return nil, fmt.Errorf("cannot enter the namespace (%s): setns: %w; has its last process ended?", FlagNames(FmtCloneFlags, e.Kind), err)
		}
	}
	return leave, nil
}

// ownNamespace opens what brings this thread back. The process stands for its
// PID namespace, which it never leaves. Of the others it is no measure: it has
// those of its first thread, which may be this one.
func ownNamespace(kind uint64) (int, error) {
	if kind == unix.CLONE_NEWPID {
		return unix.PidfdOpen(unix.Getpid(), 0)
	}
	name := map[uint64]string{unix.CLONE_NEWNET: "net", unix.CLONE_NEWUTS: "uts", unix.CLONE_NEWIPC: "ipc", unix.CLONE_NEWCGROUP: "cgroup"}[kind]
	return unix.Open("/proc/thread-self/ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// fork clones and, in the child, runs the steps; it returns in the parent only.
//
// The runtime's own afterForkInChild is not called: it takes back the signal
// handlers with a system call each, which CLONE_CLEAR_SIGHAND has done already,
// and restores the signal mask, which the steps set.
//
// From beforeFork on nothing here may allocate, grow the stack, or call a
// function that is not nosplit. In the child this thread is the only one, and
// every lock of the runtime may be held by a thread that does not exist there.
//
//go:noinline
//go:norace
//go:nocheckptr
func (im *Image) fork() (pid uintptr, errno syscall.Errno) {
	var (
		r     = &im.run
		ops   = im.Ops
		regs  = im.Regs
		op    *Op
		pc    int
		a     [6]uintptr
		v     uintptr
		e     syscall.Errno
		loop  uint64
		bit   uint64
		i     int
		again bool
		ok    bool
	)
	beforeFork()
	if errno = r.leaveHeap(uintptr(unsafe.Pointer(&a))); errno != 0 {
		afterFork()
		return 0, errno
	}
	if r.through != nil {
		pid, _, errno = syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&r.through.first)), unsafe.Sizeof(r.through.first), 0)
		if errno != 0 || pid != 0 {
			afterFork()
			return pid, errno
		}
		_, _, e = syscall.RawSyscall(unix.SYS_SETNS, r.through.userNS, unix.CLONE_NEWUSER, 0)
		if e == 0 {
			pid, _, e = syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&r.clone)), unsafe.Sizeof(r.clone), 0)
		}
		if e != 0 || pid != 0 {
			r.through.told = [3]uint32{uint32(pid), uint32(r.pidfd), uint32(e)}
			syscall.RawSyscall(unix.SYS_WRITE, r.through.pipe, uintptr(unsafe.Pointer(&r.through.told)), unsafe.Sizeof(r.through.told))
			for {
				syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
			}
		}
	} else {
		pid, _, errno = syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&r.clone)), unsafe.Sizeof(r.clone), 0)
		if errno != 0 || pid != 0 {
			afterFork()
			return pid, errno
		}
	}
	for i = 0; i < len(r.gaps); i++ {
		syscall.RawSyscall(unix.SYS_CLOSE_RANGE, uintptr(r.gaps[i].first), uintptr(r.gaps[i].last), 0)
	}
	for pc < len(ops) {
		op = &ops[pc]
		pc++
		if r.failAt != 0 && uint32(op.Origin)+1 == r.failAt {
			e = syscall.EIO
			goto failed
		}
		if op.Flags&flagMark != 0 {
			r.rec = Record{RecordMagic, uint32(op.Origin), CauseNone, uint32(op.Flags & flagFinal)}
			syscall.RawSyscall(unix.SYS_WRITE, uintptr(regs[im.Status]), uintptr(unsafe.Pointer(&r.rec)), unsafe.Sizeof(r.rec))
		}
		switch op.Nr {
		case pseudo + 1: // OpGate
			for {
				v, _, e = syscall.RawSyscall(unix.SYS_READ, uintptr(regs[im.Gate]), uintptr(unsafe.Pointer(&r.byte)), 1)
				if e != syscall.EINTR {
					break
				}
			}
			if v != 1 || e != 0 {
				syscall.RawSyscall(unix.SYS_EXIT_GROUP, ExitGateClosed, 0, 0)
			}
			r.passed = true
			continue
		case pseudo + 2: // OpStatus
			r.rec.Value = *(*uint32)(unsafe.Pointer(&im.Arena[op.Vals[0]]))
			if r.rec.Value != 0 {
				r.rec.Cause = CauseStatus
				goto report
			}
			continue
		case pseudo + 4: // OpSync
			for {
				v, _, e = syscall.RawSyscall(unix.SYS_READ, uintptr(regs[op.Vals[0]]), uintptr(unsafe.Pointer(&r.byte)), 1)
				if e != syscall.EINTR {
					break
				}
			}
			if v != 1 || e != 0 {
				syscall.RawSyscall(unix.SYS_EXIT_GROUP, ExitGateClosed, 0, 0)
			}
			continue
		case pseudo + 5: // OpStore
			*(*int32)(unsafe.Pointer(&im.Arena[op.Vals[0]])) = regs[op.Vals[1]]
			continue
		case pseudo + 3: // OpFail
			e = syscall.Errno(op.Vals[0])
			goto failed
		case pseudo + 6, pseudo + 7: // OpExpect, OpRefuse
			if (*(*uint32)(unsafe.Pointer(&im.Arena[op.Vals[0]]))&uint32(op.Vals[1]) == uint32(op.Vals[2])) != (op.Nr == pseudo+6) {
				e = syscall.Errno(op.Vals[3])
				goto failed
			}
			continue
		case pseudo + 8: // OpHelper
			r.passed = true
			continue
		case pseudo + 9: // OpMake
			e = r.walk.make(regs[op.Vals[0]], im.Arena[op.Vals[1]:], op.Vals[2])
			if e != 0 {
				goto failed
			}
			continue
		}
		loop = 1
		if op.Flags&flagLoop != 0 {
			loop = op.Loop
		}
		for bit = 0; loop != 0; bit++ {
			if loop&1 == 0 {
				loop >>= 1
				continue
			}
			loop >>= 1
			a = [6]uintptr{}
			for i = 0; i < int(op.Args); i++ {
				switch op.Kinds[i] {
				case Reg:
					a[i] = uintptr(regs[op.Vals[i]])
				case Bit:
					a[i] = uintptr(bit)
				default:
					a[i] = uintptr(op.Vals[i])
				}
			}
			again = true
			for again {
				v, _, e = syscall.RawSyscall6(uintptr(op.Nr), a[0], a[1], a[2], a[3], a[4], a[5])
				// The second is a look-up inside a root that met a mount or rename of
				// anybody on the machine on its way over "..": openat2(2).
				again = e == syscall.EINTR || e == syscall.EAGAIN && op.Nr == unix.SYS_OPENAT2
			}
			if e == 0 {
				if op.Flags&flagCheck != 0 && uint64(v) != op.Want {
					r.rec.Cause, r.rec.Value = CauseResult, uint32(v)
					goto report
				}
				continue
			}
			ok = op.Flags&flagIgnoreAll != 0
			for i = 0; i < maxIgnore && op.Ignore[i] != 0; i++ {
				ok = ok || uint16(e) == op.Ignore[i]
			}
			if !ok {
				goto failed
			}
		}
		if e != 0 {
			if op.Flags&flagOnIgnored != 0 {
				pc = int(op.Jump)
			}
			e = 0
			continue
		}
		if op.Dst >= 0 {
			regs[op.Dst] = int32(v)
		}
		if op.Flags&flagOnSuccess != 0 || op.Flags&flagInParent != 0 && v != 0 {
			pc = int(op.Jump)
		}
	}
	op = &ops[len(ops)-1]
	e = syscall.ENOEXEC // the steps ended without executing anything

failed:
	r.rec.Cause, r.rec.Value = CauseErrno, uint32(e)
report:
	r.rec.Magic, r.rec.Origin = RecordMagic, uint32(op.Origin)
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(regs[im.Status]), uintptr(unsafe.Pointer(&r.rec)), unsafe.Sizeof(r.rec))
	// The starter may not have taken note of this process yet; it must not be gone
	// before. Who waits for something else from it is to see that it will not come.
	if !r.passed {
		if regs[im.Gate] > 0 {
			syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, uintptr(regs[im.Gate]-1), 0)
		}
		syscall.RawSyscall(unix.SYS_CLOSE_RANGE, uintptr(regs[im.Gate]+1), uintptr(^uint32(0)), 0)
		for {
			_, _, e = syscall.RawSyscall(unix.SYS_READ, uintptr(regs[im.Gate]), uintptr(unsafe.Pointer(&r.byte)), 1)
			if e != syscall.EINTR {
				break
			}
		}
	}
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, ExitFailed, 0, 0)
	}
}
