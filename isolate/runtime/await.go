package runtime

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"berth/isolate"
	"berth/isolate/netdevice"
	"berth/isolate/rawfile"
)

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
	if err := rawfile.Write(c.dir.file(configFile), c.config, 0o600); err != nil {
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
	if err := c.moveDevices(); err != nil {
		return err
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

// moveDevices moves the network devices of the configuration to the child.
func (c *creation) moveDevices() error {
	if len(c.made.NetDevices) == 0 {
		return nil
	}
	namespace, err := os.Open("/proc/" + strconv.Itoa(c.child.PID) + "/ns/net") // not reaped: it is the child's
	if err != nil {
		return fmt.Errorf("cannot open the container's network namespace: %w", err)
	}
	defer namespace.Close()
	return netdevice.Move(int(namespace.Fd()), c.made.NetDevices)
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
	err = withOutput(wanted{c.record.Rootfs, c.spec.Process, true}.failure(err), c.output)
	return fmt.Errorf("unable to start container process: %w", err)
}
