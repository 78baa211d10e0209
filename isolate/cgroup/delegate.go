package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// unifiedControllers are the v2 controllers that are switched on where they are
// to be had.
var unifiedControllers = []string{"cpu", "cpuset", "io", "memory", "pids", "hugetlb"}

// takeUnified makes the sub-tree in the v2 hierarchy and hands the controllers
// down to it; Open tells the rules.
func (t *Tree) takeUnified(h *hierarchy) error {
	lacking, err := t.lackingControllers(h.base)
	if err != nil {
		return err
	}
	if h.postponed = postpone(h.base, lacking); h.postponed {
		lacking = slices.DeleteFunc(lacking, func(c string) bool { return c == hugetlb })
	}
	inLeaf := false
	if len(lacking) > 0 && h.isOwn && existsAt(h.base, "cgroup.type") && h.path != "/" {
		others, err := t.otherProcesses(h.base)
		if err != nil {
			return err
		}
		if len(others) > 0 {
			inLeaf = h.rebaseToRoot()
		}
	}
	if err := h.makeSlice(t.sliceName); err != nil {
		return err
	}
	if lacking, err = t.lackingControllers(h.base); err != nil {
		return err
	}
	if h.postponed {
		lacking = slices.DeleteFunc(lacking, func(c string) bool { return c == hugetlb })
		h.controllers = append(h.controllers, hugetlb)
	}
	atRoot := !existsAt(h.base, "cgroup.type")
	if inLeaf || len(lacking) > 0 && h.isOwn && !atRoot {
		if err := t.moveToLeaf(h, h.path == "/" && !atRoot); err != nil {
			return err
		}
	}
	for _, c := range lacking {
		if err := writeAt(h.base, "cgroup.subtree_control", "+"+c); err != nil {
			t.missing[c] = t.explainDelegation(h, err)
		}
	}
	available, err := controllersAt(h.slice, "cgroup.controllers")
	if err != nil {
		return err
	}
	for _, c := range unifiedControllers {
		if c == hugetlb && h.postponed {
			continue
		}
		if !slices.Contains(available, c) {
			if _, told := t.missing[c]; !told {
				t.missing[c] = fmt.Sprintf("the kernel or the parent group does not provide the %s controller at %s", c, h.base.Name())
			}
			continue
		}
		if err := writeAt(h.slice, "cgroup.subtree_control", "+"+c); err != nil {
			t.missing[c] = err.Error()
			continue
		}
		delete(t.missing, c)
		h.controllers = append(h.controllers, c)
	}
	return nil
}

const hugetlb = "hugetlb"

// postpone tells whether hugetlb is switched on only when a limit asks for it:
// beside v1 hierarchies, at the root, where it can be at any time. While it is on
// nobody can mount it on v1, where others may want it.
func postpone(base *dirFD, lacking []string) bool {
	available, err := controllersAt(base, "cgroup.controllers")
	return err == nil && slices.Contains(lacking, hugetlb) && !slices.Contains(available, "memory") && !existsAt(base, "cgroup.type")
}

// switchOn does what takeUnified has postponed.
func (t *Tree) switchOn(h *hierarchy) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !h.postponed {
		return nil
	}
	for _, dir := range []*dirFD{h.base, h.slice} {
		if err := writeAt(dir, "cgroup.subtree_control", "+"+hugetlb); err != nil {
			return err
		}
	}
	h.postponed = false
	return nil
}

// lackingControllers are those that the group has and does not hand down yet.
func (t *Tree) lackingControllers(group *dirFD) ([]string, error) {
	available, err := controllersAt(group, "cgroup.controllers")
	if err != nil {
		return nil, err
	}
	enabled, err := controllersAt(group, "cgroup.subtree_control")
	if err != nil {
		return nil, err
	}
	var lacking []string
	for _, c := range unifiedControllers {
		if slices.Contains(available, c) && !slices.Contains(enabled, c) {
			lacking = append(lacking, c)
		}
	}
	return lacking, nil
}

func controllersAt(group *dirFD, file string) ([]string, error) {
	text, err := readAt(group, file)
	return strings.Fields(text), err
}

// rebaseToRoot moves the base to the root of the hierarchy, where it is
// mounted whole, and tells whether it could.
func (h *hierarchy) rebaseToRoot() bool {
	root, err := openCgroupDir(h.mount, true)
	if err != nil {
		return false
	}
	if existsAt(root, "cgroup.type") { // not the root, but of a part of the tree
		root.Close()
		return false
	}
	h.base.Close()
	h.base, h.path = root, "/"
	return true
}

// otherProcesses are those directly in the group that are not the daemon's; 0
// stands for one of another PID namespace.
func (t *Tree) otherProcesses(group *dirFD) ([]int, error) {
	pids, err := pidsAt(group)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(pids, func(pid int) bool { return slices.Contains(t.members, pid) }), nil
}

// moveToLeaf moves the daemon's processes, or all that the base has, into the
// leaf below the slice.
func (t *Tree) moveToLeaf(h *hierarchy, all bool) error {
	if err := mkdirAt(h.slice, leafName); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	leaf, err := openDirAt(h.slice, leafName)
	if err != nil {
		return err
	}
	defer leaf.Close()
	move := t.members
	// New processes may come while the old ones move.
	for range 10 {
		if all {
			if move, err = pidsAt(h.base); err != nil {
				return err
			}
			if len(move) == 0 {
				break
			}
		}
		for _, pid := range move {
			if err := movePID(leaf, pid); err != nil {
				return err
			}
		}
		if !all {
			break
		}
	}
	return nil
}

// movePID moves one process; one that has ended meanwhile is no error.
func movePID(group *dirFD, pid int) error {
	if pid <= 0 {
		return nil
	}
	err := writeAt(group, "cgroup.procs", strconv.Itoa(pid))
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// explainDelegation says why a controller could not be handed down, and what
// to do about it.
func (t *Tree) explainDelegation(h *hierarchy, err error) string {
	if errors.Is(err, unix.EBUSY) {
		if others, e := t.otherProcesses(h.base); e == nil && len(others) > 0 {
			return fmt.Sprintf("other processes (%s) are in %s; start berthd as a service of its own with Delegate=yes", joinInts(others, 5), h.base.Name())
		}
	}
	return err.Error()
}

func joinInts(numbers []int, most int) string {
	var words []string
	for i, n := range numbers {
		if i == most {
			words = append(words, "…")
			break
		}
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, ", ")
}

// Remove removes the sub-tree at the end of the daemon, when all groups of
// containers are gone, and moves the daemon's processes out of the leaf to the
// base if Open had moved them there. Controllers stay switched on at a
// hierarchy's root. The tree can only be closed afterwards.
func (t *Tree) Remove() error {
	names, err := t.List()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("cannot remove the control groups below %s: %s still exists", t.sliceName, strings.Join(names, ", "))
	}
	var failed error
	for _, h := range t.hierarchies {
		if h.unified && existsAt(h.slice, leafName) {
			if err := t.leaveLeaf(h); err != nil {
				failed = errors.Join(failed, err)
				continue
			}
		}
		if err := rmdirAt(h.base, t.sliceName); err != nil && !isGone(err) {
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		return fmt.Errorf("cannot remove the control groups below %s: %w", t.sliceName, failed)
	}
	return nil
}

// leaveLeaf undoes moveToLeaf: a group with controllers handed down takes no
// process, so they are switched off first, except at the root, which may.
func (t *Tree) leaveLeaf(h *hierarchy) error {
	for _, c := range h.controllers {
		if err := writeAt(h.slice, "cgroup.subtree_control", "-"+c); err != nil {
			return err
		}
	}
	if existsAt(h.base, "cgroup.type") {
		for _, c := range h.controllers {
			if err := writeAt(h.base, "cgroup.subtree_control", "-"+c); err != nil {
				return err
			}
		}
	}
	leaf, err := openDirAt(h.slice, leafName)
	if err != nil {
		return err
	}
	defer leaf.Close()
	pids, err := pidsAt(leaf)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := movePID(h.base, pid); err != nil {
			return err
		}
	}
	return rmdirAt(h.slice, leafName)
}
