package runtime

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// relay joins the terminal of this process (or whatever its standard streams
// are) with the master of a container's.
type relay struct {
	master  *os.File
	restore func()
	drained chan struct{} // closed when no more output comes
}

// drainTime is how long output is still copied after the process has ended when
// another one has the terminal open.
const drainTime = time.Second

// receiveRelay begins a relay for the terminal that has been sent to a socket.
func receiveRelay(near *os.File) (*relay, error) {
	master, err := receiveDescriptor(near)
	if err != nil {
		return nil, fmt.Errorf("cannot receive the terminal: %w", err)
	}
	return startRelay(master)
}

// startRelay begins to copy both ways, and takes ownership of the master. A
// terminal at standard input passes every key on as it is, until finish. The
// container's terminal leaves line ends alone: that of this process, if there is
// one, makes the carriage returns, and a file or pipe gets what was written.
func startRelay(master int) (*relay, error) {
	if err := leaveLineEnds(master); err != nil {
		unix.Close(master)
		return nil, fmt.Errorf("cannot set the terminal up: %w", err)
	}
	if err := unix.SetNonblock(master, true); err != nil { // so that reading can be given a time limit
		unix.Close(master)
		return nil, fmt.Errorf("cannot use the terminal: %w", err)
	}
	r := &relay{master: os.NewFile(uintptr(master), "terminal"), restore: func() {}, drained: make(chan struct{})}
	if in := int(os.Stdin.Fd()); term.IsTerminal(in) {
		old, err := term.MakeRaw(in)
		if err == nil {
			r.restore = func() { _ = term.Restore(in, old) }
			err = processOutput(in)
		}
		if err != nil {
			r.restore()
			r.master.Close()
			return nil, fmt.Errorf("cannot pass the keys of the terminal on: %w", err)
		}
	}
	r.resize()
	go func() {
		// The end of the input is not passed on: a terminal has none.
		_, _ = io.Copy(r.master, os.Stdin)
	}()
	go func() {
		defer close(r.drained)
		_, _ = io.Copy(os.Stdout, r.master) // ends with EIO when nobody has the other side open
	}()
	return r, nil
}

// leaveLineEnds has a terminal not write a carriage return for each end of a
// line (ONLCR of termios(3)). The settings of a master are those of its slave.
func leaveLineEnds(master int) error {
	return changeTermios(master, func(t *unix.Termios) { t.Oflag &^= unix.ONLCR })
}

// processOutput has a raw terminal go on making line ends out of newlines.
func processOutput(fd int) error {
	return changeTermios(fd, func(t *unix.Termios) { t.Oflag |= unix.OPOST })
}

func changeTermios(fd int, change func(*unix.Termios)) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	change(t)
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// resize gives the container's terminal the size of ours.
func (r *relay) resize() {
	for _, from := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		size, err := unix.IoctlGetWinsize(int(from.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			continue
		}
		if conn, err := r.master.SyscallConn(); err == nil {
			_ = conn.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
		}
		return
	}
}

// finish copies what output there still is, after the process has ended, and
// gives our terminal back as it was. A nil relay is none.
func (r *relay) finish() {
	if r == nil {
		return
	}
	_ = r.master.SetReadDeadline(time.Now().Add(drainTime))
	<-r.drained
	r.restore()
	r.master.Close()
}
