// Package terminal prepares the terminals of a machine for those who read and
// write lines there.
package terminal

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Sane gives a terminal the settings with which a program that reads and
// writes lines expects to find it, as stty sane does (termios(3)), in UTF-8. The
// line's speed, size and parity stay as they are. A descriptor that is no terminal
// is left alone.
func Sane(fd int) error {
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

// HangUp ends the session that has this terminal, as if its line had been dropped
// (vhangup(2), for a descriptor): every descriptor of it is of no use from then on,
// this one too, but for those that were opened by /dev/console, as PID 1's own.
// Without CAP_SYS_ADMIN it does nothing. It may be used for pseudo-terminals, whose
// other side is then at its end.
func HangUp(fd int) { _ = unix.IoctlSetInt(fd, unix.TIOCVHANGUP, 0) }

// Type gives the kind of a terminal for TERM (term(7)) by its name, with or without
// /dev/: "linux" for the kernel's own, and for all others what nearly everything at
// the end of a serial line understands.
func Type(name string) string {
	name = strings.TrimPrefix(name, "/dev/")
	if n, ok := strings.CutPrefix(name, "tty"); ok && n != "" && strings.Trim(n, "0123456789") == "" {
		return "linux"
	}
	return "vt220"
}
