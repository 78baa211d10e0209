// Package pty opens and sizes pseudo-terminals. The supervisor uses it for
// berth exec, package foreground for berth run.
package pty

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Open makes a pseudo-terminal of this mount namespace's devpts. The master is
// non-blocking (a Read of it is ended by Close); both are close-on-exec, and the
// caller closes them. The slave is nobody's controlling terminal yet.
func Open() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open a terminal: /dev/ptmx: %w", err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	if slave, err = Peer(master); err != nil {
		master.Close()
		return nil, nil, err
	}
	return master, slave, nil
}

// Peer opens the other side of a master by TIOCGPTPEER, without a path that a
// container could have replaced (ioctl_tty(2), kernel 4.13).
func Peer(master *os.File) (*os.File, error) {
	var slave *os.File
	err := control(master, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno != 0 {
			return errno
		}
		slave = os.NewFile(peer, "tty")
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open the terminal: %w", err)
	}
	return slave, nil
}

// Resize tells a terminal, by its master, how large its window is. The kernel
// sends SIGWINCH to its foreground processes when that is a change.
func Resize(master *os.File, rows, cols uint16) error {
	return control(master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

// control runs f on the file's descriptor, which stays in the poller (File.Fd
// would make it blocking, and a blocked read could not be ended by Close).
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return err
	}
	return result
}
