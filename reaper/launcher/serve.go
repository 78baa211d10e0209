package launcher

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"berth/reaper/internal/wire"

	"golang.org/x/sys/unix"
)

// Forker is what a launcher does its work with.
type Forker interface {
	// Fork forks the program in image, whose descriptors are fds, as a child of
	// this process's parent, and gives its pid and a close-on-exec pidfd. It neither
	// closes fds nor keeps image.
	Fork(image []byte, fds []int) (pid, pidfd int, err error)
	// Ahead says that a program with these flags of clone(2) is to be forked soon.
	Ahead(flags uint64)
	// Waiting tells whether something was made for it, and Settle undoes that: it
	// is called after each fork, and when none comes. Its error ends the launcher.
	Waiting() bool
	Settle() error
}

// aheadTime is how long what was made for a program is kept for it, in milliseconds.
const aheadTime = 1000

// Serve is the launcher: it answers requests on the connection fd, which it
// takes over, until the supervisor closes it (nil) or breaks the protocol. It
// sets the runtime up for a process as small as can be, takes no notice of TERM,
// INT, HUP and QUIT, and does nothing else than this. The caller has called
// reaper.Harden.
func Serve(fd int, fork Forker) error {
	runtime.GOMAXPROCS(1)
	runtime.LockOSThread() // never unlocked: namespaces made ahead are the thread's
	// A program's image is read, decoded, and garbage; the heap stays at some
	// hundred kilobytes, and so does what a fork has to copy.
	debug.SetGCPercent(20)
	debug.SetMemoryLimit(8 << 20)
	// A service manager above that stops the whole group signals the launcher
	// too, but orderly stopping still needs it. Handled and not ignored, for what
	// is ignored here would be so in every service.
	signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	defer unix.Close(fd)
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, false); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	var buffers wire.Buffers
	out := (&answer{Sealed: sealed()}).encode(nil)
	if err := send(fd, out, -1); err != nil {
		if err == unix.EPIPE || err == unix.ECONNRESET {
			return nil
		}
		return err
	}
	for {
		if fork.Waiting() && !readable(fd, aheadTime) {
			if err := fork.Settle(); err != nil {
				return err
			}
		}
		got, err := wire.Recv(fd, &buffers, 0)
		if err == io.EOF || err == unix.ECONNRESET {
			return nil
		}
		if err != nil {
			return err
		}
		q, ok := decodeRequest(got.Data)
		if !ok {
			wire.CloseAll(got.FDs)
			return errors.New("the supervisor sent a request that makes no sense")
		}
		if q.Ahead != 0 {
			wire.CloseAll(got.FDs)
			fork.Ahead(q.Ahead)
			continue
		}
		a, pidfd := serve(&q, &got, fork)
		wire.CloseAll(got.FDs)
		clear(got.Data) // no later child is to have a copy
		out = a.encode(out[:0])
		err = send(fd, out, pidfd)
		if pidfd >= 0 {
			unix.Close(pidfd)
		}
		if err == unix.EPIPE || err == unix.ECONNRESET {
			return nil // the child ends at its gate
		}
		if err == nil {
			err = fork.Settle()
		}
		if err != nil {
			return err
		}
	}
}

// readable waits until there is something to read, at most so many milliseconds.
func readable(fd int, milliseconds int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, milliseconds)
	return n > 0 || err != nil // what is wrong with it, receiving tells
}

// serve carries one request out.
func serve(q *request, got *wire.Received, fork Forker) (answer, int) {
	a := answer{Number: q.Number}
	pid, pidfd, err := forkImage(q, got, fork)
	if err != nil {
		a.Text = err.Error()
		if a.Text == "" {
			a.Text = "fork failed"
		}
		var errno syscall.Errno
		if errors.As(err, &errno) {
			a.Errno = uint32(errno)
		}
		return a, -1
	}
	a.PID = pid
	return a, pidfd
}

func forkImage(q *request, got *wire.Received, fork Forker) (int, int, error) {
	if got.Lost {
		return 0, -1, os.NewSyscallError("receive descriptors", unix.EMFILE)
	}
	if !q.Sealed {
		return fork.Fork(q.Image, got.FDs)
	}
	if len(got.FDs) == 0 {
		return 0, -1, os.NewSyscallError("receive image", unix.EBADF)
	}
	image, err := mapSealed(got.FDs[0])
	if err != nil {
		return 0, -1, err
	}
	defer unix.Munmap(image)
	return fork.Fork(image, got.FDs[1:])
}

// mapSealed maps a memfd that can change no more: one that was cut short later
// would end the reader with SIGBUS.
func mapSealed(fd int) ([]byte, error) {
	const needed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&needed != needed {
		return nil, os.NewSyscallError("check the seals of the image", unix.EPERM)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if stat.Size <= 0 || stat.Size > MaxImage {
		return nil, os.NewSyscallError("take the image", unix.EFBIG)
	}
	image, err := unix.Mmap(fd, 0, int(stat.Size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return image, nil
}

// send waits for room in the socket.
func send(fd int, data []byte, pidfd int) error {
	var fds []int
	if pidfd >= 0 {
		fds = []int{pidfd}
	}
	for {
		err := wire.Send(fd, data, fds)
		if err != unix.EAGAIN {
			return err
		}
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1); err != nil && err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
	}
}
