package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate"
	"berth/isolate/cgroup"
	"berth/isolate/cgroup/ocigroup"
	"berth/isolate/oci"
	"berth/isolate/program"
)

// CreateOptions says how a container is made.
type CreateOptions struct {
	Bundle        string // the bundle's directory; "" is the working directory
	ConsoleSocket string // takes the master of the process' terminal; "": none
	PIDFile       string // gets the pid of the process; "": none
	PIDFDSocket   string // takes a pidfd of the process; "": none
	NoPivot       bool
	NoNewKeyring  bool
	PreserveFDs   int // descriptors from 3 on that the process gets
}

// Create makes a container from a bundle. Its process waits, with everything
// done but the execution of its program, until Start; it is a child of this
// process and outlives it. After an error nothing is left of the container.
func (rt *Runtime) Create(id string, o CreateOptions) error {
	c, err := rt.begin(id, o, true, o.ConsoleSocket != "", noConsoleSocket)
	if err != nil {
		return err
	}
	defer c.close()
	err = c.create()
	if err == nil {
		err = c.complete()
	}
	if err != nil {
		return both(err, c.undo())
	}
	return nil
}

// both joins what went wrong with what went wrong in clearing up after it.
func both(err, undo error) error {
	if undo == nil {
		return err
	}
	return fmt.Errorf("%w; and then: %w", err, undo)
}

const noConsoleSocket = "cannot allocate tty if berth-oci will detach without setting console socket"

// creation is a container in the making.
type creation struct {
	rt     *Runtime
	id     string
	o      CreateOptions
	gated  bool // the process waits at a FIFO for another command; else for this one
	config []byte
	spec   specs.Spec
	filter *oci.Filter
	made   *oci.Container

	dir      *locked
	record   *Record
	group    *ocigroup.Group
	recorded *async[any]      // done when the record is written
	making   *async[any]      // done when the thread ahead has done its part of the groups
	groups   *ocigroup.Making // until they are made
	helped   async[any]       // done when this goroutine has
	handles  *cgroup.Handles  // what lets the process in
	pidFile  *pidFile
	pidfdTo  *os.File // where a pidfd of the process goes
	notifier *notifier
	console  *os.File // where the master of the terminal goes
	near     *os.File // where this process receives it, if it does
	relay    *relay   // then
	passed   []*os.File
	listener *listener
	ahead    *ahead
	state    *os.File // what hooks in the container read
	output   *os.File // what they write

	program  *program.Program
	prepared *isolate.Prepared
	child    *isolate.Child
	gate     *os.File // the child's end, with gated
	status   *os.File // our end of the pipe for its reports, and
	far      *os.File // the child's
	mounts   int      // see holdMounts; -1: not held
	reports  *isolate.StatusReader
	hooked   bool // hooks have run, so that those after the end run too
}

// begin reads the configuration, opens what callers have given, and claims the
// name. The caller closes the creation. console tells that somebody takes the
// master of a terminal; noConsole is what to say if one is wanted and nobody does.
func (rt *Runtime) begin(id string, o CreateOptions, gated, console bool, noConsole string) (c *creation, err error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	c = &creation{rt: rt, id: id, o: o, gated: gated, mounts: -1, ahead: newAhead()}
	defer func() {
		if err != nil {
			c.close()
			c = nil
		}
	}()
	if c.o.Bundle, err = bundleDir(o.Bundle); err != nil {
		return c, err
	}
	if c.config, c.filter, err = oci.DecodeConfig(filepath.Join(c.o.Bundle, configFile), &c.spec, rt.store.filters(), c.ahead.namespaces); err != nil {
		return c, err
	}
	switch tty := c.spec.Process != nil && c.spec.Process.Terminal; {
	case tty && !console:
		return c, errors.New(noConsole)
	case !tty && o.ConsoleSocket != "":
		return c, errors.New("cannot use console socket if berth-oci will not detach or allocate tty")
	}
	var env []string
	if c.passed, env, err = rt.passedFiles(o.PreserveFDs); err != nil {
		return c, err
	}
	if c.spec.Process != nil {
		c.spec.Process.Env = append(c.spec.Process.Env, env...)
	}
	notify := c.spec.Process != nil && notifySocket() != ""
	if notify {
		c.withNotify()
	}
	if err := c.translate(); err != nil {
		return c, err
	}
	if o.ConsoleSocket != "" {
		if c.console, err = dialConsole(o.ConsoleSocket); err != nil {
			return c, err
		}
	}
	if c.made.Listener != nil {
		if c.listener, err = newListener(c.made.Listener); err != nil {
			return c, err
		}
	}
	if c.pidfdTo, err = dialPIDFD(o.PIDFDSocket); err != nil {
		return c, err
	}
	if c.pidFile, err = newPIDFile(o.PIDFile); err != nil {
		return c, err
	}
	if c.dir, err = rt.store.claim(id); err == nil && notify {
		err = c.dir.makeNotifyDir()
	}
	return c, err
}

// bundleDir gives the absolute path of a bundle, which must be a directory.
func bundleDir(path string) (string, error) {
	dir, err := filepath.Abs(cmp.Or(path, "."))
	if err != nil {
		return "", fmt.Errorf("cannot use the bundle: %w", err)
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		return "", fmt.Errorf("cannot use the bundle %s: %w", dir, errno(err))
	}
	return dir, nil
}

// errno strips what the os package says about an error.
func errno(err error) error {
	if e, ok := errors.AsType[unix.Errno](err); ok {
		return e
	}
	return err
}

func (c *creation) translate() error {
	host, err := oci.ThisHost()
	if err != nil {
		return err
	}
	c.made, err = oci.Translate(&c.spec, oci.Options{
		Bundle: c.o.Bundle, ID: c.id,
		NoPivot: c.o.NoPivot, NoNewKeyring: c.o.NoNewKeyring, Rootless: os.Geteuid() != 0,
		NoProcess: c.gated, PreserveFDs: len(c.passed), Console: c.spec.Process != nil && c.spec.Process.Terminal, Host: host,
		Filter: c.filter,
	})
	if err != nil {
		return err
	}
	for _, w := range c.made.Warnings {
		c.rt.warn(w)
	}
	return nil
}

// create makes the container up to its process standing at the gate.
func (c *creation) create() error {
	if err := c.fork(func() error { return nil }); err != nil {
		return err
	}
	if err := c.setUp(); err != nil {
		return err
	}
	return c.reachGate()
}

// fork prepares everything and forks the process. meanwhile is done while its
// groups are made, and in any case before it comes past the gate.
func (c *creation) fork(meanwhile func() error) error {
	if err := c.register(); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	forking := doAhead(c.ahead, c.forkWhenReady)
	if c.groups != nil {
		_, c.helped.err = c.makeGroups() // as the thread ahead does
	}
	c.helped.done.set(1)
	other := meanwhile()
	var err error
	c.child, err = forking.wait()
	c.far.Close() // else its end would not be seen
	if errors.Is(err, isolate.ErrSetupEnded) {
		if failed := c.reports.Until(isolate.AtGate, time.Now().Add(isolate.DefaultStartTimeout)); failed != nil {
			err = c.startFailure(failed)
		}
	}
	if err == nil {
		err = other
	}
	return err
}

// setUp does what is this process' part while the other one sets itself up.
func (c *creation) setUp() error {
	if err := c.note(); err != nil {
		return err
	}
	return c.runtimeHooks()
}

// complete writes down that the container is made.
func (c *creation) complete() error {
	c.record.Creator = nil
	if c.gated {
		c.record.Gate, c.record.Steps = true, stepsFrom(gateStep(c.program), c.program)
		if c.spec.Process != nil {
			c.record.Args = c.made.Spec.Process.Args
		}
	}
	if err := c.dir.write(c.record); err != nil {
		return err
	}
	if err := sendPIDFD(c.pidfdTo, c.child.PIDFD); err != nil {
		return err
	}
	return c.pidFile.write(c.child.PID)
}
