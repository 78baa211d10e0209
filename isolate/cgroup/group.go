package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Group is a handle of the groups that one container has, one in each
// hierarchy. It holds nothing open, and needs no closing.
type Group struct {
	tree *Tree
	name string
}

// Name is the group's name: "web.service".
func (g *Group) Name() string { return g.name }

// Path is the group's path in the hierarchy that says which processes belong to
// it, as /proc/PID/cgroup shows it.
func (g *Group) Path() string {
	if g.tree.None() {
		return ""
	}
	return path.Join(g.tree.lifecycle().path, g.tree.sliceName, g.name)
}

// dir opens the group's directory in a hierarchy. The caller closes it. It is
// not there (fs.ErrNotExist) where making a lone group has failed before.
func (g *Group) dir(h *hierarchy) (*dirFD, error) {
	if h.slice == nil {
		return nil, &fs.PathError{Op: "open", Path: path.Join(h.mount, h.parents, g.name), Err: fs.ErrNotExist}
	}
	return openDirAt(h.slice, g.name)
}

// Exists tells whether the group is there in any hierarchy.
func (g *Group) Exists() bool {
	return slices.ContainsFunc(g.tree.hierarchies, func(h *hierarchy) bool { return existsAt(h.slice, g.name) })
}

// Create makes the group in every hierarchy and sets all limits and device
// rules, before any process is in it. The group must not exist (fs.ErrExist).
// On failure what was made is removed again. The error is an UnsupportedError
// (or several joined) where this host cannot do what is asked for, or a
// LimitError that names key, file and value.
func (g *Group) Create(l Limits) (err error) {
	if err := l.Validate(); err != nil {
		return err
	}
	s, err := g.tree.settingsFor(&l, false)
	if err != nil {
		return err
	}
	if err := s.err(); err != nil {
		return err
	}
	var made []*hierarchy
	defer func() {
		if err != nil {
			for _, h := range made {
				_ = rmdirAt(h.slice, g.name)
			}
		}
	}()
	for _, h := range g.tree.hierarchies {
		if h.onDemand && !g.tree.need(h, s.settings) {
			continue
		}
		if err := g.makeIn(h); err != nil {
			return err
		}
		made = append(made, h)
	}
	if _, err := g.writeAll(s.settings); err != nil {
		return err
	}
	return g.setDevices(&l, nil)
}

// need tells whether one of the settings is made in the hierarchy.
func (t *Tree) need(h *hierarchy, settings []setting) bool {
	return slices.ContainsFunc(settings, func(s setting) bool { return t.by[s.controller] == h })
}

// makeIn makes the group in one hierarchy; on failure it is not there.
func (g *Group) makeIn(h *hierarchy) error {
	if err := mkdirAt(h.slice, g.name); err != nil {
		return fmt.Errorf("cannot make the control group %s: %w", g.name, err)
	}
	if err := g.inheritCpuset(h); err != nil {
		_ = rmdirAt(h.slice, g.name)
		return fmt.Errorf("cannot make the control group %s: %w", g.name, err)
	}
	return nil
}

// inheritCpuset gives the group, which is new, the processors of the one above,
// which on v1 it does not have by itself.
func (g *Group) inheritCpuset(h *hierarchy) error {
	if h.unified || !slices.Contains(h.controllers, "cpuset") {
		return nil
	}
	dir, err := g.dir(h)
	if err != nil {
		return err
	}
	defer dir.Close()
	return inheritCpuset(h.slice, dir)
}

// err joins what the host cannot do.
func (s *settingList) err() error {
	var all []error
	for _, e := range s.unsupported {
		all = append(all, e)
	}
	return errors.Join(all...)
}

// writeAll writes settings in order and tells how many were written whole.
func (g *Group) writeAll(settings []setting) (int, error) {
	dirs := make(map[*hierarchy]*dirFD)
	defer func() {
		for _, dir := range dirs {
			dir.Close()
		}
	}()
	for i, s := range settings {
		h := g.tree.by[s.controller]
		if dirs[h] == nil {
			dir, err := g.dir(h)
			if err != nil {
				return i, fmt.Errorf("cannot set %s: %w", s.key, err)
			}
			dirs[h] = dir
		}
		if err := s.write(dirs[h]); err != nil {
			return i, err
		}
	}
	return len(settings), nil
}

// causeOf takes the errno out of a path error, whose path is told otherwise.
func causeOf(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Handles are the descriptors through which a process enters a group; package
// isolate takes them as Files.CgroupDir and Files.CgroupProcs.
type Handles struct {
	Dir   *os.File            // the v2 directory, for CLONE_INTO_CGROUP; nil without v2
	Procs map[string]*os.File // tasks, open for writing, by the names of Tree.Legacy and Tree.Optional

	group   *Group
	without []*hierarchy // the group was not there
}

// entry is the v1 file into which a process of one thread writes "0" to enter a
// group. cgroup.procs would do the same, but moves a whole thread group: for that
// the kernel takes a lock whose other side costs an RCU grace period, some
// milliseconds a start. One thread that moves itself needs none of it
// (kernel/cgroup/cgroup.c, cgroup_procs_write_start).
const entry = "tasks"

// Open opens the group's descriptors. The caller closes them, as soon as the
// process is in: not before, see Close.
func (g *Group) Open() (*Handles, error) { return g.OpenBelow(nil) }

// OpenBelow is Open for a process that enters groups nested in this one: their
// paths below it by v1 controller, and by "" on v2; in a hierarchy that has none
// it enters the group itself. A path does not lead out of the group.
func (g *Group) OpenBelow(paths map[string]string) (*Handles, error) {
	handles := &Handles{Procs: make(map[string]*os.File), group: g}
	for _, h := range g.tree.hierarchies {
		file, err := g.openEntry(h, paths)
		if h.onDemand && isGone(err) {
			handles.without = append(handles.without, h)
			continue
		}
		if err != nil {
			handles.Close()
			return nil, err
		}
		handles.add(h, file)
	}
	return handles, nil
}

// openEntry opens that through which a process enters the group, or one below it, in a hierarchy.
func (g *Group) openEntry(h *hierarchy, paths map[string]string) (file *os.File, err error) {
	if h.unified {
		file, err = openFileAt(h.slice, path.Join(g.name, path.Clean("/"+paths[""])), os.O_RDONLY|unix.O_DIRECTORY)
	} else {
		file, err = openFileAt(h.slice, path.Join(g.name, path.Clean("/"+h.below(paths)), entry), os.O_WRONLY)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the control group %s: %w", g.name, err)
	}
	return file, nil
}

func (h *Handles) add(of *hierarchy, file *os.File) {
	if of.unified {
		h.Dir = file
	} else {
		h.Procs[of.name()] = file
	}
}

// below gives the path for a hierarchy in which several controllers may be.
func (h *hierarchy) below(paths map[string]string) string {
	for _, c := range h.controllers {
		if p := paths[c]; p != "" {
			return p
		}
	}
	return ""
}

// Within gives the path, below the group, of the v2 group in which a process is,
// "/" for the group itself. Without v2, or if the process is nowhere in it, ok is
// false.
func (g *Group) Within(pid int) (below string, ok bool, err error) {
	h := g.tree.unified()
	if h == nil {
		return "", false, nil
	}
	top := h.slice.Name() + "/" + g.name
	err = g.walk(h, func(dir *dirFD) error {
		pids, err := pidsAt(dir)
		if slices.Contains(pids, pid) {
			below, ok = strings.TrimPrefix(dir.Name(), top)+"/", true
		}
		return err
	})
	if err != nil {
		return "", false, fmt.Errorf("cannot find process %d in %s: %w", pid, g.name, err)
	}
	return path.Clean(below), ok, nil
}

// Close closes the descriptors. If meanwhile an Update has made the group in a
// further hierarchy, it may have missed the process that has just entered the
// others, which is therefore moved now.
func (h *Handles) Close() {
	if h.Dir != nil {
		h.Dir.Close()
	}
	for _, f := range h.Procs {
		f.Close()
	}
	for _, hierarchy := range h.without {
		if existsAt(hierarchy.slice, h.group.name) {
			_ = h.group.moveInto(hierarchy) // it fails as it did for Update, which has told
		}
	}
	h.without = nil
}

// Pids gives the processes of the group and of groups nested in it, as this
// process' PID namespace numbers them, sorted. None is no error, nor is a group
// that does not exist.
func (g *Group) Pids() ([]int, error) {
	if g.tree.None() {
		return nil, nil
	}
	var pids []int
	err := g.walk(g.tree.lifecycle(), func(dir *dirFD) error {
		here, err := pidsAt(dir)
		pids = append(pids, here...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes of %s: %w", g.name, err)
	}
	slices.Sort(pids)
	// A 0 stands for a process that this PID namespace does not see.
	return slices.DeleteFunc(slices.Compact(pids), func(pid int) bool { return pid <= 0 }), nil
}

// pidsAt gives the processes directly in a group.
func pidsAt(dir *dirFD) ([]int, error) {
	text, err := readAt(dir, "cgroup.procs")
	if err != nil {
		return nil, err
	}
	var pids []int
	for field := range strings.FieldsSeq(text) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("%s/cgroup.procs holds %q", dir.Name(), field)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// A container may nest groups only so deep and so many before clean-up gives
// up: it is to be bounded whatever a container has done.
const (
	maxDepth  = 64
	maxNested = 100_000
)

var errTooManyGroups = fmt.Errorf("too many nested groups")

// walk visits the group and all groups nested in it, parents first. Groups that
// vanish meanwhile are passed over.
func (g *Group) walk(h *hierarchy, visit func(dir *dirFD) error) error {
	dir, err := g.dir(h)
	if err != nil {
		if isGone(err) {
			return nil
		}
		return err
	}
	budget := maxNested
	return walkDir(dir, maxDepth, &budget, visit)
}

// walkDir closes dir.
func walkDir(dir *dirFD, depth int, budget *int, visit func(dir *dirFD) error) error {
	defer dir.Close()
	if *budget--; depth == 0 || *budget < 0 {
		return errTooManyGroups
	}
	if err := visit(dir); err != nil && !isGone(err) {
		return err
	}
	names, err := subdirs(dir)
	if err != nil && !isGone(err) {
		return err
	}
	for _, name := range names {
		sub, err := openDirAt(dir, name)
		if isGone(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := walkDir(sub, depth-1, budget, visit); err != nil {
			return err
		}
	}
	return nil
}
