package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"berth/supervisor/core"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Readiness by a descriptor, as s6 has it: the program writes a line to a pipe,
// whose other end the reaper keeps.

// makeReadyPipe makes the run's pipe. The far end is the program's.
func (s *Supervisor) makeReadyPipe(r *run) error {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("cannot make the pipe for [ready] fd: %w", err)
	}
	_ = unix.SetNonblock(fds[0], true) // of a pipe that is there
	near, far := os.NewFile(uintptr(fds[0]), "ready"), os.NewFile(uintptr(fds[1]), "ready")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readyNear, r.readyFar = near, far
	return nil
}

// adoptReadyPipe goes on with the pipe that the reaper kept.
func (s *Supervisor) adoptReadyPipe(r *run, stored map[string][]*os.File) {
	r.readyNear = takeStored(stored, storeName("ready", uint64(r.id)))
}

// readReady waits for the line, and then takes whatever else is written, so that
// the program is not held up. What was read is read only after the core has
// written down what it means.
func (s *Supervisor) readReady(r *run) {
	scratch, err := newPipe()
	if err != nil {
		s.log.Error("cannot look at the pipe for [ready] fd", zap.String("unit", r.unit), zap.Error(err))
		return
	}
	defer scratch.close()
	conn, err := r.readyNear.SyscallConn()
	if err != nil {
		return // released
	}
	for {
		var seen []byte
		ended := false
		err := conn.Read(func(fd uintptr) bool {
			n, err := unix.Tee(int(fd), scratch.w, len(scratch.buf), unix.SPLICE_F_NONBLOCK)
			if err == unix.EAGAIN || err == unix.EINTR {
				return false
			}
			if ended = n <= 0; !ended {
				seen = scratch.read(int(n))
			}
			return true
		})
		if err != nil {
			return // released
		}
		if bytes.IndexByte(seen, '\n') >= 0 {
			s.tellReady(r, true, "")
		} else if ended {
			s.tellReady(r, false, "it has closed the descriptor of [ready] fd without a line")
			return
		}
		if _, err := r.readyNear.Read(scratch.buf[:len(seen)]); err != nil {
			return
		}
	}
}

// tellReady tells the core, and returns when it knows.
func (s *Supervisor) tellReady(r *run, ready bool, why string) {
	_ = s.ask(context.Background(), func() {
		s.step(core.Readiness{Unit: r.unit, Incarnation: r.id, Ready: ready, Why: why})
	})
}

// pipe is one that nobody else sees, to look at what lies in another.
type pipe struct {
	r, w int
	buf  []byte
}

func newPipe() (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	return &pipe{r: fds[0], w: fds[1], buf: make([]byte, 4096)}, nil
}

// read takes n bytes that are there.
func (p *pipe) read(n int) []byte {
	n, _ = unix.Read(p.r, p.buf[:n])
	return bytes.Clone(p.buf[:max(n, 0)])
}

func (p *pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}
