package runtime

import (
	"context"
	"errors"

	"berth/isolate/cgroup/ocigroup"
)

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
	if c.groups != nil {
		c.groups.Undo()
	}
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
	for _, f := range append(c.passed, c.pidfdTo, c.console, c.near, c.gate, c.status, c.far, c.state, c.output) {
		if f != nil {
			f.Close()
		}
	}
	closeFD(c.mounts)
	c.pidFile.close()
	c.notifier.close()
	c.listener.close()
	if c.prepared != nil {
		c.prepared.Close()
	}
	if c.handles != nil {
		c.handles.Close()
	}
	if c.group != nil {
		c.group.Close()
	}
	if c.dir != nil {
		c.dir.unlock()
	}
	c.ahead.close() // it wakes a thread, which now finds this one at its end
}
