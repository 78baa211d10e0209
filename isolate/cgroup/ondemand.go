package cgroup

import (
	"errors"
	"fmt"
	"slices"
)

// A v1 group without a limit of its own is as good as none, so a container
// enters the hierarchies of cpuset and hugetlb, and of cpu where v2 does the
// accounting, only when it starts with such a limit. When it gets its first one later, the group is made then and the
// container moved into it, which is slow, and rare.

// makeFor makes the group in those hierarchies on demand that the settings need
// and that it is not in yet. It gives what it made; on failure nothing.
func (g *Group) makeFor(settings []setting) (made []*hierarchy, err error) {
	for _, h := range g.tree.hierarchies {
		if !h.onDemand || !g.tree.need(h, settings) || existsAt(h.slice, g.name) {
			continue
		}
		if err := g.makeIn(h); err != nil {
			for _, h := range made {
				_ = rmdirAt(h.slice, g.name)
			}
			return nil, err
		}
		made = append(made, h)
	}
	return made, nil
}

// maxMoves bounds how often moveInto looks for processes that were forked
// outside while it moved their parents.
const maxMoves = 100

// moveInto moves all of the group's processes, with those of groups nested in
// it, into its group of a hierarchy that they are not in yet. What they fork
// afterwards is born there.
func (g *Group) moveInto(h *hierarchy) error {
	dir, err := g.dir(h)
	if err != nil {
		return err
	}
	defer dir.Close()
	for range maxMoves {
		pids, err := g.Pids()
		if err != nil {
			return err
		}
		inside, err := pidsAt(dir)
		if err != nil {
			return err
		}
		outside := slices.DeleteFunc(pids, func(pid int) bool { return slices.Contains(inside, pid) })
		if len(outside) == 0 {
			return nil
		}
		for _, pid := range outside {
			if err := movePID(dir, pid); err != nil {
				return fmt.Errorf("cannot move process %d of %s to %s: %w", pid, g.name, dir.Name(), causeOf(err))
			}
		}
	}
	return fmt.Errorf("cannot move the processes of %s to %s: they fork faster than they can be moved", g.name, dir.Name())
}

// leave undoes moveInto and makeIn: what is in the group goes to the one above,
// which has no limits.
func (g *Group) leave(h *hierarchy) error {
	dir, err := g.dir(h)
	if err != nil {
		return err
	}
	defer dir.Close()
	for range maxMoves {
		pids, err := pidsAt(dir)
		if err != nil || len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			err = errors.Join(err, movePID(h.slice, pid))
		}
		if err != nil {
			return fmt.Errorf("and cannot undo: %w", err)
		}
	}
	if err := rmdirAt(h.slice, g.name); err != nil {
		return fmt.Errorf("and cannot undo: %w", err)
	}
	return nil
}
