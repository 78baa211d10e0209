package cgroup

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/isolate/rawfile"
)

// Lone finds the hierarchies for a group that lies below no daemon's sub-tree
// but at a path of its own, the same in every hierarchy that is mounted: v2 and
// all v1 ones, named ones included. The path is taken from where each hierarchy
// is mounted; with own, from this process' group (on v2 the one above, since a
// group with processes hands no controller down). Nothing is made or opened:
// next comes Make. The tree has this one group and is closed by Close. It is
// not for List, Group and Remove, nor are Create, Update and Set for its group:
// package ocigroup does their work.
func Lone(where string, own bool) (*Tree, *Group, error) {
	clean := path.Clean("/" + where)
	parents, name := path.Split(clean)
	if name == "" || strings.ContainsAny(clean, "\n\x00") || slices.ContainsFunc(strings.Split(clean, "/"), tooLong) {
		return nil, nil, fmt.Errorf("%q cannot be the path of a control group", where)
	}
	found, missing, mounts, err := discoverAll(own)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot find the control groups: %w", err)
	}
	t := &Tree{by: make(map[string]*hierarchy), missing: missing, programs: make(map[string]*deviceProgram), mounts: mounts}
	for _, h := range found {
		h.parents = path.Join(h.parents, parents)
		h.path = path.Join(h.path, h.parents)
		t.add(h)
	}
	return t, &Group{tree: t, name: name}, nil
}

func tooLong(component string) bool { return len(component) > 255 }

// Mounts tells where Lone has seen hierarchies mounted, and with which options of
// the superblock: for v1 they name the controllers.
func (t *Tree) Mounts(tell func(unified bool, dir string, options []string)) {
	for _, m := range t.mounts {
		tell(m.unified, m.dir, m.options)
	}
}

// add takes a hierarchy into the tree, v2 first.
func (t *Tree) add(h *hierarchy) {
	t.hierarchies = append(t.hierarchies, h)
	for _, c := range h.controllers {
		if t.by[c] == nil || t.by[c].unified {
			t.by[c] = h
		}
	}
}

// discoverAll gives every hierarchy that is mounted and can be written, v2
// first and the others in the order of their names. One that is mounted at
// several places is taken below /sys/fs/cgroup, and there where it was mounted
// last. mounts are all that can be seen.
func discoverAll(own bool) (found []*hierarchy, missing map[string]string, mounts []mountPoint, err error) {
	var groups map[string]string
	if own {
		text, err := rawfile.Read("/proc/self/cgroup")
		if err != nil {
			return nil, nil, nil, err
		}
		groups = parseMembership(string(text))
	}
	mounts = []mountPoint{{unified: true, root: "/", dir: standardMount}}
	var st unix.Statfs_t
	// The usual case needs no look at what may be thousands of mounts.
	if unix.Statfs(standardMount, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC || own {
		text, err := rawfile.Read("/proc/self/mountinfo")
		if err != nil {
			return nil, nil, nil, err
		}
		mounts = parseMountinfo(string(text))
		standard := openStandard()
		defer unix.Close(standard)
		mounts = slices.DeleteFunc(mounts, func(m mountPoint) bool { return !m.visible(standard) })
		slices.Reverse(mounts)
		slices.SortStableFunc(mounts, func(a, b mountPoint) int { return a.rank() - b.rank() })
	}
	missing = make(map[string]string)
	seen := make(map[string]bool)
	for _, m := range mounts {
		h := &hierarchy{unified: m.unified, mount: m.dir, path: m.root}
		if !m.unified {
			h.controllers = m.controllers()
		}
		if seen[h.name()] || !m.unified && len(h.controllers) == 0 {
			continue
		}
		reason := ""
		switch {
		case m.ro:
			reason = m.dir + " is mounted read-only"
		case own:
			reason = h.startAtOwn(m, groups)
		}
		if reason != "" {
			for _, c := range h.wanted() {
				missing[c] = reason
			}
			continue
		}
		seen[h.name()] = true
		for _, c := range h.wanted() {
			delete(missing, c)
		}
		found = append(found, h)
	}
	if len(found) == 0 {
		for _, reason := range missing {
			return nil, missing, mounts, errors.New(reason)
		}
		return nil, missing, mounts, errors.New("none are mounted; mount cgroup2 on " + standardMount)
	}
	slices.SortFunc(found, unifiedFirst)
	return found, missing, mounts, nil
}

// unifiedFirst orders hierarchies by name, after v2, of which there is one.
func unifiedFirst(a, b *hierarchy) int {
	if a.unified != b.unified {
		if a.unified {
			return -1
		}
		return 1
	}
	return strings.Compare(a.name(), b.name())
}

const standardMount = "/sys/fs/cgroup"

// openStandard opens the directory where hierarchies are usually mounted; -1 if
// that fails. A look-up that goes through it by its path waits while the kernel
// adds to /sys anywhere, as for each new network namespace (kernfs_rwsem of
// struct kernfs_root), and one is often made at the same time. The caller closes it.
func openStandard() int {
	fd, err := unix.Open(standardMount, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// below gives a path as it is seen from what openStandard gave.
func below(standard int, path string) (dir int, name string) {
	if name, is := strings.CutPrefix(path, standardMount+"/"); is && standard >= 0 {
		return standard, name
	}
	return unix.AT_FDCWD, path
}

func (m *mountPoint) rank() int {
	if m.dir == standardMount || strings.HasPrefix(m.dir, standardMount+"/") {
		return 0
	}
	return 1
}

// controllers are those that a v1 mount names in its options; see cgroups(7).
func (m *mountPoint) controllers() []string {
	var names []string
	for _, o := range m.options {
		switch o {
		case "ro", "rw", "noprefix", "clone_children", "cpuset_v2_mode", "xattr", "favordynmods", "seclabel":
			continue
		}
		if !strings.Contains(o, "=") || strings.HasPrefix(o, "name=") {
			names = append(names, o)
		}
	}
	return names
}

// startAtOwn makes the hierarchy begin at this process' group, or tells why not.
func (h *hierarchy) startAtOwn(m mountPoint, groups map[string]string) string {
	key := ""
	if !h.unified {
		key = h.controllers[0]
	}
	group, ok := groups[key]
	if !ok {
		return "this process is in no group of it"
	}
	if h.unified && group != "/" {
		group = path.Dir(group)
	}
	dir, ok := locate(m, group)
	if !ok {
		return fmt.Sprintf("the group %s is not visible below %s", group, m.dir)
	}
	h.parents = strings.TrimPrefix(dir, strings.TrimSuffix(m.dir, "/"))
	return ""
}

// LoneAt gives a group made by Make, perhaps in another process, by what Paths
// gave then. Hierarchies in which it is no more are left out; in none is no error.
func LoneAt(dirs map[string]string) (*Tree, *Group, error) {
	t := &Tree{by: make(map[string]*hierarchy), missing: make(map[string]string), programs: make(map[string]*deviceProgram)}
	g := &Group{tree: t}
	byDir := make(map[string][]string)
	for controller, dir := range dirs {
		if !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/" {
			return nil, nil, fmt.Errorf("%q cannot be the directory of a control group", dir)
		}
		if g.name == "" {
			g.name = path.Base(dir)
		}
		if path.Base(dir) != g.name {
			return nil, nil, fmt.Errorf("%s is not of the same control group as %s", dir, g.name)
		}
		byDir[dir] = append(byDir[dir], controller)
	}
	for dir, controllers := range byDir {
		slices.Sort(controllers)
		h := &hierarchy{unified: controllers[0] == "", path: path.Dir(dir), controllers: controllers}
		var err error
		if h.slice, err = openCgroupDir(path.Dir(dir), h.unified); isGone(err) {
			continue
		}
		if err != nil {
			t.Close()
			return nil, nil, fmt.Errorf("cannot open the control group %s: %w", dir, err)
		}
		if h.unified {
			h.controllers, _ = controllersAt(h.slice, g.name+"/cgroup.controllers") // gone: none
		}
		t.add(h)
	}
	slices.SortFunc(t.hierarchies, unifiedFirst)
	return t, g, nil
}

// Paths gives the group's directory by controller, and by "" that on v2.
func (g *Group) Paths() map[string]string {
	paths := make(map[string]string)
	for _, h := range g.tree.hierarchies {
		dir := path.Join(h.mount, h.parents, g.name)
		if h.slice != nil {
			dir = h.slice.Name() + "/" + g.name
		}
		if h.unified {
			paths[""] = dir
			continue
		}
		for _, c := range h.controllers {
			paths[c] = dir
		}
	}
	return paths
}

// Has tells whether the group, which exists, has a control file of this
// controller ("": of v2 itself).
func (g *Group) Has(controller, file string) bool {
	h := g.hierarchyOf(controller)
	return h != nil && existsAt(h.slice, g.name+"/"+file)
}

// Version tells how the group has a controller: 1, 2, or 0 and the reason why
// it has not.
func (g *Group) Version(controller string) (version int, reason string) {
	switch h := g.hierarchyOf(controller); {
	case h == nil:
		return 0, g.tree.whyMissing(controller)
	case h.unified:
		return 2, ""
	}
	return 1, ""
}

// Read gives the whole of a control file of this controller ("": of v2 itself)
// without the final newline.
func (g *Group) Read(controller, file string) (string, error) {
	h := g.hierarchyOf(controller)
	if h == nil {
		return "", errors.New(g.tree.whyMissing(controller))
	}
	return readAt(h.slice, g.name+"/"+file)
}

// Write writes value to a control file of this controller ("": of v2 itself) in
// one piece. It never makes a file.
func (g *Group) Write(controller, file, value string) error {
	h := g.hierarchyOf(controller)
	if h == nil {
		return errors.New(g.tree.whyMissing(controller))
	}
	return writeAt(h.slice, g.name+"/"+file, value)
}

// Files gives the names of the control files of a controller's hierarchy.
func (g *Group) Files(controller string) ([]string, error) {
	h := g.hierarchyOf(controller)
	if h == nil {
		return nil, errors.New(g.tree.whyMissing(controller))
	}
	dir, err := g.dir(h)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return controlFiles(dir)
}

func (g *Group) hierarchyOf(controller string) *hierarchy {
	if controller == "" {
		return g.tree.unified()
	}
	return g.tree.by[controller]
}

// SetDevices puts device rules, last match wins, on a group; what none of them
// matches is allowed with allowRest and refused without. The built-in rules are
// not added. isNew says that the group has none yet. On v1 a change leaves what
// is allowed before and after allowed all the time, unless the default changes.
func (g *Group) SetDevices(allowRest bool, rules []DeviceRule, isNew bool) error {
	if h := g.tree.by["devices"]; h != nil {
		return g.setLegacyRules(h, allowRest, rules, isNew)
	}
	if err := validateRules(rules); err != nil {
		return err
	}
	if h := g.tree.unified(); h != nil && isNew {
		return g.filterNew(h, allowRest, rules)
	} else if h != nil {
		return g.filterDevices(h, allowRest, rules, false)
	}
	return &UnsupportedError{Key: "device", Reason: g.tree.whyMissing("devices")}
}

func validateRules(rules []DeviceRule) error {
	for _, r := range rules {
		if err := r.validate(); err != nil {
			return err
		}
	}
	return nil
}

// setLegacyRules is SetDevices for the v1 hierarchy that has the devices.
func (g *Group) setLegacyRules(h *hierarchy, allowRest bool, rules []DeviceRule, isNew bool) error {
	if err := validateRules(rules); err != nil {
		return err
	}
	set, unsupported := legacyDeviceRules(allowRest, rules)
	if unsupported != nil {
		return unsupported
	}
	dir, err := g.dir(h)
	if err != nil {
		return fmt.Errorf("cannot set device: %w", err)
	}
	defer dir.Close()
	var was *legacyDeviceSet
	if !isNew {
		was = currentDevices(dir)
	}
	return set.write(dir, was)
}

// filterNew is filterDevices for a group that has no program yet.
func (g *Group) filterNew(h *hierarchy, allowRest bool, rules []DeviceRule) error {
	if allowRest && !slices.ContainsFunc(rules, func(r DeviceRule) bool { return !r.Allow }) {
		return nil
	}
	dir, err := g.dir(h)
	if err != nil {
		return fmt.Errorf("cannot set device: %w", err)
	}
	defer dir.Close()
	err = attachNew(int(dir.Fd()), deviceCode(rules, allowRest))
	var unsupported *UnsupportedError
	if err == nil || errors.As(err, &unsupported) {
		return err
	}
	return cannotAttach(dir, err)
}

// currentDevices reads the rules of a v1 group; nil where the kernel does not
// tell them, which is when the default is to allow.
func currentDevices(dir *dirFD) *legacyDeviceSet {
	text, err := readAt(dir, "devices.list")
	if err != nil {
		return nil
	}
	set := &legacyDeviceSet{}
	for line := range strings.Lines(text) {
		rule, err := parseDeviceRule(line)
		if err != nil {
			return nil
		}
		set.exceptions = append(set.exceptions, rule)
	}
	return set
}

// parseDeviceRule reads a rule as String writes it.
func parseDeviceRule(line string) (DeviceRule, error) {
	fields := strings.FieldsFunc(strings.TrimSpace(line), func(r rune) bool { return r == ' ' || r == ':' })
	if len(fields) != 4 || len(fields[0]) != 1 {
		return DeviceRule{}, fmt.Errorf("%q is not a device rule", line)
	}
	rule := DeviceRule{
		Type: fields[0][0], Allow: true,
		Read: strings.Contains(fields[3], "r"), Write: strings.Contains(fields[3], "w"), Mknod: strings.Contains(fields[3], "m"),
	}
	for i, number := range []*int64{&rule.Major, &rule.Minor} {
		if fields[i+1] == "*" {
			*number = -1
			continue
		}
		n, err := strconv.ParseUint(fields[i+1], 10, 32)
		if err != nil {
			return DeviceRule{}, fmt.Errorf("%q is not a device rule", line)
		}
		*number = int64(n)
	}
	return rule, rule.validate()
}
