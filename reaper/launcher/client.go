package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"berth/reaper/internal/wire"

	"golang.org/x/sys/unix"
)

// ErrLost is in the chain of every error that comes from the end of the
// connection: the launcher has died, or the client was closed. What was asked
// for did not happen, or ends by itself at its gate as soon as the caller closes
// that. The reaper sends a new launcher.
var ErrLost = errors.New("the launcher is gone")

// Client is the supervisor's side. All methods may be called by many goroutines
// at once; the launcher carries requests out one after the other.
type Client struct {
	conn   *wire.Conn
	sealed atomic.Bool

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan outcome
	lost    error
	open    int       // requests without an answer, given up ones included
	since   time.Time // when the last answer came, or the first of the open ones was made
}

// outcome is an answer with its pidfd.
type outcome struct {
	answer
	pidfd *os.File
}

// NewClient makes a client of a connection from the reaper (Handover.Launcher or
// a Launcher event), which it takes over. When it cannot, every Fork fails with
// the reason.
func NewClient(conn *os.File) *Client {
	c := &Client{waiting: map[uint64]chan outcome{}}
	fd := -1
	err := wire.Descriptors([]*os.File{conn}, func(fds []int) (err error) {
		fd, err = unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 3)
		return err
	})
	if conn != nil {
		conn.Close()
	}
	if err == nil {
		c.conn, err = wire.NewConn(fd)
	}
	if err != nil {
		c.lost = fmt.Errorf("%w: cannot use its connection: %w", ErrLost, err)
		return c
	}
	go c.receive()
	return c
}

// Close ends the connection, and thereby the launcher. Forks that wait fail with
// ErrLost. It is to be called when a Launcher event has come, since a child at
// its gate can hold the old connection open.
func (c *Client) Close() error {
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.end(nil)
	return err
}

// Sealed tells whether the launcher's executable is known to be one that nobody
// can write, as programs compiled for a sealed starter need it.
func (c *Client) Sealed() bool { return c.sealed.Load() }

// Ahead tells the launcher that a Fork of a program with these flags of clone(2)
// follows soon, so that it can make namespaces meanwhile. It is a hint: nothing
// comes of it when the launcher is busy or gone, and what was made for a Fork
// that does not come is given up after a second.
func (c *Client) Ahead(flags uint64) {
	if flags == 0 || c.conn == nil {
		return
	}
	q := request{Ahead: flags}
	_ = c.conn.Send(q.encode(nil), nil)
}

// Fork forks the program in image, at most MaxImage bytes, with descriptors fds,
// at most MaxFiles, which stay the caller's. It gives the pid and the pidfd,
// which is the caller's. When ctx ends first, the child may exist or come to
// exist: the caller closes the gate, so that it ends, and abandons the start.
func (c *Client) Fork(ctx context.Context, image []byte, fds []int) (int, *os.File, error) {
	pid, pidfd, err := c.fork(ctx, image, fds)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot fork a program: %w", err)
	}
	return pid, pidfd, nil
}

func (c *Client) fork(ctx context.Context, image []byte, fds []int) (int, *os.File, error) {
	switch {
	case len(image) == 0 || len(image) > MaxImage:
		return 0, nil, fmt.Errorf("its image has %d bytes, and may have 1 to %d", len(image), MaxImage)
	case len(fds) > MaxFiles:
		return 0, nil, fmt.Errorf("it has %d descriptors, and may have %d", len(fds), MaxFiles)
	}
	q := request{Image: image}
	if len(image) > maxInline {
		memfd, err := sealImage(image)
		if err != nil {
			return 0, nil, err
		}
		defer unix.Close(memfd)
		q.Sealed, q.Image = true, nil
		fds = append([]int{memfd}, fds...)
	}

	result := make(chan outcome, 1)
	c.mu.Lock()
	if c.lost != nil {
		c.mu.Unlock()
		return 0, nil, c.lost
	}
	c.last++
	q.Number = c.last
	c.waiting[q.Number] = result
	if c.open++; c.open == 1 {
		c.since = time.Now()
	}
	c.mu.Unlock()

	if err := c.conn.Send(q.encode(nil), fds); err != nil {
		c.forget(q.Number)
		c.answered()
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrClosed) {
			err = fmt.Errorf("%w: %w", ErrLost, err)
		}
		return 0, nil, err
	}
	select {
	case got, ok := <-result:
		if !ok {
			return 0, nil, c.lost
		}
		return got.unpack()
	case <-ctx.Done():
		c.forget(q.Number)
		select {
		case got, ok := <-result: // it came just now
			if ok && got.pidfd != nil {
				got.pidfd.Close()
			}
		default:
		}
		return 0, nil, ctx.Err()
	}
}

// answered notes that there is one open request less.
func (c *Client) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open, c.since = c.open-1, time.Now()
}

// Silent tells for how long the launcher has owed an answer and given none; 0
// when it owes none. Requests wait for each other, so one of many may be slow
// without a fault; a launcher that answers nothing hangs.
func (c *Client) Silent() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == 0 || c.lost != nil {
		return 0
	}
	return time.Since(c.since)
}

// forget makes the answer to a request one that nobody waits for.
func (c *Client) forget(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, number)
}

// unpack gives what Fork returns.
func (o outcome) unpack() (int, *os.File, error) {
	if o.PID != 0 {
		return o.PID, o.pidfd, nil
	}
	if o.Errno != 0 {
		return 0, nil, &Error{Text: o.Text, Errno: syscall.Errno(o.Errno)}
	}
	return 0, nil, errors.New(o.Text)
}

// Error is the launcher's failure to fork. Text tells all; Errno is its cause.
type Error struct {
	Text  string
	Errno syscall.Errno
}

func (e *Error) Error() string { return e.Text }

// Unwrap gives the errno.
func (e *Error) Unwrap() error { return e.Errno }

// receive reads answers until the connection ends.
func (c *Client) receive() {
	for {
		got, err := c.conn.Recv()
		if err != nil {
			c.end(err)
			return
		}
		a, ok := decodeAnswer(got.Data)
		if !ok || len(got.FDs) > 1 || (a.PID == 0 && len(got.FDs) != 0) {
			wire.CloseAll(got.FDs)
			c.end(errors.New("it sent an answer that makes no sense"))
			return
		}
		if a.Number == 0 {
			c.sealed.Store(a.Sealed)
			continue
		}
		c.answered()
		o := outcome{answer: a}
		switch {
		case len(got.FDs) == 1:
			o.pidfd = os.NewFile(uintptr(got.FDs[0]), fmt.Sprint("pidfd of ", a.PID))
		case a.PID != 0:
			// The child is there, but the supervisor can open no more files. It
			// ends at its gate.
			o.answer = answer{Number: a.Number, Errno: uint32(syscall.EMFILE), Text: "cannot receive the pidfd: " + syscall.EMFILE.Error()}
		}
		c.mu.Lock()
		result := c.waiting[a.Number]
		delete(c.waiting, a.Number)
		if result != nil {
			result <- o // has room, and under the lock: see Fork's end by ctx
		}
		c.mu.Unlock()
		if result == nil && o.pidfd != nil {
			o.pidfd.Close()
		}
	}
}

// end marks the launcher as gone and lets go of all who wait. The first reason counts.
func (c *Client) end(err error) {
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost == nil {
		c.lost = ErrLost
		if err != nil && err != io.EOF && !errors.Is(err, os.ErrClosed) {
			c.lost = fmt.Errorf("%w: %w", ErrLost, err)
		}
	}
	for _, result := range c.waiting {
		close(result)
	}
	clear(c.waiting)
}

// sealImage puts an image in a memfd that can change no more.
func sealImage(image []byte) (int, error) {
	fd, err := unix.MemfdCreate("berth-program", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	for rest := image; len(rest) > 0; {
		n, err := unix.Write(fd, rest)
		if err != nil && err != unix.EINTR {
			unix.Close(fd)
			return -1, os.NewSyscallError("write", err)
		}
		rest = rest[max(n, 0):]
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("fcntl F_ADD_SEALS", err)
	}
	return fd, nil
}
