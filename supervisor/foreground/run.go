package foreground

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"berth/isolate"
	"berth/isolate/cgroup"
	"berth/isolate/program"
	"berth/reaper"
	"berth/supervisor/container"
	"berth/supervisor/idrange"
	"berth/units"

	"golang.org/x/sys/unix"
)

// Options say what is run, and how.
type Options struct {
	Unit *units.Unit // valid; not changed
	// StateDir holds volumes and persistent layers, as the daemon's does.
	StateDir string
	// Slice names the control group of the run; it must be its own, and end in ".slice".
	Slice string
	// Terminal gives the program a pseudo-terminal as its input, output and
	// /dev/console. Otherwise it has pipes.
	Terminal              bool
	Stdin, Stdout, Stderr *os.File // borrowed
	// Keeper is the command line of a process that calls Keep with its standard
	// input; it gets no arguments beyond.
	Keeper []string
}

// Run runs the unit once, whatever its restart policy, and returns when all of
// it has ended: with the exit code of its program, or 128+n after signal n. An
// error means that it could not be started, or that a hook failed; the code is
// then 1, or the program's if that has failed too.
//
// Signals that this process gets meanwhile (HUP, INT, QUIT, TERM, USR1, USR2)
// are sent on. A program that does not end within the unit's stop.timeout after
// a TERM is killed. When this process is killed the program is too, but its
// post-stop commands do not run.
//
// It changes this process: it is made non-dumpable, and may move to a control
// group of its own while it runs. It is called once in a process. An ordinary
// user gets what container.Ordinary says.
func Run(o Options) (code int, err error) {
	if err := check(o.Unit); err != nil {
		return 1, err
	}
	if err := reaper.Harden(); err != nil {
		return 1, err
	}
	s := &session{o: &o, unit: o.Unit, signals: make(chan os.Signal, 16)}
	signal.Notify(s.signals, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGPIPE)
	defer signal.Stop(s.signals)
	k, err := startKeeper(o.Keeper)
	if err != nil {
		return 1, err
	}
	defer func() {
		if e := k.release(); e != nil && err == nil {
			code, err = max(code, 1), e
		}
	}()
	s.keeper = k
	return s.run(k.cmd.Process.Pid)
}

// check refuses what needs the daemon.
func check(u *units.Unit) error {
	if u.Service.Type == "group" || len(u.Service.Command) == 0 {
		return fmt.Errorf("cannot run %s: it has no command", u.Name)
	}
	if len(u.Sockets) > 0 {
		return fmt.Errorf("cannot run %s: its [[socket]] are opened by berthd; start it there", u.Name)
	}
	if names := container.Joined(u); len(names) > 0 {
		return fmt.Errorf("cannot run %s: it enters namespaces of %s, which only berthd runs; give [namespaces] other values, or start it there", u.Name, strings.Join(names, ", "))
	}
	return nil
}

// session is one run.
type session struct {
	o       *Options
	unit    *units.Unit
	env     container.Environment
	group   *cgroup.Group
	keeper  *keeper
	signals chan os.Signal
}

func (s *session) run(keeper int) (int, error) {
	ordinary, err := container.OrdinaryUser()
	if err != nil {
		return 1, err
	}
	tree, err := cgroup.Open(cgroup.Options{Slice: s.o.Slice, Processes: []int{keeper}, OrNone: ordinary != nil})
	if err != nil {
		return 1, fmt.Errorf("cannot set up control groups: %w", err)
	}
	defer tree.Close()
	s.env = container.Environment{StateDir: s.o.StateDir, Unified: tree.Unified(), Legacy: tree.Legacy(), Optional: tree.Optional(), IDs: idrange.New(s.o.StateDir).For, Ordinary: ordinary}
	c, err := s.build()
	if err != nil {
		return 1, err
	}
	prog, err := isolate.Compile(c.Spec)
	if err != nil {
		return 1, err
	}
	if s.group, err = tree.Group(s.unit.Name + ".service"); err != nil {
		return 1, err
	}
	if err := s.group.Create(c.Limits); err != nil {
		return 1, err
	}
	code, err := s.main(c, prog)
	// Once a container exists its end is followed by its post-stop commands.
	for i, command := range s.unit.Service.PostStop {
		if e := s.fresh(command); e != nil && err == nil {
			code, err = max(code, 1), fmt.Errorf("post-stop command %d (%s): %w", i+1, command[0], e)
			break
		}
	}
	return code, err
}

// build translates the unit, with the terminal that the run has.
func (s *session) build() (*container.Container, error) {
	u := *s.unit
	u.Service.Terminal = "" // of the host; here it is ours, or none
	c, err := container.Build(&u, s.env)
	if err != nil {
		return nil, err
	}
	c.Spec.Process.Terminal = s.o.Terminal
	return c, nil
}

// main runs the program itself, until nothing of its container is left.
func (s *session) main(c *container.Container, prog *program.Program) (int, error) {
	var std *stdio
	var err error
	if s.o.Terminal {
		std, err = terminal(s.o)
	} else {
		std, err = pipes(s.o, true)
	}
	if err != nil {
		return 1, err
	}
	defer std.finish(s.signals) // after the group is empty: see the end of this function
	before, _ := s.group.OOMKills()
	p, err := s.spawn(prog, std)
	if err != nil {
		return max(1, isolate.ExitCode(err)), errors.Join(err, s.clear())
	}
	if err = std.begin(s.o); err == nil {
		err = s.postStart(c, p)
	}
	if err != nil {
		p.kill()
	}
	code := s.supervise(p, std)
	if err != nil {
		code = 1
	}
	if after, e := s.group.OOMKills(); e == nil && after > before && err == nil {
		err = fmt.Errorf("%s ran out of memory: the kernel killed %d of its processes (cgroup.memory-max)", s.unit.Name, after-before)
		code = max(code, 1)
	}
	return code, errors.Join(err, s.clear())
}

// clear kills all that is left in the group.
func (s *session) clear() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
	defer cancel()
	return empty(ctx, s.group)
}

// supervise sends signals on until the program ends, and gives its exit code.
func (s *session) supervise(p *process, std *stdio) int {
	var deadline <-chan time.Time
	for {
		select {
		case <-p.exited:
			return p.code()
		case <-deadline:
			p.kill()
		case sig := <-s.signals:
			switch sig {
			case unix.SIGPIPE: // of our own output: its copying ends by the error
			case unix.SIGWINCH:
				std.resize(s.o)
			case unix.SIGTERM:
				if t := time.Duration(s.unit.Stop.Timeout); t > 0 && deadline == nil {
					deadline = time.After(t)
				}
				p.signal(unix.SIGTERM)
			default:
				p.signal(sig.(syscall.Signal))
			}
		}
	}
}

// postStart runs the post-start commands inside the program's container.
func (s *session) postStart(c *container.Container, p *process) error {
	for i, command := range s.unit.Service.PostStart {
		prog, err := isolate.CompileExec(container.Exec(c, isolate.Process{Args: command}))
		if err == nil {
			err = s.hook(prog, p)
		}
		if err == nil {
			continue
		}
		select {
		case <-p.exited: // its container ended with it: no fault of the command's
			return nil
		case <-time.After(endGrace):
			return fmt.Errorf("post-start command %d (%s): %w", i+1, command[0], err)
		}
	}
	return nil
}

// endGrace is how long after a failure of a post-start command the end of the
// program, which may be its cause, is waited for: an init ends last.
const endGrace = time.Second

// fresh runs a post-stop command in a new container of the unit.
func (s *session) fresh(command units.Command) error {
	c, err := s.build()
	if err != nil {
		return err
	}
	// The group is made anew: since kernel 6.14 a group that cgroup.kill was used
	// on kills whatever is born in it by CLONE_INTO_CGROUP from elsewhere.
	if err := s.group.Remove(); err != nil {
		return err
	}
	if err := s.group.Create(c.Limits); err != nil {
		return err
	}
	c.Spec.Process.Args, c.Spec.Process.Terminal, c.Spec.PreStart, c.Spec.Init = command, false, nil, false
	prog, err := isolate.Compile(c.Spec)
	if err != nil {
		return err
	}
	return errors.Join(s.hook(prog, nil), s.clear())
}

// hookTimeout bounds one command of a hook, as in the supervisor.
const hookTimeout = 90 * time.Second

// hook runs one command to its end; target is the process whose container it
// enters, and with which it ends. Signals that end a program end it too.
func (s *session) hook(prog *program.Program, target *process) error {
	std, err := pipes(s.o, false)
	if err != nil {
		return err
	}
	defer std.finish(nil)
	ended := (<-chan struct{})(nil)
	if target != nil {
		std.files.Processes = map[string]*os.File{isolate.TargetProcess: target.pidfd}
		ended = target.exited
	}
	p, err := s.spawn(prog, std)
	if err != nil {
		return err
	}
	deadline := time.After(hookTimeout)
	for {
		select {
		case <-p.exited:
			return p.failure()
		case <-deadline:
			err = fmt.Errorf("did not end within %s", hookTimeout)
		case <-ended:
			err = errors.New("the program has ended")
		case sig := <-s.signals:
			if !ends(sig) {
				continue
			}
			err = fmt.Errorf("given up by signal %d (%v)", sig, sig)
		}
		p.kill()
		<-p.exited
		p.code()
		return err
	}
}
