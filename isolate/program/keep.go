package program

import (
	"cmp"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The child gets no copy of this process' heap but for the pages that it works
// on (MADV_DONTFORK, madvise(2)). What is shared after a fork costs this process a
// fault and a copy for each page that it writes next, and the fork itself a
// reference to each: together some tenths of a millisecond.

// arenaSize is the size of the aligned pieces of address space that the Go runtime
// takes its heap from on 64-bit Linux (heapArenaBytes); it uses the whole of them.
const arenaSize = 64 << 20

var pageSize = uintptr(os.Getpagesize())

// span is a range of whole pages.
type span struct{ at, len uintptr }

func pagesOf(p unsafe.Pointer, size uintptr) span {
	at := uintptr(p) &^ (pageSize - 1)
	return span{at, (uintptr(p) + size - at + pageSize - 1) &^ (pageSize - 1)}
}

// kept gives what the child reads and writes, but for its stack: all that fork
// looks at.
func (im *Image) kept(spans []span) []span {
	r := &im.run
	add := func(p unsafe.Pointer, size uintptr) {
		if size > 0 {
			spans = append(spans, pagesOf(p, size))
		}
	}
	add(unsafe.Pointer(im), unsafe.Sizeof(*im))
	add(unsafe.Pointer(unsafe.SliceData(im.Ops)), uintptr(len(im.Ops))*unsafe.Sizeof(Op{}))
	add(unsafe.Pointer(unsafe.SliceData(im.Regs)), uintptr(len(im.Regs))*unsafe.Sizeof(im.Regs[0]))
	// And a page: that is what mount(2) reads from its last argument on, though it
	// takes less where it cannot (copy_mount_options in fs/namespace.c).
	add(unsafe.Pointer(unsafe.SliceData(im.Arena)), uintptr(len(im.Arena))+pageSize)
	add(unsafe.Pointer(unsafe.SliceData(r.gaps)), uintptr(len(r.gaps))*unsafe.Sizeof(gap{}))
	if r.walk != nil {
		add(unsafe.Pointer(r.walk), unsafe.Sizeof(*r.walk))
	}
	if r.through != nil {
		add(unsafe.Pointer(r.through), unsafe.Sizeof(*r.through))
	}
	return joined(spans)
}

// joined joins spans with few pages between them: each is a mapping of its own to
// make, to copy and to remove.
func joined(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.at, b.at) })
	out := spans[:1]
	for _, s := range spans[1:] {
		if last := &out[len(out)-1]; s.at <= last.at+last.len+4*pageSize {
			last.len = max(last.len, s.at+s.len-last.at)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// leaveHeap keeps the heap around the stack from the next child, without what is
// kept and three pages of the stack, in the middle of which local lies: the child
// needs some hundred bytes above and below it. Who calls it holds syscall.ForkLock,
// and its stack stays where it is. Where the kernel refuses any of it (it limits the
// number of mappings) the child gets a copy of all; if it refuses that too there is
// an error, and must be no child. takeHeap comes next.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *run) leaveHeap(local uintptr) (e syscall.Errno) {
	r.arena = local &^ (arenaSize - 1)
	syscall.RawSyscall(unix.SYS_MADVISE, r.arena, arenaSize, unix.MADV_DONTFORK)
	_, _, e = syscall.RawSyscall(unix.SYS_MADVISE, local&^(pageSize-1)-pageSize, 3*pageSize, unix.MADV_DOFORK)
	for i := 0; i < len(r.kept) && e == 0; i++ {
		_, _, e = syscall.RawSyscall(unix.SYS_MADVISE, r.kept[i].at, r.kept[i].len, unix.MADV_DOFORK)
	}
	if e != 0 {
		e = r.takeHeap()
	}
	return e
}

// takeHeap lets children have the heap again: those that package syscall forks
// for a user namespace of their own work on it.
//
//go:nosplit
//go:norace
func (r *run) takeHeap() (e syscall.Errno) {
	_, _, e = syscall.RawSyscall(unix.SYS_MADVISE, r.arena, arenaSize, unix.MADV_DOFORK)
	return e
}
