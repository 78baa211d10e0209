package runtime

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// dialConsole connects to the socket over which a caller wants the master of a
// terminal: unix, stream. It is done before anything of the container runs.
func dialConsole(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket for the terminal: %w", err)
	}
	if err := connect(fd, path); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot connect to the console socket: dial unix %s: %w", path, err)
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
