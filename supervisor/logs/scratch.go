package logs

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	pipeSize   = 256 << 10 // of A, B and scratch pipes: 64 slots
	dataSize   = 64 << 10  // looked at in one go
	prefixSize = 8 << 10
	iovsOf     = 4 // vectors of one message, at most
)

// scratch is what a pump needs while it works: a pipe to copy into, and memory
// outside the Go heap, because its addresses are handed to the kernel through
// memory that the garbage collector does not see. It is used by one goroutine
// at a time.
type scratch struct {
	r, w   int
	mem    []byte
	data   []byte
	prefix []byte // len: in use
	iovs   []unix.Iovec
	batch  batch
}

func newScratch() (*scratch, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("cannot make a scratch pipe: %w", err)
	}
	s := &scratch{r: fds[0], w: fds[1]}
	if _, err := unix.FcntlInt(uintptr(s.w), unix.F_SETPIPE_SZ, pipeSize); err != nil {
		s.close()
		return nil, fmt.Errorf("cannot size a scratch pipe: %w", err)
	}
	const vectors = maxMessages * iovsOf
	const iovSize = vectors * int(unsafe.Sizeof(unix.Iovec{}))
	mem, err := unix.Mmap(-1, 0, dataSize+prefixSize+iovSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		s.close()
		return nil, fmt.Errorf("cannot get memory for a log buffer: %w", err)
	}
	s.mem = mem
	s.data = mem[:dataSize:dataSize]
	s.prefix = mem[dataSize : dataSize : dataSize+prefixSize]
	s.iovs = unsafe.Slice((*unix.Iovec)(unsafe.Pointer(&mem[dataSize+prefixSize])), vectors)
	return s, nil
}

func (s *scratch) close() {
	_ = unix.Close(s.r)
	_ = unix.Close(s.w)
	if s.mem != nil {
		_ = unix.Munmap(s.mem)
		s.mem = nil
	}
}

// view is what one look at a pipe showed.
type view struct {
	data []byte // in the scratch, valid until the next look
	// full: as many pipe buffers were found as the pipe has, so its writers are
	// blocked until something is consumed.
	full  bool
	whole bool // nothing was in the pipe beside data
}

// peek copies what lies in pipe, at most dataSize bytes, without consuming it.
func (s *scratch) peek(pipe, null int) (view, error) {
	n, err := unix.Tee(pipe, s.w, 1<<30, unix.SPLICE_F_NONBLOCK)
	if err != nil {
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			err = nil
		}
		return view{}, err
	}
	if n == 0 {
		return view{}, nil
	}
	poll := []unix.PollFd{{Fd: int32(s.w), Events: unix.POLLOUT}}
	if _, err := unix.Poll(poll, 0); err != nil && !errors.Is(err, unix.EINTR) {
		return view{}, fmt.Errorf("poll: %w", err)
	}
	full := poll[0].Revents&unix.POLLOUT == 0
	got := 0
	for got < min(int(n), dataSize) {
		k, err := unix.Read(s.r, s.data[got:])
		if err != nil || k == 0 {
			return view{}, fmt.Errorf("cannot read the scratch pipe after %d of %d bytes: %w", got, n, err)
		}
		got += k
	}
	if err := discard(s.r, null, int(n)-got); err != nil {
		return view{}, err
	}
	return view{data: s.data[:got], full: full, whole: !full && got == int(n)}, nil
}

// discard consumes n bytes of a pipe that surely has them.
func discard(pipe, null, n int) error {
	for n > 0 {
		k, err := unix.Splice(pipe, nil, null, nil, n, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot empty a pipe: splice: %w", err)
		}
		if k == 0 {
			return fmt.Errorf("cannot empty a pipe: %d bytes are missing", n)
		}
		n -= int(k)
	}
	return nil
}

// pending gives the number of bytes in a pipe.
func pending(pipe int) (int, error) {
	n, err := unix.IoctlGetInt(pipe, unix.TIOCINQ) // FIONREAD
	if err != nil {
		return 0, fmt.Errorf("FIONREAD: %w", err)
	}
	return n, nil
}

// vector sets an iovec to b, which lies in the scratch memory or in memory that
// the caller keeps alive.
func vector(v *unix.Iovec, b []byte) {
	v.Base = unsafe.SliceData(b)
	v.SetLen(len(b))
}
