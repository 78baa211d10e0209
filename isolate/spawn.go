package isolate

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// Child is a started program, or one that still waits at the gate. It is a
// child of this process.
type Child struct {
	PID   int
	PIDFD int // close-on-exec; closed by Wait
}

// Fork forks the child in this process; it then waits at the gate. The caller
// goes on with Proceed and Wait, or gives up with Close and Child.Kill. The
// launched descriptors are closed. Of a Prepared that HandsOver it gives the
// program's process, which takes as long as the set-up does, at most
// DefaultStartTimeout; with Spec.SyncRuntime the process that sets it up, see TakeOver.
func (pr *Prepared) Fork() (*Child, error) { return pr.ForkIn(program.Ahead{}) }

// ForkIn is Fork, called in a thread (runtime.LockOSThread) that has made some of
// the child's namespaces for it: made is what program.MakeAhead gave there.
// The child inherits them instead of getting new ones.
func (pr *Prepared) ForkIn(made program.Ahead) (*Child, error) {
	return pr.fork(made, time.Now().Add(DefaultStartTimeout))
}

// ForkUntil is Fork with another deadline; the zero time means none.
func (pr *Prepared) ForkUntil(deadline time.Time) (*Child, error) {
	return pr.fork(program.Ahead{}, deadline)
}

func (pr *Prepared) fork(made program.Ahead, deadline time.Time) (*Child, error) {
	im := pr.image()
	if err := im.Complete(); err != nil {
		return nil, err
	}
	im.FailAt = pr.failInside
	im.Inherit(made)
	pid, pidfd, err := im.Fork(false)
	if err != nil {
		return nil, fmt.Errorf("cannot start %q: %w", pr.program.Name, err)
	}
	pr.Launched()
	child := &Child{pid, pidfd}
	if err := pr.Forked(pid, pidfd); err != nil {
		pr.Close()
		child.Kill()
		child.Wait()
		return nil, err
	}
	if !pr.HandsOver() || pr.register(regWord) != program.None {
		return child, nil
	}
	return pr.TakeOver(child, deadline)
}

// TakeOver waits for the program's process, of a Prepared that HandsOver, and
// gives it for the one that Fork has given. Fork does so itself but with
// Spec.SyncRuntime: then it comes after Continue. After an error the set-up
// process is gone too, and so is p as by Close. See Final for the errors.
func (pr *Prepared) TakeOver(setup *Child, deadline time.Time) (*Child, error) {
	final := &Child{}
	var err error
	if final.PID, final.PIDFD, err = pr.Final(setup.PID, deadline); err != nil {
		pr.Close()
		setup.Kill()
	}
	setup.Wait()
	if err != nil {
		return nil, err
	}
	return final, nil
}

// Spawn starts what was prepared, in this process and without a launcher, and
// waits until it executes. After an error nothing is left of it. The caller
// still closes p, and waits for the process.
func Spawn(p *Prepared) (*Child, error) {
	proc, err := p.Fork()
	if err != nil {
		return nil, err
	}
	err = p.Proceed()
	if err == nil {
		err = p.Wait(time.Now().Add(DefaultStartTimeout))
	}
	if err == nil {
		return proc, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("cannot start %q: it took longer than %v", p.program.Name, DefaultStartTimeout)
	}
	proc.Kill()
	proc.Wait()
	return nil, err
}

// Kill sends SIGKILL; with a PID namespace of its own that ends all of the container.
func (p *Child) Kill() error { return p.Signal(unix.SIGKILL) }

// Signal sends a signal to the process itself.
func (p *Child) Signal(sig unix.Signal) error {
	if err := unix.PidfdSendSignal(p.PIDFD, sig, nil, 0); err != nil {
		return fmt.Errorf("cannot send signal %d: %w", int(sig), err)
	}
	return nil
}

// Wait waits until the process has ended, reaps it and closes the pidfd. It is called once.
func (p *Child) Wait() (unix.WaitStatus, error) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(p.PID, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		unix.Close(p.PIDFD)
		if err != nil {
			return 0, fmt.Errorf("cannot wait for process %d: %w", p.PID, err)
		}
		return ws, nil
	}
}
