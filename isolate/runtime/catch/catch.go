// Package catch has signals written to a pipe by the handler itself (the
// "self-pipe"). os/signal gives each signal that it begins to catch to a goroutine
// that is bound to a thread and back: six signals made four threads, which stood
// in the way of the container's first process while it set itself up.
package catch

import (
	"fmt"
	"math"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fd is where the handler writes. It is set before there is a handler.
var fd int32

// Flags of a sigaction (include/uapi/asm-generic/signal-defs.h, and
// arch/x86/include/uapi/asm/signal.h for the last).
const (
	onStack      = 0x08000000 // SA_ONSTACK
	restart      = 0x10000000 // SA_RESTART
	withRestorer = 0x04000000 // SA_RESTORER
)

// sigaction is the kernel's (include/linux/signal_types.h), of those architectures
// whose handlers are here.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// To has signals that this process gets written to a pipe from now on, each as a
// byte with its number: in place of what the Go runtime does with them, for good.
// The pipe is one for the whole process; it is borrowed, does not block and stays
// open: what does not fit into it is lost. A program that is executed gets none of
// this, and neither does a process forked with CLONE_CLEAR_SIGHAND. It is called by
// one goroutine at a time. See rt_sigaction(2).
func To(pipe int, signals ...unix.Signal) error {
	atomic.StoreInt32(&fd, int32(pipe))
	do := sigaction{handlerAddress(), onStack | restart, restorerAddress(), math.MaxUint64}
	if do.restorer != 0 {
		do.flags |= withRestorer
	}
	for _, s := range signals {
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&do)), 0, 8, 0, 0); errno != 0 {
			return fmt.Errorf("cannot catch signal %d: %w", s, errno)
		}
	}
	return nil
}

// handlerAddress is that of the handler. It runs on the signal stack of a thread,
// with all signals blocked, and does nothing but write(2).
func handlerAddress() uintptr

// restorerAddress is that of what a handler returns to; 0 where that is the vDSO's.
func restorerAddress() uintptr
