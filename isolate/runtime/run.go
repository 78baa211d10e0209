package runtime

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

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
	noConsole := noConsoleSocket
	if !o.Detach {
		noConsole = ""
	}
	c, err := rt.begin(id, o.CreateOptions, false, !o.Detach || o.ConsoleSocket != "", noConsole)
	if err != nil {
		return 0, err
	}
	defer c.close()
	var front *foreground
	if err = c.keepTerminal(); err == nil {
		front, err = c.run(o)
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
	mounts := c.mounts
	c.mounts = -1
	released := doAhead(c.ahead, func() (any, error) {
		closeFD(mounts)
		return nil, nil
	})
	if err == nil && !o.Keep {
		err = c.finish(released)
	}
	return code, err
}

// holdMounts gives a descriptor of the mount namespace of a process, -1 where the
// kernel (before Linux 6.11) or its rules do not give one. Taking a mount namespace
// apart waits for all processors (synchronize_rcu_expedited in namespace_unlock,
// fs/namespace.c): with this it is not the ending process that waits, and whoever
// has the descriptor can do so while other things are cleared away. Of a process
// that comes into its mount namespace only later it is the one before, which does
// no harm.
func holdMounts(pidfd int) int {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), unix.PIDFD_GET_MNT_NAMESPACE, 0)
	if errno != 0 {
		return -1
	}
	return int(fd)
}

// finish deletes a container whose process has ended, unless somebody else has.
// Its mounts are gone when released is done.
func (c *creation) finish(released *async[any]) error {
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
	_, _ = released.wait()
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

// run makes the container and has its program executed. The result is nil for one
// that is detached.
func (c *creation) run(o RunOptions) (front *foreground, err error) {
	err = c.fork(func() (err error) {
		if !o.Detach {
			front, err = newForeground(!o.NoSubreaper)
		}
		return err
	})
	if err != nil {
		return front, err
	}
	if !o.Detach {
		c.mounts = holdMounts(c.child.PIDFD) // now: it may have ended soon
	}
	return front, c.proceed()
}

// proceed goes on when the process has been forked.
func (c *creation) proceed() (err error) {
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
	c.handles.Close() // now, and not when the process has ended: then others wait
	c.handles = nil
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
