package runtime

import (
	"math"
	"runtime"
	"sync/atomic"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate/early"
	"berth/isolate/program"
)

// ahead makes those namespaces of a container that can be made before its first
// process, then writes its record and makes its groups, in a thread of its own, while
// all else is prepared: a network namespace takes a third of the time of a start. The
// thread then forks the process, which inherits them, and ends. What is to be done
// there is done in its order, so that nothing needs to wake the thread in between.
//
// The two sides wait for each other by futex(2) and not by channels: for a
// goroutine that is bound to its thread those take a third thread, which has to
// find a free processor before it wakes the one that is meant, and while the
// caller is at work there may be none for as long as that takes. Nor do they spin:
// while two processors work on the same memory, each page that one of them replaces
// has to be told to the other.
type ahead struct {
	began atomic.Bool // the thread runs, where it is to
	given word        // how many jobs there are, and closed
	jobs  [maxJobs]func()
	made  program.Ahead // for jobs
}

// maxJobs is what a run has: namespaces, record, groups, fork, and its mounts' end.
const maxJobs = 5

// closed is added to the number of jobs when there will be no more.
const closed = 1 << 8

// newAhead begins the thread, before there is anything to do: that takes its time
// too. The caller calls close.
func newAhead() *ahead {
	a := &ahead{}
	cpu := processor()
	go func() {
		early.GrowStack(false)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		a.leave(cpu)
		a.began.Store(true)
		if a.given.Load() == 0 {
			_, _ = self() // it is needed soon
		}
		for done := uint32(0); ; done++ {
			for a.given.Load()&^closed == done {
				if a.given.Load()&closed != 0 {
					return
				}
				a.given.wait(done)
			}
			a.jobs[done]()
		}
	}()
	// A goroutine that is to run next on this processor is taken from it only after
	// a sleep, of 50 µs and more (runqgrab in runtime/proc.go). Now it is this one.
	go func() {}()
	return a
}

// processor is the one that this thread runs on, -1 if that is not known.
func processor() int {
	var cpu uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); errno != 0 {
		return -1
	}
	return int(cpu)
}

// leave keeps the thread from a processor, if there are others. Where a thread is
// woken the kernel may run it on the processor of who wakes it, though that is at
// work and others are idle: in a virtual machine an idle one looks as if the host
// had taken it away (available_idle_cpu in kernel/sched/syscalls.c). The process
// that the thread forks begins there too, and then sets its own: package oci sees
// to it that there is always an InitialAffinity or AnyProcessor.
func (a *ahead) leave(cpu int) {
	var set unix.CPUSet
	if cpu < 0 || unix.SchedGetaffinity(0, &set) != nil {
		return
	}
	set.Clear(cpu)
	if set.Count() > 0 {
		_ = unix.SchedSetaffinity(0, &set)
	}
}

// give hands over a job, from one goroutine.
func (a *ahead) give(job func()) {
	if !a.began.Load() { // it may wait for this processor, to leave it
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
	n := a.given.Load()
	a.jobs[n] = job
	a.given.set(n + 1)
}

// aheadFlags are the namespaces that can be.
var aheadFlags = map[specs.LinuxNamespaceType]uint64{
	specs.NetworkNamespace: unix.CLONE_NEWNET, specs.IPCNamespace: unix.CLONE_NEWIPC, specs.UTSNamespace: unix.CLONE_NEWUTS,
}

// namespaces begins to make them. Nothing is made ahead in a user namespace, since
// the others must be its own.
func (a *ahead) namespaces(wanted []specs.LinuxNamespace) {
	var flags uint64
	for _, ns := range wanted {
		if ns.Type == specs.UserNamespace {
			return
		}
		if ns.Path == "" {
			flags |= aheadFlags[ns.Type]
		}
	}
	if flags&unix.CLONE_NEWNET == 0 {
		return // the others are made in no time
	}
	a.give(func() { a.made = program.MakeAhead(flags) })
}

// doAhead has something done in the thread, when it comes to it.
func doAhead[T any](a *ahead, do func() (T, error)) *async[T] {
	result := &async[T]{}
	a.give(func() {
		result.value, result.err = do()
		result.done.set(1)
	})
	return result
}

// close ends the thread when it has done what it was given. A nil ahead has none.
func (a *ahead) close() {
	if a != nil {
		a.given.set(a.given.Load() | closed)
	}
}

// async is something that is done meanwhile.
type async[T any] struct {
	done  word // 1 then
	value T
	err   error
}

// wait gives the result, as often as it is wanted. Of what was never begun it is
// zero.
func (a *async[T]) wait() (value T, err error) {
	if a == nil {
		return value, nil
	}
	for a.done.Load() == 0 {
		a.done.wait(0)
	}
	return a.value, a.err
}

// FUTEX_WAIT and FUTEX_WAKE with FUTEX_PRIVATE_FLAG (include/uapi/linux/futex.h).
const (
	futexWaitPrivate = 0 | 128
	futexWakePrivate = 1 | 128
)

// word is a number that threads wait for, in the kernel; see futex(2).
type word struct{ atomic.Uint32 }

// set changes it, and wakes who waits.
func (w *word) set(to uint32) {
	w.Store(to)
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&w.Uint32)), futexWakePrivate, math.MaxInt32, 0, 0, 0)
}

// wait comes back when it may be no more what it was.
func (w *word) wait(was uint32) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&w.Uint32)), futexWaitPrivate, uintptr(was), 0, 0, 0)
}
