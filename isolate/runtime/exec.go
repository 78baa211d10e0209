package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"berth/isolate"
	"berth/isolate/cgroup"
	"berth/isolate/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ExecOptions says how a further process is started in a container.
type ExecOptions struct {
	// Process changes a copy of the container's own process to what is wanted.
	Process func(p *specs.Process) error

	ConsoleSocket string // takes the master of the process' terminal; "": none
	PIDFile       string // gets the pid of the process; "": none
	PIDFDSocket   string // takes a pidfd of the process; "": none
	Detach        bool   // come back when the program has been started
	PreserveFDs   int
	IgnorePaused  bool     // start it in a paused container too: it goes on with that
	Cgroups       []string // groups inside the container's, as "[controllers:]path"
}

// execution is a further process in the making.
type execution struct {
	rt     *Runtime
	o      ExecOptions
	record *Record
	target *os.File // pidfd of the container's first process

	spec    *isolate.ExecSpec
	handles *cgroup.Handles
	pidFile *pidFile
	pidfdTo *os.File
	console *os.File
	near    *os.File
	relay   *relay
	front   *foreground // nil: detached
	passed  []*os.File

	listener *listener
	process  *specs.Process

	status   *os.File
	prepared *isolate.Prepared
	child    *isolate.Child
}

// Exec starts a further process in a container that runs or was created. Detached
// it then comes back with 0; else it passes signals and the terminal on, waits
// for the process and gives its exit code.
func (rt *Runtime) Exec(id string, o ExecOptions) (int, error) {
	x := &execution{rt: rt, o: o}
	defer x.close()
	if err := x.find(id); err != nil {
		return 0, err
	}
	if err := x.translate(); err != nil {
		return 0, err
	}
	if err := x.start(); err != nil {
		x.relay.finish()
		return 0, both(err, x.undo())
	}
	if o.Detach {
		return 0, nil
	}
	defer x.relay.finish()
	return x.front.wait(x.child.PID, x.child.PIDFD, x.relay)
}

// find looks the container up.
func (x *execution) find(id string) (err error) {
	if x.record, err = x.rt.store.read(id); err != nil {
		return err
	}
	status, pidfd, err := x.rt.status(x.record)
	if err != nil {
		return err
	}
	if pidfd >= 0 {
		x.target = os.NewFile(uintptr(pidfd), "container")
	}
	switch {
	case status == Stopped:
		return errors.New("cannot exec in a stopped container")
	case status == Creating:
		return errors.New("cannot exec in a container that is being created")
	case status == Paused && !x.o.IgnorePaused:
		return errors.New("cannot exec in a paused container (use --ignore-paused to override)")
	}
	return nil
}

// translate puts the process together, from what the container's configuration
// was when it was made, and opens what callers have given.
func (x *execution) translate() error {
	var config specs.Spec
	_, filter, err := oci.DecodeConfig(x.rt.store.dir(x.record.ID)+"/"+configFile, &config, x.rt.store.filters(), nil)
	if err != nil {
		return err
	}
	var p specs.Process
	if config.Process != nil {
		p = *config.Process
	}
	p.Args, p.Terminal = nil, false
	if err := x.o.Process(&p); err != nil {
		return err
	}
	if len(p.Args) == 0 {
		return errors.New("process args cannot be empty")
	}
	switch {
	case p.Terminal && x.o.Detach && x.o.ConsoleSocket == "":
		return errors.New(noConsoleSocket)
	case x.o.ConsoleSocket != "" && !(p.Terminal && x.o.Detach):
		return errors.New("cannot use console socket if berth-oci will not detach or allocate tty")
	}
	x.process = &p
	var env []string
	if x.passed, env, err = x.rt.passedFiles(x.o.PreserveFDs); err != nil {
		return err
	}
	p.Env = append(p.Env[:len(p.Env):len(p.Env)], env...)
	host, err := oci.ThisHost()
	if err != nil {
		return err
	}
	x.spec, err = oci.TranslateExec(&config, &p, oci.Options{
		Bundle: x.record.Bundle, ID: x.record.ID, Rootless: os.Geteuid() != 0,
		PreserveFDs: len(x.passed), Console: p.Terminal, Host: host,
		Filter: filter,
	})
	if err != nil {
		return err
	}
	if x.spec.Process.SeccompListener {
		to := oci.Listener{Path: config.Linux.Seccomp.ListenerPath, Metadata: config.Linux.Seccomp.ListenerMetadata}
		if !filepath.IsAbs(to.Path) {
			to.Path = filepath.Join(x.record.Bundle, to.Path)
		}
		if x.listener, err = newListener(&to); err != nil {
			return err
		}
	}
	switch {
	case x.o.ConsoleSocket != "":
		x.console, err = dialConsole(x.o.ConsoleSocket)
	case p.Terminal:
		x.near, x.console, err = socketPair("terminal")
	}
	if err != nil {
		return err
	}
	if x.pidfdTo, err = dialPIDFD(x.o.PIDFDSocket); err != nil {
		return err
	}
	x.pidFile, err = newPIDFile(x.o.PIDFile)
	return err
}

// start starts the process and waits until it has executed its program.
func (x *execution) start() error {
	group, err := x.record.group()
	if err != nil {
		return err
	}
	defer group.Close()
	if x.handles, err = group.OpenExec(x.o.Cgroups, x.record.Process.PID); err != nil {
		return err
	}
	x.spec.Cgroup = isolate.Cgroup{Unified: group.Unified(), Legacy: group.Legacy()}
	program, err := isolate.CompileExec(x.spec)
	if err != nil {
		return err
	}
	ours, status, err := statusPipe()
	if err != nil {
		return err
	}
	x.status = ours
	defer status.Close()
	x.prepared, err = isolate.Prepare(program, isolate.Files{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Extra: x.passed,
		CgroupDir: x.handles.Dir, CgroupProcs: x.handles.Procs, Console: x.console, Status: status, Listener: x.listener.far(),
		Processes: map[string]*os.File{isolate.TargetProcess: x.target},
	})
	if err != nil {
		return err
	}
	var deadline time.Time // none: a paused container's process starts when it is resumed
	if !x.o.IgnorePaused {
		deadline = time.Now().Add(isolate.DefaultStartTimeout)
	}
	x.child, err = x.prepared.ForkUntil(deadline)
	status.Close()
	reports := isolate.NewStatusReader(x.status, program)
	if errors.Is(err, isolate.ErrSetupEnded) {
		err = reports.Until(isolate.AtProgram, time.Now().Add(isolate.DefaultStartTimeout))
		return fmt.Errorf("unable to start container process: %w", x.wanted().failure(err))
	}
	if err != nil {
		return err
	}
	if !x.o.Detach {
		if x.front, err = newForeground(false); err != nil {
			return err
		}
	}
	filter, missing := x.listener.receive(deadline)
	if err := x.listener.hand(filter, x.child.PID, x.record.hookState(Running, x.record.Process.PID)); err != nil {
		return err
	}
	if x.near != nil && missing == nil { // the program is to find its terminal with the size that it has
		if err = reports.Until(isolate.AtGate, deadline); err == nil {
			x.relay, err = receiveRelay(x.near)
		}
	}
	if err == nil && missing == nil {
		err = x.prepared.Proceed()
	}
	if err == nil {
		err = reports.Until(isolate.AtProgram, deadline)
	}
	if err != nil {
		return fmt.Errorf("unable to start container process: %w", x.wanted().failure(err))
	}
	if err := sendPIDFD(x.pidfdTo, x.child.PIDFD); err != nil {
		return err
	}
	return x.pidFile.write(x.child.PID)
}

// wanted is the program, in the root of the container's first process.
func (x *execution) wanted() wanted {
	return wanted{root: fmt.Sprintf("/proc/%d/root", x.record.Process.PID), process: x.process}
}

// undo ends the process, if there is one.
func (x *execution) undo() error {
	if x.child == nil {
		return nil
	}
	_ = x.child.Kill()
	_, err := x.child.Wait()
	return err
}

func (x *execution) close() {
	for _, f := range append(x.passed, x.target, x.pidfdTo, x.console, x.near, x.status) {
		if f != nil {
			f.Close()
		}
	}
	x.pidFile.close()
	x.listener.close()
	if x.prepared != nil {
		x.prepared.Close()
	}
	if x.handles != nil {
		x.handles.Close()
	}
}
