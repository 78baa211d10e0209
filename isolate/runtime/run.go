package runtime

import (
	"fmt"
	"time"

	"berth/isolate"
)

// RunOptions says how Run goes on after the start.
type RunOptions struct {
	CreateOptions
	Detach      bool // come back when the program has been started
	Keep        bool // do not delete the container when it has ended
	NoSubreaper bool // leave orphans of the container to others
}

// Run makes a container and starts it in one. Detached it then comes back with 0;
// else it passes signals on, and the terminal if there is one, waits for the end,
// deletes the container and gives its exit code, 128 and more for a signal.
func (rt *Runtime) Run(id string, o RunOptions) (int, error) {
	var front *foreground
	noConsole := noConsoleSocket
	if !o.Detach {
		front, noConsole = newForeground(!o.NoSubreaper), ""
	}
	c, err := rt.begin(id, o.CreateOptions, false, !o.Detach || o.ConsoleSocket != "", noConsole)
	if err != nil {
		return 0, err
	}
	defer c.close()
	if err = c.keepTerminal(); err == nil {
		err = c.run(front)
	}
	if err != nil {
		c.relay.finish()
		return 0, both(err, c.undo())
	}
	// From here on the container is everybody's: hooks may use it.
	c.dir.release()
	if err := rt.poststart(c.record); err != nil {
		c.relay.finish()
		return 0, both(err, rt.Delete(id, true))
	}
	if o.Detach {
		return 0, c.notifier.wait(c.child.PID, c.child.PIDFD)
	}
	told := c.notifier.begin(c.child.PID, c.child.PIDFD)
	code, err := front.wait(c.child.PID, c.child.PIDFD, c.relay)
	c.relay.finish()
	if err := <-told; err != nil {
		c.rt.warn(err.Error())
	}
	if err != nil || o.Keep {
		return code, err
	}
	return code, c.finish()
}

// finish deletes a container whose process has ended, unless somebody else has.
func (c *creation) finish() error {
	if err := c.dir.relock(lockWait); err != nil {
		if err == ErrNotExist {
			err = nil
		}
		return err
	}
	if c.record.SharedPID || c.group.Remove() != nil {
		if err := endGroup(c.group); err != nil {
			return fmt.Errorf("cannot delete container %s: %w", c.id, err)
		}
		if err := c.group.Remove(); err != nil {
			return fmt.Errorf("cannot delete container %s: %w", c.id, err)
		}
	}
	if err := c.dir.remove(); err != nil {
		return err
	}
	c.dir.unlock()
	c.rt.poststop(c.record)
	return nil
}

// keepTerminal has the master of the container's terminal sent to this process.
func (c *creation) keepTerminal() (err error) {
	if c.made.Spec.Process.Console && c.console == nil {
		c.near, c.console, err = socketPair("terminal")
	}
	return err
}

// run makes the container and has its program executed. front is nil for one that
// is detached.
func (c *creation) run(front *foreground) (err error) {
	if err := c.fork(); err != nil {
		return err
	}
	if err := front.ready(); err != nil {
		return err
	}
	if err := c.setUp(); err != nil {
		return err
	}
	if c.needsGate() {
		if err := c.reachGate(); err != nil {
			return err
		}
	}
	if c.near != nil { // the program is to find its terminal with the size that it has
		if c.relay, err = receiveRelay(c.near); err != nil {
			return err
		}
	}
	if c.notifier, err = c.dir.newNotifier(); err != nil {
		return err
	}
	deadline := time.Now().Add(isolate.DefaultStartTimeout)
	if err := c.prepared.Proceed(); err != nil {
		return err
	}
	// While it executes: until this is written it counts as being created.
	if err := c.complete(); err != nil {
		return err
	}
	if !c.needsGate() {
		c.reports.Settle(deadline)
		if err := c.reports.Until(isolate.AtGate, deadline); err != nil {
			return c.startFailure(err)
		}
	}
	// From the gate on it may take any time: hooks, and to read a program into memory.
	if err := c.reports.Until(isolate.AtProgram, time.Time{}); err != nil {
		return c.startFailure(err)
	}
	return nil
}

// needsGate tells whether something is done while the process stands at the
// gate. Else it may pass as soon as it comes there.
func (c *creation) needsGate() bool {
	return c.listener != nil || c.near != nil || c.containerHooks()
}
