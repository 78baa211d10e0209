package runtime

import (
	"context"
	"fmt"
	"time"

	"berth/isolate/cgroup/ocigroup"
)

// freezeWait is how long processes may take until all of them are stopped.
const freezeWait = 10 * time.Second

// Pause stops all processes of a container where they are, until Resume.
// ErrNotRunning if it neither runs nor was created.
func (rt *Runtime) Pause(id string) error {
	return rt.change(id, func(r *Record, status Status, g *ocigroup.Group) error {
		if status != Running && status != Created {
			return ErrNotRunning
		}
		ctx, cancel := context.WithTimeout(context.Background(), freezeWait)
		defer cancel()
		if err := g.Freeze(ctx); err != nil {
			return fmt.Errorf("cannot pause container %s: %w", id, err)
		}
		return nil
	})
}

// Resume lets the processes of a paused container go on. ErrNotPaused if it is not.
func (rt *Runtime) Resume(id string) error {
	return rt.change(id, func(r *Record, status Status, g *ocigroup.Group) error {
		if status != Paused {
			return ErrNotPaused
		}
		if err := g.Thaw(); err != nil {
			return fmt.Errorf("cannot resume container %s: %w", id, err)
		}
		return nil
	})
}

// change does something to a container's groups under its lock.
func (rt *Runtime) change(id string, do func(*Record, Status, *ocigroup.Group) error) error {
	if err := CheckID(id); err != nil {
		return ErrNotExist
	}
	l, err := rt.store.lock(id, lockWait)
	if err != nil {
		return err
	}
	defer l.unlock()
	r, status, pidfd, err := rt.look(id)
	if err != nil {
		return err
	}
	closeFD(pidfd)
	return rt.withGroup(r, func(g *ocigroup.Group) error { return do(r, status, g) })
}

// Processes gives the pids of a container's processes, as this process sees them.
func (rt *Runtime) Processes(id string) ([]int, error) {
	r, err := rt.store.read(id)
	if err != nil {
		return nil, err
	}
	var pids []int
	err = rt.withGroup(r, func(g *ocigroup.Group) error {
		if g.None() {
			return fmt.Errorf("cannot list the processes of container %s: it has no control group", id)
		}
		pids, err = g.Pids()
		return err
	})
	return pids, err
}
