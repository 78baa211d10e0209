package runtime

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate"
	"berth/isolate/cgroup/ocigroup"
)

// register puts together what is going to be made, and has it written down and the
// groups made by the thread ahead: when prepare is done, this one joins in.
func (c *creation) register() (err error) {
	if c.group, err = c.findGroup(); err != nil {
		return err
	}
	c.record = &Record{
		Version: c.spec.Version, ID: c.id, Bundle: c.o.Bundle, Rootfs: c.made.Spec.RootFS.Path,
		Created: time.Now().UTC(), Owner: os.Geteuid(), Annotations: c.spec.Annotations,
		SharedPID: c.made.Spec.Namespaces.PID.Mode != isolate.NSNew,
		Groups:    c.group.Paths(), Poststart: c.made.Poststart, Poststop: c.made.Poststop,
	}
	// Before anything is made: whoever finds it half made can clear it away.
	c.recorded = doAhead(c.ahead, func() (any, error) {
		creator, err := self()
		if err != nil {
			return nil, err
		}
		c.record.Creator = &creator
		return nil, c.dir.write(c.record)
	})
	c.groups = c.group.Begin(c.made.Resources)
	c.making = doAhead(c.ahead, c.makeGroups)
	return nil
}

// makeGroups makes the groups together with others who call it. The error is that
// of what comes before.
func (c *creation) makeGroups() (any, error) {
	_, err := c.recorded.wait()
	if err == nil {
		c.groups.Work()
	}
	return nil, err
}

// findGroup finds where the control groups are to be.
func (c *creation) findGroup() (*ocigroup.Group, error) {
	path := ""
	if c.spec.Linux != nil {
		path = c.spec.Linux.CgroupsPath
	}
	return ocigroup.New(ocigroup.Options{Path: path, ID: c.id, Rootless: c.rt.rootless})
}

// finishGroups sets the limits of the control groups when all are made.
func (c *creation) finishGroups() (err error) {
	groups := c.groups
	c.groups = nil
	if c.handles, err = groups.Done(); err != nil {
		return err
	}
	// v1 groups are not handed over: there one could raise one's own limits.
	if owner, is := groupOwner(&c.spec); is && !c.rt.rootless && c.group.Unified() && len(c.group.Legacy()) == 0 {
		return c.group.Chown(owner, -1)
	}
	return nil
}

// prepare does all that is done outside of the container, and makes its groups meanwhile.
func (c *creation) prepare() (err error) {
	spec := c.made.Spec
	if c.rt.rootless {
		// Whether there are groups is seen only when they are made.
		if _, err := c.making.wait(); err != nil {
			return err
		}
		if err := c.finishGroups(); err != nil {
			return err
		}
		if c.group.None() {
			c.record.Groups = nil
			if c.record.SharedPID {
				c.rt.warn("the container has neither a PID namespace nor control groups of its own: nobody can tell all of its processes. Such configuration is strongly discouraged")
			}
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
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Extra: c.passed, GroupsLater: true,
		Console: c.console, Listener: c.listener.far(),
	}
	c.group.Mounts(func(unified bool, dir string, options []string) {
		files.CgroupMounts = append(files.CgroupMounts, isolate.CgroupMount{Unified: unified, Dir: dir, Options: options})
	})
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
	files.Status, c.far = status, status
	c.reports = isolate.NewStatusReader(c.status, c.program)
	if c.containerHooks() {
		if c.state, err = stateMemory(c.record.hookState(Created, 1)); err != nil {
			return err
		}
		if c.output, err = memory(outputName, nil); err != nil {
			return err
		}
		files.HookState, files.HookOutput = c.state, c.output
	}
	c.prepared, err = isolate.Prepare(c.program, files)
	return err
}

// forkWhenReady forks the process, which inherits the namespaces made, as soon as
// its groups are there.
func (c *creation) forkWhenReady() (*isolate.Child, error) {
	if _, err := c.helped.wait(); err != nil {
		return nil, err
	}
	if c.groups != nil {
		if err := c.finishGroups(); err != nil {
			return nil, err
		}
	}
	if err := c.prepared.Enter(c.handles.Dir, c.handles.Procs); err != nil {
		return nil, err
	}
	return c.prepared.ForkIn(c.ahead.made)
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
