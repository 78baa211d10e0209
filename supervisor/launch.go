package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"berth/isolate"
	"berth/isolate/cgroup"
	"berth/isolate/program"
	"berth/reaper"
	"berth/reaper/launcher"

	"golang.org/x/sys/unix"
)

// launch is one program to be started: a unit's main process, a hook, an exec.
type launch struct {
	id       uint64 // start id, for the reaper
	program  *program.Program
	files    *fileSet
	group    *cgroup.Group
	furnish  func() error          // makes the group, if it is not there; nil: it is
	delegate bool                  // the service's user owns the group
	keep     map[string][]*os.File // what the reaper keeps, by store name, until Release
	settles  bool                  // a next supervisor has to know what became of it: its status pipe is kept too
	exited   <-chan struct{}
	forked   func(*process) // told as soon as there is a process
}

// fileSet is a Files with what has to be closed after the fork, and what has to
// belong to the service's user before it.
type fileSet struct {
	isolate.Files
	toClose []*os.File
	toChown []*os.File
}

func (f *fileSet) close() {
	for _, c := range f.toClose {
		c.Close()
	}
	f.toClose = nil
}

// launch forks the program and returns when it has been executed, or why it was
// not; then its process is dead. A launcher that dies underneath is
// errInterrupted: its child has ended at the gate without doing anything.
func (s *Supervisor) launch(ctx context.Context, l launch) (*process, error) {
	var entry *cgroup.Handles
	l.files.Groups = func() (dir *os.File, procs map[string]*os.File, err error) {
		if l.furnish != nil {
			err = l.furnish()
		}
		if err == nil {
			entry, err = l.group.Open()
		}
		if err != nil {
			return nil, nil, err
		}
		return entry.Dir, entry.Procs, nil
	}
	defer func() {
		if entry != nil {
			entry.Close()
		}
	}()
	s.launcher.ahead(l.program.CloneFlags)
	prepared, err := isolate.PrepareContext(ctx, l.program, l.files.Files)
	if err != nil {
		return nil, err
	}
	defer prepared.Close() // a child that still waits at the gate ends
	for _, f := range l.files.toChown {
		if err := s.giveAway(f, prepared); err != nil {
			return nil, err
		}
	}
	if l.delegate {
		if err := l.group.Chown(int(prepared.UID()), int(prepared.GID())); err != nil {
			return nil, err
		}
	}
	// Written down before the clone: from here on the reaper holds what it does
	// not know, and a new supervisor finds the pipes.
	for name, files := range l.keep {
		if err := s.reaper.Store(name, files...); err != nil {
			return nil, err
		}
	}
	if l.settles {
		if err := s.reaper.Store(storeName("status", l.id), prepared.Status()); err != nil {
			return nil, err
		}
	}
	if err := s.reaper.Begin(l.id); err != nil {
		return nil, err
	}
	proc, err := s.fork(ctx, prepared, l.group)
	if err != nil {
		_ = s.reaper.Abandon(l.id)
		return nil, err
	}
	if l.forked != nil {
		l.forked(proc)
	}
	err = s.left.note(l.id, proc.pid)
	if err == nil {
		err = s.reaper.Register(l.id, proc.pid, proc.pidfd)
	}
	if errors.Is(err, reaper.ErrLost) {
		return nil, err // and the process ends at its gate, with this one
	}
	if err != nil {
		_ = proc.signal(unix.SIGKILL) // it may have ended
		_ = s.reaper.Abandon(l.id)    // nobody is told of its end; it is reaped as an orphan
		return nil, err
	}
	l.files.close()
	prepared.Launched()
	// Registered, its pid is its own until we have seen its end.
	if err := prepared.Forked(proc.pid, int(proc.pidfd.Fd())); err != nil {
		s.giveUp(proc, l.group, l.exited)
		return nil, err
	}
	if err := prepared.Proceed(); err != nil {
		s.giveUp(proc, l.group, l.exited)
		return nil, err
	}
	if err := await(ctx, prepared); err != nil {
		s.giveUp(proc, l.group, l.exited)
		return nil, err
	}
	return proc, nil
}

// giveAway gives a log pipe to the service's user, who can then open /dev/stdout
// anew. One of an ordinary user's subordinate users gets it from the child
// (isolate.Process.OwnOutput); for the hooks to come it is opened by its group.
func (s *Supervisor) giveAway(pipe *os.File, p *isolate.Prepared) error {
	var err error
	if s.env.Ordinary == nil {
		err = pipe.Chown(int(p.UID()), int(p.GID()))
	} else if err = pipe.Chmod(0o660); errors.Is(err, unix.EPERM) {
		err = nil // given away already
	}
	if err != nil {
		return fmt.Errorf("cannot give the log pipe to the service's user: %w", err)
	}
	return nil
}

// await waits until the program was executed, why it was not, or the end of ctx.
func await(ctx context.Context, p *isolate.Prepared) error {
	status := p.Status()
	stop := context.AfterFunc(ctx, func() { _ = status.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err := isolate.ReadStatus(status, p.Program())
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// giveUp kills a process that did not get to its program and waits for its end.
func (s *Supervisor) giveUp(p *process, group *cgroup.Group, exited <-chan struct{}) {
	_ = p.signal(unix.SIGKILL) // it may have ended
	late := time.AfterFunc(stuckTime, func() { s.post(func() { s.tellStuckIn(p, group) }) })
	defer late.Stop()
	for {
		// A group that was frozen while the child was set up must be thawed for
		// the signal to take effect (on v1; on v2 it does no harm).
		if group != nil {
			_ = group.Thaw()
		}
		select {
		case <-exited:
			return
		case <-s.done:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// fork asks the launcher. When that dies meanwhile, a child may wait at our gate
// that nobody has told us of, so the whole start is made again, with a new gate.
func (s *Supervisor) fork(ctx context.Context, p *isolate.Prepared, group *cgroup.Group) (*process, error) {
	c, err := s.launcher.get(ctx)
	if err != nil {
		return nil, err
	}
	image, fds := p.Encode()
	guard := s.guardLauncher(c)
	pid, pidfd, err := c.Fork(ctx, image, fds)
	if ctx.Err() == nil { // else it still owes the answer
		guard.Stop()
	}
	if errors.Is(err, launcher.ErrLost) {
		s.launcher.lost(c)
		return nil, errInterrupted
	}
	if err != nil {
		return nil, err
	}
	proc := &process{pid: pid, pidfd: pidfd}
	if !p.HandsOver() {
		return proc, nil
	}
	final, err := s.final(ctx, p, proc)
	if err != nil {
		go s.discard(proc, group)
		return nil, err
	}
	pidfd.Close()
	return final, nil
}

// final waits for the process that the forked one hands over. That one ends by
// itself, and is to the reaper an orphan that is reaped when the start is settled.
func (s *Supervisor) final(ctx context.Context, p *isolate.Prepared, forked *process) (*process, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(isolate.DefaultStartTimeout)
	}
	stop := context.AfterFunc(ctx, p.Close)
	defer stop()
	pid, pidfd, err := p.Final(forked.pid, deadline)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	return &process{pid: pid, pidfd: os.NewFile(uintptr(pidfd), fmt.Sprint("pidfd of ", pid))}, nil
}

// discard ends a forked process whose set-up has failed or takes too long.
func (s *Supervisor) discard(p *process, group *cgroup.Group) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer p.pidfd.Close()
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.pidfd.Fd()), Events: unix.POLLIN}}, -1)
			if n > 0 || err != nil && err != unix.EINTR {
				return
			}
		}
	}()
	s.giveUp(p, group, ended)
}
