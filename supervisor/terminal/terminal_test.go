package terminal

import (
	"testing"

	"berth/supervisor/pty"

	"golang.org/x/sys/unix"
)

func TestType(t *testing.T) {
	for name, want := range map[string]string{"tty1": "linux", "/dev/tty0": "linux", "/dev/ttyS0": "vt220", "hvc0": "vt220", "console": "vt220", "tty": "vt220"} {
		if got := Type(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestSane brings a terminal back that a program has left raw, and keeps its line.
func TestSane(t *testing.T) {
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer tty.Close()
	fd := int(tty.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	raw := *before
	raw.Iflag, raw.Oflag, raw.Lflag, raw.Cc[unix.VINTR], raw.Cc[unix.VMIN] = unix.IGNCR, 0, 0, 'x', 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		t.Fatal(err)
	}
	if err := Sane(fd); err != nil {
		t.Fatal(err)
	}
	now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	const local = unix.ISIG | unix.ICANON | unix.ECHO
	if now.Lflag&local != local || now.Iflag&(unix.ICRNL|unix.IUTF8|unix.IGNCR) != unix.ICRNL|unix.IUTF8 || now.Oflag&(unix.OPOST|unix.ONLCR) != unix.OPOST|unix.ONLCR ||
		now.Cc[unix.VINTR] != 3 || now.Cc[unix.VMIN] != 1 || now.Cflag != before.Cflag || now.Ospeed != before.Ospeed {
		t.Errorf("before %+v, now %+v", before, now)
	}
	if err := Sane(int(openNull(t))); err != nil {
		t.Errorf("what is no terminal: %v", err)
	}
}

func openNull(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}
