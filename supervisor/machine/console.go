package machine

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// setUpConsole makes the settings of /dev/console sane. It is opened without
// waiting for a carrier, and becomes nobody's controlling terminal.
func setUpConsole(context.Context, *Boot) error {
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
			return nil // a machine without any console
		}
		return err
	}
	defer unix.Close(fd)
	return SaneTerminal(fd)
}

// SaneTerminal gives a terminal the settings with which a program that reads and
// writes lines expects to find it, as stty sane does (termios(3)), in UTF-8. The
// line's speed, size and parity stay as they are. A descriptor that is no terminal
// is left alone.
func SaneTerminal(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.IUCLC | unix.IXOFF | unix.IXANY
	t.Iflag |= unix.ICRNL | unix.IXON | unix.IMAXBEL | unix.IUTF8
	t.Oflag &^= unix.OLCUC | unix.OCRNL | unix.ONOCR | unix.ONLRET | unix.OFILL
	t.Oflag |= unix.OPOST | unix.ONLCR
	t.Cflag |= unix.CREAD
	t.Lflag &^= unix.ECHONL | unix.NOFLSH | unix.TOSTOP | unix.ECHOPRT
	t.Lflag |= unix.ISIG | unix.ICANON | unix.IEXTEN | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE
	for key, c := range map[int]uint8{
		unix.VINTR: 'C' & 31, unix.VQUIT: '\\' & 31, unix.VERASE: 127, unix.VKILL: 'U' & 31,
		unix.VEOF: 'D' & 31, unix.VSTART: 'Q' & 31, unix.VSTOP: 'S' & 31, unix.VSUSP: 'Z' & 31,
		unix.VLNEXT: 'V' & 31, unix.VWERASE: 'W' & 31, unix.VREPRINT: 'R' & 31,
		unix.VTIME: 0, unix.VMIN: 1, unix.VEOL: 0, unix.VEOL2: 0,
	} {
		t.Cc[key] = c
	}
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}
