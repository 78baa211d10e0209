package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"berth/isolate"
	"berth/reaper"
	"berth/supervisor/container"
	"berth/supervisor/core"
	"berth/units"
)

// execution is a process beside a unit's main one: a hook or an exec.
type execution struct {
	proc   *process
	exited chan struct{} // closed when exit is set
	exit   reaper.Exit
}

// startExecution starts a further program in the unit's group: within the
// container of its main process, or, fresh, in a new container of the unit.
func (s *Supervisor) startExecution(ctx context.Context, r *run, p isolate.Process, fresh bool, files *fileSet) (*execution, error) {
	x := &execution{exited: make(chan struct{})}
	id := s.execID.Add(1)
	if err := s.ask(ctx, func() { s.execs[id] = x }); err != nil {
		return nil, err
	}
	forget := func() { s.post(func() { delete(s.execs, id) }) }
	r.mu.Lock()
	cfg, group, main := r.cfg, r.group, r.proc
	r.mu.Unlock()
	if group == nil || (main == nil && !fresh) {
		forget()
		return nil, errNotRunning
	}
	if frozen, err := group.Frozen(); err == nil && frozen {
		if !fresh { // it would be frozen too, and could not even be given up
			forget()
			return nil, errPaused
		}
		_ = group.Thaw() // paused when its main process was killed
	}
	env := s.env
	if !fresh {
		env.Notify = s.notifyPath(r.id, cfg)
	}
	c, err := build(ctx, cfg, env)
	if err != nil {
		forget()
		return nil, err
	}
	c.Spec.Process.OwnOutput = s.env.Ordinary != nil && len(files.toChown) > 0
	l := launch{id: id, files: files, group: group, exited: x.exited}
	if fresh {
		c.Spec.Process.Args, c.Spec.PreStart, c.Spec.Init = p.Args, nil, false
		if l.program, err = isolate.Compile(c.Spec); err == nil {
			err = s.joined(ctx, cfg, files)
		}
	} else {
		files.Processes = map[string]*os.File{}
		if err = files.process(isolate.TargetProcess, main); err == nil {
			l.program, err = isolate.CompileExec(container.Exec(c, p))
		}
	}
	if err != nil {
		forget()
		return nil, err
	}
	if x.proc, err = s.launch(ctx, l); err != nil {
		forget()
		return nil, err
	}
	return x, nil
}

// code waits for the end and gives the exit code as a shell does.
func (x *execution) code(ctx context.Context) (int, error) {
	select {
	case <-x.exited:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if x.exit.Signal != 0 {
		return 128 + int(x.exit.Signal), nil
	}
	return x.exit.Code, nil
}

// hookTimeout bounds each command of a hook.
const hookTimeout = 90 * time.Second

// runHook runs a hook's commands in order; the first failure ends it.
func (s *Supervisor) runHook(e core.RunHook) {
	r := s.runs[e.Incarnation]
	if r == nil && e.Hook == core.HookPostStop { // of a task that has ended and was released
		r = newRun(e.Unit, e.Incarnation, s.state.Side(e.Unit, e.Incarnation), e.Config)
		s.runs[e.Incarnation] = r
	}
	place := r
	if r == nil { // released meanwhile
		place = newRun(e.Unit, e.Incarnation, s.state.Side(e.Unit, e.Incarnation), e.Config)
	}
	s.enqueue(place, func() {
		text := ""
		if err := s.hook(r, e); err != nil {
			text = err.Error()
		}
		s.post(func() {
			s.step(core.HookDone{Unit: e.Unit, Incarnation: e.Incarnation, Hook: e.Hook, Err: text})
		})
	})
}

func (s *Supervisor) hook(r *run, e core.RunHook) error {
	var commands []units.Command
	fresh := false
	switch e.Hook {
	case core.HookPostStart:
		commands = e.Config.Service.PostStart
	case core.HookPostStop:
		commands, fresh = e.Config.Service.PostStop, true
	case core.HookReload:
		commands = []units.Command{e.Config.Service.Reload.Command}
	}
	if len(commands) == 0 {
		return nil
	}
	if r == nil {
		return errNotRunning
	}
	// A hook inside the main process's container has no reason to outlive it.
	ctx := r.alive
	if fresh {
		ctx = context.Background()
		c, err := container.Build(e.Config, s.env)
		if err != nil {
			return err
		}
		// What the service left behind is no company for post-stop, and a group in
		// which everything was killed once takes no newcomers: a process cloned
		// into it is killed too (kernel 6.14 on, kernel/cgroup/cgroup.c, kill_seq).
		if !s.clearGroup(r) {
			return errStopped
		}
		if err := s.furnish(r, c); err != nil {
			return err
		}
	}
	for i, c := range commands {
		err := s.hookCommand(ctx, r, c, fresh)
		for errors.Is(err, errInterrupted) { // nothing of it was executed
			err = s.hookCommand(ctx, r, c, fresh)
		}
		if err != nil {
			return fmt.Errorf("%s command %d (%s): %w", e.Hook, i+1, c[0], err)
		}
	}
	return nil
}

func (s *Supervisor) hookCommand(ctx context.Context, r *run, command units.Command, fresh bool) error {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	files, err := r.hookFiles()
	if err != nil {
		return err
	}
	defer files.close()
	x, err := s.startExecution(ctx, r, isolate.Process{Args: command}, fresh, files)
	if err != nil {
		return err
	}
	defer x.proc.pidfd.Close()
	code, err := x.code(ctx)
	switch {
	case err != nil:
		s.giveUp(x.proc, r.group, x.exited)
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("did not end within %s", hookTimeout)
		}
		return errors.New("the main process has ended")
	case code > 128:
		return fmt.Errorf("killed by signal %d", code-128)
	case code != 0:
		return fmt.Errorf("exited with status %d", code)
	}
	return nil
}
