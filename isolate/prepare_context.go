package isolate

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// PrepareContext is Prepare for a caller that cannot wait for ever: the file systems
// that the outside steps look into may be those of a server that does not answer,
// and no signal ends such a call. When ctx ends first, what has been begun is left
// to itself: it is released as soon as it returns, and until then a thread stays in
// it. The error is then ctx's, or when its deadline has passed a *StepError with
// Text, for the step that it is in. The caller may close what is in f as after any
// error; Files.Groups has returned by then.
func PrepareContext(ctx context.Context, p *program.Program, f Files) (*Prepared, error) {
	own, copies, err := f.copy()
	if err != nil {
		return nil, fmt.Errorf("cannot prepare start %q: %w", p.Name, err)
	}
	own.GroupsLater, own.Groups = true, nil
	pr := newPrepared(p, 0, 0)
	pr.copies = copies
	done, gone := make(chan error), make(chan struct{})
	go func() {
		err := pr.prepare(own)
		select {
		case done <- err:
		case <-gone:
			pr.Close()
		}
	}()
	dir, procs := f.CgroupDir, f.CgroupProcs
	if f.Groups != nil {
		dir, procs, err = f.Groups()
	}
	select {
	case other := <-done:
		if other != nil {
			err = other
		}
	case <-ctx.Done():
		close(gone)
		return nil, pr.stuck(ctx.Err())
	}
	if err == nil {
		err = pr.Enter(dir, procs)
	}
	if err != nil {
		pr.Close()
		return nil, err
	}
	return pr, nil
}

// stuck tells what a Prepare that was given up is in.
func (pr *Prepared) stuck(err error) error {
	i := int(pr.at.Load())
	if !errors.Is(err, context.DeadlineExceeded) || i >= len(pr.program.Outside) {
		return err
	}
	e := stepError(i, &pr.program.Outside[i], nil)
	e.Text = "it did not return in time"
	e.Hint = "does the file system of " + e.Path + " answer? A thread stays in this call until it does"
	return e
}

// copy duplicates the descriptors, but for those of the groups.
func (f *Files) copy() (Files, []*os.File, error) {
	out := *f
	var copies []*os.File
	var failed error
	copied := func(file *os.File) *os.File {
		if file == nil || failed != nil {
			return nil
		}
		conn, err := file.SyscallConn()
		if err != nil {
			failed = err
			return nil
		}
		fd := -1
		if err := conn.Control(func(n uintptr) { fd, failed = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
			failed = err
		}
		if failed != nil {
			failed = fmt.Errorf("cannot duplicate %s: %w", file.Name(), failed)
			return nil
		}
		// As os.File.Fd leaves it: a program does not expect its standard streams not
		// to block. (It fails where there is nothing to block on.)
		_ = unix.SetNonblock(fd, false)
		dup := os.NewFile(uintptr(fd), file.Name())
		copies = append(copies, dup)
		return dup
	}
	for _, field := range []**os.File{&out.Stdin, &out.Stdout, &out.Stderr, &out.HookState, &out.HookOutput, &out.Console, &out.Listener, &out.Status, &out.Gate} {
		*field = copied(*field)
	}
	out.Extra = nil
	for _, file := range f.Extra {
		out.Extra = append(out.Extra, copied(file))
	}
	out.Processes = map[string]*os.File{}
	for name, file := range f.Processes {
		out.Processes[name] = copied(file)
	}
	if failed != nil {
		for _, c := range copies {
			c.Close()
		}
		return Files{}, nil, failed
	}
	return out, copies, nil
}
