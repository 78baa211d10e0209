package isolate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"berth/isolate/program"
)

// ExitGateClosed is the exit code of a child whose starter gave up or died
// before it opened the gate; ExitFailed that of one whose step failed.
const (
	ExitGateClosed = program.ExitGateClosed
	ExitFailed     = program.ExitFailed
)

// StepError is the failure of a start, told by the step that failed.
type StepError struct {
	Step  int    // number in the program as printed, from 0
	Op    string // the system call: "mount", "openat2"
	Path  string // what it was done to, if anything
	Why   string // what the step is for: "attach the root file system"
	Errno error  // a syscall.Errno, or nil
	Text  string // where there is no errno: "exited with status 3"
	Hint  string // what to try, or ""
}

// Error says what could not be done and why, without the hint.
func (e *StepError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot start: step %d (%s)", e.Step, e.Why)
	switch e.Op { // names of our own say nothing to users
	case program.OpStatus.String():
	case program.OpFail.String():
		fmt.Fprintf(&b, ": %s %s", program.SysExecve, e.Path)
	default:
		fmt.Fprintf(&b, ": %s", e.Op)
		if e.Path != "" {
			fmt.Fprintf(&b, " %s", e.Path)
		}
	}
	if e.Text != "" {
		fmt.Fprintf(&b, ": %s", e.Text)
	} else if e.Errno != nil {
		fmt.Fprintf(&b, ": %v", e.Errno)
	}
	return b.String()
}

// Unwrap gives the errno.
func (e *StepError) Unwrap() error { return e.Errno }

func stepError(number int, s *program.Step, err error) *StepError {
	e := &StepError{Step: number, Op: s.Sys.String(), Path: s.Path, Why: s.Why, Hint: s.Hint}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		e.Errno = errno
	}
	if err != nil && err != error(errno) {
		e.Text = err.Error()
	}
	return e
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
	buf := make([]byte, program.RecordSize)
	at, final := 0, false
	for {
		n, err := io.ReadFull(r, buf)
		switch {
		case err == io.EOF && n == 0 && (final || len(p.Inside) == 0):
			return nil
		case err == io.EOF && n == 0:
			e := stepError(len(p.Outside)+at, &p.Inside[at], nil)
			e.Text = "the process was ended here or soon after"
			e.Hint = "its group may have too little memory, or the starter has given up"
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
		at, final = int(origin), value != 0
	}
}

func recordError(p *program.Program, origin int, cause, value uint32) *StepError {
	s := &p.Inside[origin]
	e := stepError(len(p.Outside)+origin, s, nil)
	switch cause {
	case program.CauseStatus:
		e.Text = waitText(syscall.WaitStatus(value))
	case program.CauseResult:
		e.Text = fmt.Sprintf("gave %d instead of %d", value, s.Want)
	default:
		e.Errno = syscall.Errno(value)
	}
	return e
}

func waitText(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return fmt.Sprintf("was killed by signal %d (%v)", int(ws.Signal()), ws.Signal())
	}
	return fmt.Sprintf("exited with status %d", ws.ExitStatus())
}
