package cgroup

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// removeDeadline is how long Remove retries while the kernel still takes the
// last exited processes out of a group.
const removeDeadline = 2 * time.Second

// Remove removes the group in every hierarchy, with all groups that the
// container nested in it. It does not kill: a group that still has processes is
// an error that names them, after up to 2 s of retries. A group that does not
// exist is no error.
func (g *Group) Remove() error {
	deadline := time.Now().Add(removeDeadline)
	var failed error
	for _, h := range g.tree.hierarchies {
		// What the kernel takes apart at the same time it may wait for on this
		// processor: a mount namespace for a thread that tells when all have been idle.
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		if err := g.removeFrom(h, deadline); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	if failed == nil {
		return nil
	}
	if pids, err := g.Pids(); err == nil && len(pids) > 0 {
		return fmt.Errorf("cannot remove the control group %s: it still has the processes %s: %w", g.name, joinInts(pids, 5), failed)
	}
	return fmt.Errorf("cannot remove the control group %s: %w", g.name, failed)
}

func (g *Group) removeFrom(h *hierarchy, deadline time.Time) error {
	again := time.Millisecond
	for {
		budget := maxNested
		err := removeTree(h.slice, g.name, maxDepth, &budget)
		if err == nil || isGone(err) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(again)
		again = min(2*again, 50*time.Millisecond)
	}
}

// removeTree removes a group and first, if it has any, those nested in it.
func removeTree(parent *dirFD, name string, depth int, budget *int) error {
	err := rmdirAt(parent, name)
	if err == nil || !errors.Is(err, unix.EBUSY) {
		return err
	}
	if *budget--; depth == 0 || *budget < 0 {
		return errTooManyGroups
	}
	dir, e := openDirAt(parent, name)
	if e != nil {
		return e
	}
	defer dir.Close()
	names, e := subdirs(dir)
	if e != nil {
		return e
	}
	if len(names) == 0 {
		return err
	}
	for _, sub := range names {
		if e := removeTree(dir, sub, depth-1, budget); e != nil && !isGone(e) {
			return e
		}
	}
	return rmdirAt(parent, name)
}
