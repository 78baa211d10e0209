package isolate

import (
	"errors"
	"fmt"
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

	program bool // the step executes the program
}

// The exit codes of shells for a program that is there but cannot be executed,
// and for one that is not there (POSIX sh, 2.8.2).
const (
	ExitNotExecutable = 126
	ExitNotFound      = 127
)

// ExitCode gives the exit code with which a shell reports such an error: one of
// the above for a program that could not be executed, 0 for any other.
func ExitCode(err error) int {
	var e *StepError
	switch {
	case !errors.As(err, &e) || !e.program || e.Errno == nil:
		return 0
	case errors.Is(e.Errno, syscall.ENOENT):
		return ExitNotFound
	}
	return ExitNotExecutable
}

// Error says what could not be done and why, without the hint.
func (e *StepError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot start: step %d (%s)", e.Step, e.Why)
	switch e.Op { // names of our own say nothing to users
	case program.OpStatus.String():
	case program.OpExpect.String(), program.OpRefuse.String(), program.OpMake.String():
		fmt.Fprintf(&b, ": %s", e.Path)
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
	e := &StepError{Step: number, Op: s.Sys.String(), Path: s.Path, Why: s.Why, Hint: s.Hint, program: s.Mark == program.Final}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		e.Errno = errno
	}
	if err != nil && err != error(errno) {
		e.Text = err.Error()
	}
	return e
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
