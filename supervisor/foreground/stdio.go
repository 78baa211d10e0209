package foreground

import (
	"fmt"
	"io"
	"os"
	"sync"

	"berth/isolate"
	"berth/supervisor/pty"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// stdio connects a program's descriptors 0 to 2 with ours. The program never
// gets ours themselves: a file or terminal of the host could be opened again
// through /proc/self/fd, and with other rights than it was passed with. Instead
// it has pipes, or a pseudo-terminal, that belong to its user.
type stdio struct {
	files   isolate.Files
	far     []*os.File // the program's ends, closed here once it has them
	master  *os.File   // of the terminal; nil without
	in      *os.File   // write end of the program's input
	outputs sync.WaitGroup
	restore func()
}

// pipes makes pipes; without withInput standard input is /dev/null.
func pipes(o *Options, withInput bool) (*stdio, error) {
	s := &stdio{restore: func() {}}
	make1 := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err != nil {
			err = fmt.Errorf("cannot make a pipe: %w", err)
		}
		return r, w, err
	}
	if withInput {
		r, w, err := make1()
		if err != nil {
			return nil, err
		}
		s.files.Stdin, s.in, s.far = r, w, append(s.far, r)
	}
	for _, out := range []struct {
		far  **os.File
		ours io.Writer
	}{{&s.files.Stdout, o.Stdout}, {&s.files.Stderr, o.Stderr}} {
		r, w, err := make1()
		if err != nil {
			s.launched()
			return nil, err
		}
		*out.far, s.far = w, append(s.far, w)
		s.output(out.ours, r)
	}
	return s, nil
}

// terminal makes a pseudo-terminal as large as ours.
func terminal(o *Options) (*stdio, error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, err
	}
	s := &stdio{master: master, far: []*os.File{slave}, restore: func() {}}
	s.files.Stdin, s.files.Stdout, s.files.Stderr = slave, slave, slave
	s.resize(o)
	return s, nil
}

// output copies until all who could write have ended. When nobody reads ours
// any more the program sees that too, by SIGPIPE.
func (s *stdio) output(to io.Writer, from *os.File) {
	s.outputs.Go(func() {
		defer from.Close()
		_, _ = io.Copy(to, from)
	})
}

// launched closes the program's ends; without it output never ends.
func (s *stdio) launched() {
	for _, f := range s.far {
		f.Close()
	}
	s.far = nil
}

// begin starts to pass input on, and puts a terminal of ours into raw mode: the
// inner one does all editing, echo and signals.
func (s *stdio) begin(o *Options) error {
	if s.master == nil {
		if s.in != nil {
			go func() {
				_, _ = io.Copy(s.in, o.Stdin)
				s.in.Close()
			}()
		}
		return nil
	}
	s.output(o.Stdout, s.master)
	if fd := int(o.Stdin.Fd()); term.IsTerminal(fd) {
		old, err := term.MakeRaw(fd)
		if err != nil {
			return fmt.Errorf("cannot switch the terminal to raw mode: %w", err)
		}
		s.restore = func() { _ = term.Restore(fd, old) }
	}
	go func() {
		_, _ = io.Copy(s.master, o.Stdin)
		// What is no terminal has an end; on one that is told by Ctrl-D.
		_, _ = s.master.Write([]byte{endOfFile})
	}()
	return nil
}

// endOfFile is Ctrl-D, the default of VEOF (termios(3)).
const endOfFile = 4

func (s *stdio) resize(o *Options) {
	if s.master == nil {
		return
	}
	for _, f := range []*os.File{o.Stdout, o.Stdin} {
		if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && ws.Row > 0 {
			_ = pty.Resize(s.master, ws.Row, ws.Col) // the terminal may have gone with the program
			return
		}
	}
}

// finish waits until all output is through; every process that could write has
// ended before. What is still asked for after giveUp is dropped.
func (s *stdio) finish(giveUp <-chan os.Signal) {
	s.launched()
	done := make(chan struct{})
	go func() { s.outputs.Wait(); close(done) }()
	for {
		select {
		case <-done:
		case sig := <-giveUp:
			if sig == unix.SIGWINCH || sig == unix.SIGPIPE {
				continue
			}
		}
		break
	}
	s.restore()
	if s.master != nil {
		s.master.Close()
	}
}
