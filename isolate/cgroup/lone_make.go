package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Making is a group that is being made, in one hierarchy after the other.
type Making struct {
	// Devices, if it is set before Work, are the device rules (see SetDevices) that a
	// new v1 group gets as soon as it is made. Whether they are set, and the error of
	// that, are there when Done has said that the group is made.
	Devices struct {
		AllowRest bool
		Rules     []DeviceRule
		Set       bool
		Err       error
	}

	group *Group
	need  []string
	next  atomic.Int32 // hierarchy

	mu      sync.Mutex
	failed  error
	made    []string
	existed bool
	handles Handles
}

// Make begins to make the group in every hierarchy, before any process is in it,
// with the groups above it that are missing: by Work, and when all who do
// that have come back Done. On v2 the controllers are switched on for it: those of need must be,
// the others that no v1 hierarchy has are where that is possible. A group that
// exists already is taken as it is if it has no processes and is not frozen.
func (g *Group) Make(need []string) *Making {
	return &Making{group: g, need: need, handles: Handles{Procs: make(map[string]*os.File), group: g}}
}

// Work makes and opens the group in one hierarchy after the other, until there are
// no more or something has failed. Several goroutines may call it, each once.
func (m *Making) Work() {
	all := m.group.tree.hierarchies
	for ok := true; ok; {
		i := int(m.next.Add(1)) - 1
		if i >= len(all) {
			return
		}
		made, existed, entry, err := m.group.makeLone(all[i], m.need)
		if d := &m.Devices; err == nil && !existed && len(d.Rules) > 0 && !all[i].unified && slices.Contains(all[i].controllers, "devices") {
			d.Set, d.Err = true, m.group.setLegacyRules(all[i], d.AllowRest, d.Rules, true)
		}
		m.mu.Lock()
		m.made = append(m.made, made...)
		m.existed = m.existed || existed
		if entry != nil {
			m.handles.add(all[i], entry)
		}
		if m.failed == nil {
			m.failed = err
		}
		ok = m.failed == nil
		m.mu.Unlock()
	}
}

// makeLone makes and opens the group in one hierarchy. It tells what was made, of
// that and above, also after an error.
func (g *Group) makeLone(h *hierarchy, need []string) (made []string, existed bool, entry *os.File, err error) {
	if err := g.tree.openParent(h, need, &made); err != nil {
		return made, false, nil, err
	}
	err = mkdirAt(h.slice, g.name)
	switch existed = errors.Is(err, fs.ErrExist); {
	case existed:
		err = g.vacantIn(h, -1)
	case err == nil:
		made = append(made, h.slice.Name()+"/"+g.name)
		err = g.inheritCpuset(h)
	}
	if err == nil {
		entry, err = g.openEntry(h, nil)
	}
	return made, existed, entry, err
}

// Done tells how it went. existed tells that the group was there before,
// in any hierarchy. The caller closes the handles. After an error nothing is left
// of what was made; the caller calls Undo when what follows fails.
func (m *Making) Done() (existed bool, handles *Handles, err error) {
	if err = m.failed; err == nil && m.existed {
		var frozen bool
		if frozen, err = m.group.Frozen(); err == nil && frozen {
			err = errors.New("container's cgroup unexpectedly frozen: it exists already; thaw it, or choose another path")
		}
	}
	if err != nil {
		m.Undo()
		return m.existed, nil, fmt.Errorf("cannot make the control group %s: %w", m.group.where(), err)
	}
	return m.existed, &m.handles, nil
}

// Undo removes what was made, and closes the handles. No process may have entered.
func (m *Making) Undo() {
	m.handles.Close()
	for _, dir := range slices.Backward(m.made) {
		_ = unix.Rmdir(dir)
	}
}

// where is the path that Lone was given, for messages.
func (g *Group) where() string { return path.Join("/", g.tree.hierarchies[0].parents, g.name) }

// Vacant tells why the group, which may exist, cannot be taken by Make: somebody
// lives in it, or in a group below it.
func (g *Group) Vacant() error {
	standard := openStandard()
	defer unix.Close(standard)
	for _, h := range g.tree.hierarchies {
		if err := g.vacantIn(h, standard); err != nil {
			return fmt.Errorf("cannot take the control group %s: %w", g.where(), err)
		}
	}
	return nil
}

func (g *Group) vacantIn(h *hierarchy, standard int) error {
	at, name := below(standard, path.Join(h.mount, h.parents, g.name))
	dir, err := openDir(at, name)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var pids []int
	budget := maxNested
	err = walkDir(dir, maxDepth, &budget, func(dir *dirFD) error {
		here, err := pidsAt(dir)
		pids = append(pids, here...)
		return err
	})
	if err == nil && len(pids) > 0 {
		return fmt.Errorf("container's cgroup is not empty: %s exists already and has the processes %s; remove them, or choose another path", path.Join(h.mount, h.parents, g.name), joinInts(pids, 5))
	}
	return err
}

// openParent opens the group above, and makes it and those above it where they
// are missing.
func (t *Tree) openParent(h *hierarchy, need []string, made *[]string) error {
	top, err := openCgroupDir(h.mount, h.unified)
	if err != nil {
		return err
	}
	var want []string
	if h.unified && t.manages(need) {
		if want, err = t.wantedFrom(top, need); err != nil {
			top.Close()
			return err
		}
	}
	if rel := strings.Trim(h.parents, "/"); rel != "" {
		if parent, err := openDirAt(top, rel); err == nil {
			if h.readyFor(parent, want) {
				top.Close()
				return t.enter(h, parent, need, nil)
			}
			parent.Close()
		}
	}
	dir := top
	var refused error
	for _, name := range strings.FieldsFunc(h.parents, func(r rune) bool { return r == '/' }) {
		refused = errors.Join(refused, handDown(dir, want))
		next, err := h.makeBelow(dir, name, made)
		dir.Close()
		if err != nil {
			return err
		}
		dir = next
	}
	return t.enter(h, dir, need, errors.Join(refused, handDown(dir, want)))
}

// manages tells whether v2, if it is there, does more than to say which processes
// belong together: it stands alone, or has controllers that are needed.
func (t *Tree) manages(need []string) bool { return len(t.hierarchies) == 1 || len(need) > 0 }

// wantedFrom gives those v2 controllers that are to be switched on, of what the
// top group of the mount has. Beside v1 hierarchies it is only what is needed.
func (t *Tree) wantedFrom(top *dirFD, need []string) ([]string, error) {
	has, err := controllersAt(top, "cgroup.controllers")
	if err != nil {
		return nil, err
	}
	onlyUnified := len(t.hierarchies) == 1
	return slices.DeleteFunc(has, func(c string) bool {
		return !slices.Contains(need, c) && !(onlyUnified && slices.Contains(unifiedControllers, c))
	}), nil
}

// handDown switches those controllers on for the groups below dir that it has
// and does not hand down yet.
func handDown(dir *dirFD, want []string) error {
	if len(want) == 0 {
		return nil
	}
	has, err := controllersAt(dir, "cgroup.controllers")
	if err != nil {
		return err
	}
	enabled, err := controllersAt(dir, "cgroup.subtree_control")
	if err != nil {
		return err
	}
	lacking := slices.DeleteFunc(slices.Clone(want), func(c string) bool { return !slices.Contains(has, c) || slices.Contains(enabled, c) })
	if len(lacking) == 0 {
		return nil
	}
	// A group with processes, but for the root, may hand down only controllers of
	// threads, and if it does, no process can enter a group below it.
	if existsAt(dir, "cgroup.type") {
		if pids, err := pidsAt(dir); err != nil || len(pids) > 0 {
			return errors.Join(err, fmt.Errorf("%s has processes of its own (%s); move them to a group below it", dir.Name(), joinInts(pids, 5)))
		}
	}
	var failed error
	for _, c := range lacking {
		if err := writeAt(dir, "cgroup.subtree_control", "+"+c); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", c, err))
		}
	}
	return failed
}

// enter notes the parent and, of v2, the controllers that it hands down.
// refused tells why it does not have others.
func (t *Tree) enter(h *hierarchy, parent *dirFD, need []string, refused error) error {
	h.slice = parent
	if !h.unified || !t.manages(need) {
		return nil
	}
	enabled, err := controllersAt(parent, "cgroup.subtree_control")
	if err != nil {
		return err
	}
	h.controllers = enabled
	for _, c := range enabled {
		if t.by[c] == nil {
			t.by[c] = h
		}
	}
	if refused == nil {
		return nil
	}
	for _, c := range need {
		if t.by[c] == nil {
			return fmt.Errorf("the %s controller cannot be switched on for it: %w", c, refused)
		}
	}
	return nil
}

// makeBelow makes a group for others below dir and opens it.
func (h *hierarchy) makeBelow(dir *dirFD, name string, made *[]string) (*dirFD, error) {
	err := mkdirAt(dir, name)
	if err == nil {
		*made = append(*made, dir.Name()+"/"+name)
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	next, err := openDirAt(dir, name)
	if err == nil && !h.unified && slices.Contains(h.controllers, "cpuset") {
		if err = inheritCpuset(dir, next); err != nil {
			next.Close()
		}
	}
	if err != nil {
		return nil, err
	}
	return next, nil
}

// readyFor tells whether a group can be made below parent as it is.
func (h *hierarchy) readyFor(parent *dirFD, want []string) bool {
	if len(want) > 0 {
		has, err := controllersAt(parent, "cgroup.subtree_control")
		return err == nil && !slices.ContainsFunc(want, func(c string) bool { return !slices.Contains(has, c) })
	}
	if h.unified || !slices.Contains(h.controllers, "cpuset") {
		return true
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		if set, err := readAt(parent, file); err != nil || set == "" {
			return false
		}
	}
	return true
}
