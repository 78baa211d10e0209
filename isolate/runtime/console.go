package runtime

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// dialConsole connects to the socket over which a caller wants the master of a
// terminal: unix, stream. It is done before anything of the container runs.
func dialConsole(path string) (*os.File, error) { return dial(path, "console socket") }

// dialPIDFD connects to the socket over which a caller wants a pidfd of the
// process: unix, stream. "" is none.
func dialPIDFD(path string) (*os.File, error) {
	if path == "" {
		return nil, nil
	}
	return dial(path, "pidfd socket")
}

// sendPIDFD sends a pidfd, which stays the caller's, as the descriptor beside
// the word "pidfd". A nil socket is none.
func sendPIDFD(to *os.File, pidfd int) error {
	if to == nil {
		return nil
	}
	if err := unix.Sendmsg(int(to.Fd()), []byte("pidfd"), unix.UnixRights(pidfd), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("cannot send the pidfd to the pidfd socket %s: %w", to.Name(), err)
	}
	return nil
}

// dial connects to a unix stream socket; what names it for messages.
func dial(path, what string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket for the %s: %w", what, err)
	}
	if err := connect(fd, path); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot connect to the %s: dial unix %s: %w", what, path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// connect connects to a socket; one whose path is longer than an address can be
// is reached through a descriptor.
func connect(fd int, path string) error {
	address := path
	if len(path) >= 108 { // sun_path of unix(7)
		at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(at)
		address = fmt.Sprintf("/proc/self/fd/%d", at)
	}
	for {
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: address}); err != unix.EINTR {
			return err
		}
	}
}
