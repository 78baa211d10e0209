package isolate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// Status is the read end of the status pipe, for who keeps a duplicate of it
// over its own end (see ReadStatus). It stays Prepared's; nil after Close, and
// when the caller has brought its own (Files.Status).
func (pr *Prepared) Status() *os.File {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	return pr.status
}

// Point is a place in a start that a child says it has come to.
type Point int

// The points, in their order.
const (
	AtSync    Point = iota // it waits for the runtime's word: Spec.SyncRuntime, Prepared.Continue
	AtGate                 // it waits at the gate
	AtProgram              // it has executed the program
)

// StatusReader reads what a child says over the status pipe. It remembers how
// far the child has come. It is for one goroutine at a time.
type StatusReader struct {
	r     *os.File
	p     *program.Program
	at    int
	final bool
	late  time.Time // when the hook that runs must have ended; zero: no hook with a timeout runs
}

// NewStatusReader gives a reader of a status pipe or FIFO. r must be able to
// take a read deadline (opened non-blocking); it stays the caller's. p is the
// program the child was started from; one without inside steps stands for one
// that is not known any more, see ReadStatus.
func NewStatusReader(r *os.File, p *program.Program) *StatusReader {
	return &StatusReader{r: r, p: p}
}

// Until waits until the child has come to a point, or has failed before: then
// it gives a *StepError. The zero deadline means none; past it the error is
// os.ErrDeadlineExceeded. A hook with a Timeout that runs longer is a
// *StepError with Text, too; it is not ended by this: whoever reads ends the
// container then, as after any error, and with it its hooks.
func (s *StatusReader) Until(point Point, deadline time.Time) error {
	if err := s.setDeadline(deadline); err != nil {
		return err
	}
	return s.until(point, deadline)
}

// Settle waits until the child has closed the pipe, which is when it has executed
// its program or has failed, or until the deadline. It reads nothing, and unlike
// Until it is not woken by what the child says on its way, which on a busy machine
// is at the child's cost. It is not for a program with a hook that has a Timeout.
func (s *StatusReader) Settle(deadline time.Time) {
	conn, err := s.r.SyscallConn()
	if err != nil {
		return // it was closed, which Until tells
	}
	_ = conn.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd)}} // no events but its end
		for {
			_, err := unix.Poll(p, max(int(time.Until(deadline).Milliseconds()), 0))
			if err != unix.EINTR {
				return
			}
		}
	})
}

func (s *StatusReader) setDeadline(deadline time.Time) error {
	if !s.late.IsZero() && (deadline.IsZero() || s.late.Before(deadline)) {
		deadline = s.late
	}
	if err := s.r.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("cannot wait for the start: %w", err)
	}
	return nil
}

func (s *StatusReader) until(point Point, deadline time.Time) error {
	p := s.p
	buf := make([]byte, program.RecordSize)
	for {
		n, err := io.ReadFull(s.r, buf)
		switch {
		case err == io.EOF && n == 0 && (s.final || len(p.Inside) == 0):
			return nil
		case err == io.EOF && n == 0:
			e := stepError(len(p.Outside)+s.at, &p.Inside[s.at], nil)
			e.Text = "the process was ended here or soon after"
			e.Hint = "its group may have too little memory, or the starter has given up"
			return e
		case errors.Is(err, os.ErrDeadlineExceeded) && !s.late.IsZero() && !time.Now().Before(s.late):
			e := stepError(len(p.Outside)+s.at, &p.Inside[s.at], nil)
			e.Text = fmt.Sprintf("took longer than %v", p.Inside[s.at].Timeout)
			return e
		case err != nil:
			return fmt.Errorf("cannot read the status of start %q: %w", p.Name, err)
		}
		word := func(i int) uint32 { return binary.NativeEndian.Uint32(buf[4*i:]) }
		origin, cause, value := word(1), word(2), word(3)
		known := int(origin) < len(p.Inside)
		switch {
		case word(0) != program.RecordMagic, !known && len(p.Inside) > 0:
			return fmt.Errorf("cannot read the status of start %q: the record is malformed", p.Name)
		case !known && cause == program.CauseNone:
			continue
		case !known:
			return fmt.Errorf("cannot start %q: step %d of its inside failed", p.Name, origin)
		}
		if cause != program.CauseNone {
			return recordError(p, int(origin), cause, value)
		}
		if err := s.came(int(origin), value != 0, deadline); err != nil {
			return err
		}
		if step := &p.Inside[origin]; point == AtGate && step.Sys == program.OpGate || point == AtSync && isSync(p, step) {
			return nil
		}
	}
}

// came notes that the child has come to a step.
func (s *StatusReader) came(at int, final bool, deadline time.Time) error {
	s.at, s.final = at, final
	limited := !s.late.IsZero()
	s.late = time.Time{}
	if t := s.p.Inside[at].Timeout; t > 0 {
		s.late = time.Now().Add(t)
		limited = true
	}
	if !limited {
		return nil // the caller's own deadline on the file, if any, is left alone
	}
	return s.setDeadline(deadline)
}

// ReadStatus reads the status pipe of a child started from p to its end. It
// gives nil when the child has executed its program, a *StepError when a step
// failed or the child was ended before it came so far (then with Text, and the
// step that began the part it was in), and another error when the pipe cannot
// be read; with a read deadline set on r that is os.ErrDeadlineExceeded.
//
// A program without inside steps stands for one that is not known any more,
// whose status another process may have read a part of: then the end of the
// pipe is success, and any failure an error without details.
func ReadStatus(r *os.File, p *program.Program) error {
	return NewStatusReader(r, p).until(AtProgram, time.Time{})
}
