package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// DefaultSlice is the name of the sub-tree when Options names none.
const DefaultSlice = "berth.slice"

// leafName is the group below the slice that the daemon moves into where its
// own group must have no processes. No container can have this name.
const leafName = "berthd.service"

// Options says where the sub-tree is to be.
type Options struct {
	// Parent is the group below which the sub-tree is made, as a path from the
	// root of each hierarchy that is mounted. "" is the group that this process
	// is in; see Open.
	Parent string
	// Slice is the sub-tree's name, DefaultSlice when empty.
	Slice string
	// Processes are further processes of the daemon (its reaper and launcher)
	// that must move along when this process has to leave its group, so that
	// processes which they start later are found below the same base.
	Processes []int
	// OrNone has Open give a tree without any hierarchy where no group can be made,
	// for an ordinary user to whom none is delegated, and for who is in a container. Groups of it are only names:
	// they have no process that can be seen, limited or killed, so whoever uses
	// them keeps its containers in PID namespaces, and kills these.
	OrNone bool
}

// Tree is the sub-tree of groups that one daemon owns. Its methods may be used
// by several goroutines at once.
type Tree struct {
	sliceName   string
	hierarchies []*hierarchy // v2 first
	by          map[string]*hierarchy
	missing     map[string]string // why a controller cannot be used
	members     []int             // its processes
	filters     bool              // v2 filters devices
	mounts      []mountPoint      // see Mounts

	mu       sync.Mutex
	programs map[string]*deviceProgram // by their rules; see device_bpf.go
}

// Open finds the hierarchies that are mounted (v2, v1 or both) and makes the
// sub-tree in each that is used: v2, and all v1 ones with a controller that
// limits, accounts or freezes what v2 does not.
//
// On v2 the controllers are switched on for the sub-tree. A group that hands
// controllers down must have no process of its own, except the root. So, where
// the base is not the root and has controllers to hand down, the daemon's
// processes move to the leaf <slice>/berthd.service, and a later Open from
// there finds the same base again:
//   - only the daemon's processes are in its group, as under systemd with
//     Delegate=yes: they move;
//   - its group is the root of a cgroup namespace, as in a container: every
//     process of it moves;
//   - others are in its group too, as when started from a login shell: the base
//     is the root of the hierarchy if that can be reached, and the daemon moves
//     to the leaf there. If it cannot be reached, containers have no v2
//     controllers, and Describe and UnsupportedError tell why.
//
// No other group is touched. Open fails only when there is no hierarchy in
// which groups can be made; single controllers that are missing are told by
// Describe. It may be called again while containers run. Close gives back the
// descriptors; Remove removes the sub-tree.
func Open(opt Options) (*Tree, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot find the control groups: %w", err)
	}
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("cannot find the own control group: %w", err)
	}
	return open(opt, string(mountinfo), string(membership))
}

func open(opt Options, mountinfo, membership string) (*Tree, error) {
	if opt.Slice == "" {
		opt.Slice = DefaultSlice
	}
	if err := checkName(opt.Slice, ".slice"); err != nil {
		return nil, err
	}
	found, missing, err := discover(mountinfo, membership, opt.Parent, opt.Slice+"/"+leafName)
	if err != nil && !(opt.OrNone && missing != nil) {
		return nil, err
	}
	t := &Tree{
		sliceName: opt.Slice,
		by:        make(map[string]*hierarchy),
		missing:   missing,
		members:   append([]int{os.Getpid()}, opt.Processes...),
		programs:  make(map[string]*deviceProgram),
	}
	for _, h := range found {
		if t.needless(h) {
			h.close()
			continue
		}
		if err := t.take(h); err != nil {
			h.close()
			for _, c := range h.wanted() {
				t.missing[c] = err.Error()
			}
			continue
		}
		t.hierarchies = append(t.hierarchies, h)
		for _, c := range h.controllers {
			t.by[c] = h
		}
	}
	if len(t.hierarchies) == 0 && !opt.OrNone {
		for _, reason := range t.missing {
			return nil, fmt.Errorf("cannot make control groups: %s", reason)
		}
	}
	return t, nil
}

// needless tells of a v1 hierarchy that v2, which comes first, does the work of:
// groups there would only make every start slower.
func (t *Tree) needless(h *hierarchy) bool {
	if h.unified || t.unified() == nil {
		return false
	}
	return !slices.ContainsFunc(h.controllers, func(c string) bool {
		switch c {
		case "freezer", "cpuacct": // cgroup.freeze and cgroup.kill; cpu.stat, without any controller
			return false
		case "devices":
			return !t.filters
		}
		return true
	})
}

// take makes the sub-tree in one hierarchy.
func (t *Tree) take(h *hierarchy) error {
	if h.unified {
		if err := t.takeUnified(h); err != nil {
			return err
		}
		t.filters = t.keepFiltering(h) == nil
		return nil
	}
	if err := h.makeSlice(t.sliceName); err != nil {
		return err
	}
	// Being in the group above is the same as being in one without a limit.
	h.onDemand = !slices.ContainsFunc(h.controllers, func(c string) bool {
		switch c {
		case "cpuset", "hugetlb":
			return false
		case "cpu", "cpuacct": // v2 accounts without a controller
			return t.unified() == nil
		}
		return true
	})
	if slices.Contains(h.controllers, "cpuset") {
		return inheritCpuset(h.base, h.slice)
	}
	return nil
}

func (h *hierarchy) makeSlice(name string) error {
	if err := mkdirAt(h.base, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	slice, err := openDirAt(h.base, name)
	if err != nil {
		return err
	}
	h.slice = slice
	return nil
}

// inheritCpuset gives a new v1 cpuset group what its parent may use: it comes
// without any processor or memory node, and no process can enter it so.
func inheritCpuset(parent, child *dirFD) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		if set, err := readAt(child, file); err != nil || set != "" {
			if err != nil {
				return err
			}
			continue
		}
		set, err := readAt(parent, file)
		if err != nil {
			return err
		}
		if err := writeAt(child, file, set); err != nil {
			return err
		}
	}
	return nil
}

// Close gives back the tree's descriptors. The groups stay. No method of the
// tree or its groups may be called afterwards.
func (t *Tree) Close() error {
	for _, h := range t.hierarchies {
		h.close()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.programs {
		unix.Close(p.fd)
	}
	clear(t.programs)
	return nil
}

// List gives the names of the groups that exist below the sub-tree in any
// hierarchy, sorted; for reconciliation after a restart of the supervisor.
func (t *Tree) List() ([]string, error) {
	set := make(map[string]bool)
	for _, h := range t.hierarchies {
		names, err := subdirs(h.slice)
		if err != nil {
			return nil, fmt.Errorf("cannot list control groups: %w", err)
		}
		for _, name := range names {
			if name != leafName {
				set[name] = true
			}
		}
	}
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// Group gives a handle of the group with this name, which must end in .service
// or .scope and is one path component. Nothing is made or opened: the group may
// exist already (List), or is made by Create.
func (t *Tree) Group(name string) (*Group, error) {
	if err := checkName(name, ".service", ".scope"); err != nil {
		return nil, err
	}
	if name == leafName {
		return nil, fmt.Errorf("the group name %s is reserved for the daemon itself", name)
	}
	return &Group{tree: t, name: name}, nil
}

// checkName holds names to what systemd units may be called. The suffix also
// keeps them apart from the kernel's control files.
func checkName(name string, suffixes ...string) error {
	stem := ""
	for _, suffix := range suffixes {
		if s, ok := strings.CutSuffix(name, suffix); ok {
			stem = s
		}
	}
	if stem == "" || name[0] == '.' || len(name) > 255 {
		return fmt.Errorf("%q cannot be the name of a control group: it must be something that ends in %s", name, strings.Join(suffixes, " or "))
	}
	for _, r := range stem {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(`:-_.@\`, r)
		if !ok {
			return fmt.Errorf("%q cannot be the name of a control group: %q is not allowed in it", name, r)
		}
	}
	return nil
}

// Unified tells whether containers are born in a v2 group (isolate.Cgroup).
func (t *Tree) Unified() bool { return t.unified() != nil }

// Legacy gives the names of the v1 hierarchies that every container enters, in
// order; Handles.Procs has them all (isolate.Cgroup).
func (t *Tree) Legacy() []string { return t.legacy(false) }

// Optional gives the names of the v1 hierarchies in which a container has a
// group only while one of its limits needs it (cpuset, hugetlb); Handles.Procs
// has those in which it has one (isolate.Cgroup).
func (t *Tree) Optional() []string { return t.legacy(true) }

func (t *Tree) legacy(onDemand bool) []string {
	var names []string
	for _, h := range t.hierarchies {
		if !h.unified && h.onDemand == onDemand {
			names = append(names, h.name())
		}
	}
	return names
}

// unified gives the v2 hierarchy or nil.
func (t *Tree) unified() *hierarchy {
	if len(t.hierarchies) > 0 && t.hierarchies[0].unified {
		return t.hierarchies[0]
	}
	return nil
}

// lifecycle is the hierarchy that says which processes belong to a group: v2
// where there is one, else the freezer's, else the first; nil where there is none.
func (t *Tree) lifecycle() *hierarchy {
	if h := t.unified(); h != nil {
		return h
	}
	if h := t.by["freezer"]; h != nil {
		return h
	}
	if len(t.hierarchies) == 0 {
		return nil
	}
	return t.hierarchies[0]
}

// None tells whether there is no group at all; see Options.OrNone.
func (t *Tree) None() bool { return len(t.hierarchies) == 0 }

// UnitOf tells which group of this tree a process is in, by its /proc/PID/cgroup;
// "" when it is in none. Processes in groups nested below count.
func (t *Tree) UnitOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("cannot tell the control group of process %d: %w", pid, err)
	}
	groups := parseMembership(string(text))
	for _, h := range t.hierarchies {
		key := ""
		if !h.unified {
			key = h.controllers[0]
		}
		prefix := strings.TrimSuffix(h.path, "/") + "/" + t.sliceName + "/"
		if rest, ok := strings.CutPrefix(groups[key], prefix); ok {
			name, _, _ := strings.Cut(rest, "/")
			if name != leafName {
				return name, nil
			}
		}
	}
	return "", nil
}
