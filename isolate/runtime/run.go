package runtime

import (
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
	if o.Detach {
		return 0, rt.runDetached(id, o)
	}
	front, err := newForeground(!o.NoSubreaper)
	if err != nil {
		return 0, err
	}
	defer front.close()
	c, err := rt.begin(id, o.CreateOptions, false, true, "")
	if err != nil {
		return 0, err
	}
	defer c.close()
	if err := c.keepTerminal(); err != nil {
		return 0, both(err, c.undo())
	}
	if err := c.run(); err != nil {
		return 0, both(err, c.undo())
	}
	var r *relay
	if c.near != nil {
		if r, err = c.relay(); err != nil {
			return 0, both(err, c.undo())
		}
	}
	c.dir.unlock()
	code, err := front.wait(c.child.PID, c.child.PIDFD, r)
	if r != nil {
		r.finish()
	}
	if err != nil || o.Keep {
		return code, err
	}
	err = rt.Delete(id, true)
	if err == ErrNotExist {
		err = nil // somebody was faster
	}
	return code, err
}

func (rt *Runtime) runDetached(id string, o RunOptions) error {
	c, err := rt.begin(id, o.CreateOptions, false, o.ConsoleSocket != "", noConsoleSocket)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.run(); err != nil {
		return both(err, c.undo())
	}
	return nil
}

// keepTerminal has the master of the container's terminal sent to this process.
func (c *creation) keepTerminal() (err error) {
	if c.made.Spec.Process.Console && c.console == nil {
		c.near, c.console, err = socketPair("terminal")
	}
	return err
}

// relay joins our terminal with the container's.
func (c *creation) relay() (*relay, error) {
	master, err := receiveDescriptor(c.near)
	if err != nil {
		return nil, err
	}
	return startRelay(master)
}

// run makes the container and starts its program.
func (c *creation) run() error {
	if err := c.create(); err != nil {
		return err
	}
	if err := c.prepared.Proceed(); err != nil {
		return err
	}
	if err := c.reports.Until(isolate.AtProgram, time.Time{}); err != nil {
		return c.startFailure(err)
	}
	return runHooks("poststart", c.made.Poststart, c.record.hookState(Running, c.child.PID))
}
