package wire

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Conn is one end of a pair for a process with many goroutines: it waits in the
// runtime's poller and not in the kernel, so Close wakes whoever waits.
// Send may be called by many at once, Recv by one.
type Conn struct {
	file    *os.File
	raw     syscall.RawConn
	sending sync.Mutex
	buffers Buffers
}

// NewConn makes a connection of a socket, which it takes over and closes on
// failure too. The socket becomes non-blocking.
func NewConn(fd int) (*Conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "seqpacket")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Conn{file: file, raw: raw}, nil
}

// Send sends one message, and waits as long as the other end's buffer is full.
func (c *Conn) Send(msg []byte, fds []int) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	var sent error
	err := c.raw.Write(func(fd uintptr) bool {
		sent = Send(int(fd), msg, fds)
		return sent != unix.EAGAIN
	})
	if err != nil {
		return closed(err)
	}
	return sent
}

// Recv takes one message as the function of that name, and waits for it. Data
// is valid until the next call.
func (c *Conn) Recv() (Received, error) {
	var r Received
	var got error
	err := c.raw.Read(func(fd uintptr) bool {
		r, got = Recv(int(fd), &c.buffers, unix.MSG_DONTWAIT)
		return got != unix.EAGAIN
	})
	if err != nil {
		return Received{}, closed(err)
	}
	return r, got
}

// closed is the error of a RawConn without deadlines: its file was closed. What
// package poll then gives is sometimes an error of its own that is not
// os.ErrClosed.
func closed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", os.ErrClosed, err)
}

// Close closes the connection. A Send or Recv that waits fails with os.ErrClosed.
func (c *Conn) Close() error { return c.file.Close() }

// Descriptors calls do with the numbers of files, which stay open and owned by
// their files while it runs. (File.Fd would not hold them open.)
func Descriptors(files []*os.File, do func(fds []int) error) error {
	fds := make([]int, 0, len(files))
	var next func() error
	next = func() error {
		if len(fds) == len(files) {
			return do(fds)
		}
		raw, err := files[len(fds)].SyscallConn()
		if err != nil {
			return err
		}
		var inner error
		if err := raw.Control(func(fd uintptr) {
			fds = append(fds, int(fd))
			inner = next()
		}); err != nil {
			return err
		}
		return inner
	}
	return next()
}
