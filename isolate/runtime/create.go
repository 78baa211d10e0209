package runtime

import (
	"cmp"
	"context"
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
	made   *oci.Container

	dir      *locked
	record   *Record
	found    *async[*ocigroup.Group] // where the groups are to be,
	group    *ocigroup.Group         // as it was found, and
	making   *async[*cgroup.Handles] // what lets the process in when they are made
	pidFile  *pidFile
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
	status   *os.File // our end
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
	c = &creation{rt: rt, id: id, o: o, gated: gated}
	defer func() {
		if err != nil {
			c.close()
			c = nil
		}
	}()
	if c.o.Bundle, err = bundleDir(o.Bundle); err != nil {
		return c, err
	}
	if c.config, err = oci.ReadFile(filepath.Join(c.o.Bundle, configFile)); err != nil {
		return c, err
	}
	if err := oci.Decode(c.config, &c.spec); err != nil {
		return c, fmt.Errorf("%s: %w", filepath.Join(c.o.Bundle, configFile), err)
	}
	c.ahead = newAhead(&c.spec)
	c.found = meanwhile(c.findGroup)
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
	if c.pidFile, err = newPIDFile(o.PIDFile); err != nil {
		return c, err
	}
	c.dir, err = rt.store.claim(id)
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
		PreserveFDs: len(c.passed), Console: c.spec.Process != nil && c.spec.Process.Terminal, Host: host,
		Filters: c.rt.store.filters(),
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
	if err := c.register(); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.note(); err != nil {
		return err
	}
	if err := c.runtimeHooks(); err != nil {
		return err
	}
	if err := c.reachGate(); err != nil {
		return err
	}
	return nil
}

// complete writes down that the container is made.
func (c *creation) complete() error {
	c.record.Creator = nil
	if c.gated {
		c.record.Gate, c.record.Steps = true, stepsFrom(gateStep(c.program), c.program)
		c.record.Args = c.made.Spec.Process.Args
	}
	if err := c.dir.write(c.record); err != nil {
		return err
	}
	return c.pidFile.write(c.child.PID)
}

// register puts together what is going to be made.
func (c *creation) register() (err error) {
	if c.group, err = c.found.wait(); err != nil {
		return err
	}
	creator, err := self()
	if err != nil {
		return err
	}
	c.record = &Record{
		Version: c.spec.Version, ID: c.id, Bundle: c.o.Bundle, Rootfs: c.made.Spec.RootFS.Path,
		Created: time.Now().UTC(), Owner: os.Geteuid(), Annotations: c.spec.Annotations,
		Creator: &creator, SharedPID: c.made.Spec.Namespaces.PID.Mode != isolate.NSNew,
		Groups: c.group.Paths(), Poststart: c.made.Poststart, Poststop: c.made.Poststop,
	}
	c.making = meanwhile(c.makeGroup)
	return nil
}

// findGroup finds where the control groups are to be.
func (c *creation) findGroup() (*ocigroup.Group, error) {
	path := ""
	if c.spec.Linux != nil {
		path = c.spec.Linux.CgroupsPath
	}
	return ocigroup.New(ocigroup.Options{Path: path, ID: c.id, Rootless: c.rt.rootless})
}

// makeGroup makes the control groups. The container is written down before:
// whoever finds it half made can clear it away.
func (c *creation) makeGroup() (*cgroup.Handles, error) {
	if err := c.dir.write(c.record); err != nil {
		return nil, err
	}
	if err := c.group.Create(c.made.Resources); err != nil {
		return nil, err
	}
	// v1 groups are not handed over: there one could raise one's own limits.
	if owner, is := groupOwner(&c.spec); is && !c.rt.rootless && c.group.Unified() && len(c.group.Legacy()) == 0 {
		if err := c.group.Chown(owner, -1); err != nil {
			return nil, err
		}
	}
	return c.group.Open()
}

// prepare does all that is done outside of the container, and makes its groups meanwhile.
func (c *creation) prepare() (err error) {
	spec := c.made.Spec
	if c.rt.rootless {
		// Whether there are groups is seen only when they are made.
		if _, err := c.making.wait(); err != nil {
			return err
		}
		if c.group.None() {
			c.record.Groups = nil
		}
	}
	spec.Cgroup = isolate.Cgroup{Unified: c.group.Unified(), Legacy: c.group.Legacy()}
	// A process at a FIFO waits for ever: it comes there only when it is written
	// down, and ends with this one before. And hooks are told the pid.
	spec.SyncRuntime = spec.SyncRuntime || c.gated || c.containerHooks() && c.record.SharedPID
	if c.program, err = isolate.Compile(spec); err != nil {
		return err
	}
	files := isolate.Files{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Extra: c.passed, Groups: c.enterGroup,
		Console: c.console, Listener: c.listener.far(),
	}
	var status *os.File
	if c.gated {
		if c.gate, err = c.dir.makeGate(); err != nil {
			return err
		}
		files.Gate = c.gate
		status, c.status, err = c.dir.makeStatus()
	} else {
		c.status, status, err = statusPipe()
	}
	if err != nil {
		return err
	}
	defer status.Close()
	files.Status = status
	c.reports = isolate.NewStatusReader(c.status, c.program)
	if c.containerHooks() {
		if c.state, err = stateMemory(c.record.hookState(Created, 1)); err != nil {
			return err
		}
		if c.output, err = memory("hook output", nil); err != nil {
			return err
		}
		files.HookState, files.HookOutput = c.state, c.output
	}
	if c.prepared, err = isolate.Prepare(c.program, files); err != nil {
		return err
	}
	c.child, err = c.ahead.fork(c.prepared)
	return err
}

// enterGroup gives what lets the process into its groups.
func (c *creation) enterGroup() (dir *os.File, procs map[string]*os.File, err error) {
	handles, err := c.making.wait()
	if err != nil {
		return nil, nil, err
	}
	return handles.Dir, handles.Procs, nil
}

func (c *creation) containerHooks() bool {
	return len(c.made.Spec.CreateContainer)+len(c.made.Spec.StartContainer) > 0
}

// statusPipe gives our and the child's end of a pipe for its reports.
func statusPipe() (ours, child *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("cannot make the status pipe: %w", err)
	}
	if err := unix.SetNonblock(p[0], true); err != nil {
		closeFD(p[0])
		closeFD(p[1])
		return nil, nil, fmt.Errorf("cannot make the status pipe: %w", err)
	}
	return os.NewFile(uintptr(p[0]), "status"), os.NewFile(uintptr(p[1]), "status"), nil
}

// note writes down who the child is, and for exec what the configuration was.
func (c *creation) note() error {
	process, err := identify(c.child.PID, c.child.PIDFD)
	if err != nil {
		return err
	}
	c.record.Process = &process
	// A process that waits for this one ends with it; only hooks ask for it before
	// it has executed its program.
	if c.made.Spec.SyncRuntime || c.containerHooks() {
		if err := c.dir.write(c.record); err != nil {
			return err
		}
	}
	if err := os.WriteFile(c.dir.file(configFile), c.config, 0o600); err != nil {
		return fmt.Errorf("cannot keep the configuration of container %q: %w", c.id, err)
	}
	return nil
}

// runtimeHooks runs the hooks of the runtime's namespaces while the child waits,
// and lets it go on.
func (c *creation) runtimeHooks() error {
	c.hooked = len(c.made.Prestart)+len(c.made.CreateRuntime)+len(c.made.Spec.CreateContainer) > 0
	if !c.made.Spec.SyncRuntime {
		return nil
	}
	if err := c.reports.Until(isolate.AtSync, time.Now().Add(isolate.DefaultStartTimeout)); err != nil {
		return c.startFailure(err)
	}
	// Step 2 of the specification's life cycle is done when hooks run: created.
	state := c.record.hookState(Created, c.child.PID)
	if err := runHooks("prestart", c.made.Prestart, state); err != nil {
		return err
	}
	if err := runHooks("createRuntime", c.made.CreateRuntime, state); err != nil {
		return err
	}
	if c.state != nil {
		if err := rewriteState(c.state, c.record.hookState(Created, c.insidePID())); err != nil {
			return err
		}
	}
	if err := c.prepared.Continue(); err != nil {
		return err
	}
	return c.takeOver()
}

// takeOver waits for the process that executes the program where the one that
// has waited only sets it up, and writes that down.
func (c *creation) takeOver() error {
	if !c.prepared.HandsOver() {
		return nil
	}
	deadline := time.Now().Add(isolate.DefaultStartTimeout)
	if len(c.made.Spec.CreateContainer) > 0 {
		deadline = time.Time{} // as at the gate
	}
	var err error
	c.child, err = c.prepared.TakeOver(c.child, deadline)
	if errors.Is(err, isolate.ErrSetupEnded) {
		if failed := c.reports.Until(isolate.AtGate, deadline); failed != nil {
			err = c.startFailure(failed)
		}
	}
	if err != nil {
		return err
	}
	return c.note()
}

// reachGate waits until the child stands at the gate, and then does what can
// only be done then.
func (c *creation) reachGate() error {
	deadline := time.Now().Add(isolate.DefaultStartTimeout)
	if len(c.made.Spec.CreateContainer) > 0 {
		deadline = time.Time{} // hooks have timeouts of their own, or want none
	}
	// The agent has the listener before the process is waited for: the process may
	// be waiting for the agent.
	filter, missing := c.listener.receive(deadline)
	if err := c.listener.hand(filter, c.child.PID, c.record.hookState(Creating, c.child.PID)); err != nil {
		return err
	}
	if err := c.reports.Until(isolate.AtGate, deadline); err != nil {
		return c.startFailure(err)
	}
	if missing != nil {
		return missing
	}
	if c.state == nil {
		return nil
	}
	return rewriteState(c.state, c.record.hookState(Created, c.insidePID()))
}

// insidePID is the pid of the child as the container sees it.
func (c *creation) insidePID() int {
	if !c.record.SharedPID {
		return 1
	}
	pid, err := namespacePID(c.child.PID)
	if err != nil {
		return 0 // it has ended, which the next report tells
	}
	return pid
}

// startFailure says that it was the start that failed, and what hooks had to say.
func (c *creation) startFailure(err error) error {
	err = fmt.Errorf("unable to start container process: %w", startFailure(err, c.made.Spec.Process.Args))
	if isHook(err) && c.output != nil {
		if text := tail(c.output); len(text) > 0 {
			err = fmt.Errorf("%w; its output: %s", err, text)
		}
	}
	return err
}

// undo ends and removes what was made.
func (c *creation) undo() error {
	if c.child != nil {
		_ = c.child.Kill()
	}
	if c.dir == nil {
		return nil
	}
	var failed error
	_, _ = c.making.wait()
	if c.group != nil {
		failed = endGroup(c.group)
	}
	if c.child != nil {
		_, err := c.child.Wait()
		failed = errors.Join(failed, err)
	}
	if c.group != nil {
		failed = errors.Join(failed, c.group.Remove())
	}
	if failed != nil {
		return failed // the record stays, for delete --force
	}
	if err := c.dir.remove(); err != nil {
		return err
	}
	if c.hooked {
		c.rt.poststop(c.record)
	}
	return nil
}

// endGroup kills all processes of a group, frozen or not, and waits until it is empty.
func endGroup(g *ocigroup.Group) error {
	if err := g.Kill(); err != nil {
		return err
	}
	if err := g.Thaw(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), killWait)
	defer cancel()
	return g.WaitEmpty(ctx)
}

// close releases what this process holds. The container's process goes on.
func (c *creation) close() {
	for _, f := range append(c.passed, c.console, c.near, c.gate, c.status, c.state, c.output) {
		if f != nil {
			f.Close()
		}
	}
	c.ahead.close()
	c.pidFile.close()
	c.listener.close()
	if c.prepared != nil {
		c.prepared.Close()
	}
	if handles, _ := c.making.wait(); handles != nil {
		handles.Close()
	}
	if group, _ := c.found.wait(); group != nil {
		group.Close()
	}
	if c.dir != nil {
		c.dir.unlock()
	}
}
