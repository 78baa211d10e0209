package emergency

import (
	"os"
	"strings"

	"berth/supervisor/terminal"

	"golang.org/x/sys/unix"
)

// console is an open console, and the shell on it.
type console struct {
	name    string // ttyS0
	fd      int
	running bool // a shell
	pidfd   int  // its
}

// openConsoles opens all consoles that the kernel writes to, as
// /sys/class/tty/console/active names them, or else /dev/console. Whoever has one
// of them as terminal is hung up. The caller owns the descriptors.
func openConsoles() []*console {
	text, _ := os.ReadFile("/sys/class/tty/console/active") // none: then /dev/console
	var list []*console
	for _, name := range strings.Fields(string(text)) {
		if c := openConsole(name); c != nil {
			list = append(list, c)
		}
	}
	if list == nil {
		if c := openConsole("console"); c != nil {
			list = append(list, c)
		}
	}
	return list
}

// openConsole gives nil for what is no terminal.
func openConsole(name string) *console {
	path := "/dev/" + name
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_NONBLOCK // not waiting for a carrier
	fd, err := unix.Open(path, flags, 0)
	if err != nil {
		return nil
	}
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		unix.Close(fd)
		return nil
	}
	if name != "console" {
		terminal.HangUp(fd)
		unix.Close(fd) // is hung up too
		if fd, err = unix.Open(path, flags, 0); err != nil {
			return nil
		}
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil
	}
	return &console{name: name, fd: fd}
}

func closeAll(list []*console) {
	for _, c := range list {
		unix.Close(c.fd)
	}
}
