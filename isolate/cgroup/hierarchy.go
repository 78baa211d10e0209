package cgroup

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"berth/isolate/octal"

	"golang.org/x/sys/unix"
)

// hierarchy is one mounted tree of groups and this process' place in it.
type hierarchy struct {
	unified     bool
	controllers []string // v1: those of this hierarchy that are used; v2: those that our groups can limit by
	mount       string   // where it is mounted
	path        string   // the base group's path as the kernel names it, "/" first
	parents     string   // of a lone group: its parent's path below mount
	base        *dirFD   // the group below which our sub-tree lies
	slice       *dirFD   // our sub-tree
	isOwn       bool     // the base is (or was until it moved to the leaf) this process' own group
	postponed   bool     // hugetlb is not switched on yet; the tree's mu guards it
	onDemand    bool     // a container has a group here only if one of its limits needs it
}

// name is what a hierarchy is called in messages and in Handles.Procs: the
// controllers of a v1 hierarchy joined by commas.
func (h *hierarchy) name() string {
	if h.unified {
		return "unified"
	}
	return strings.Join(h.controllers, ",")
}

func (h *hierarchy) close() {
	if h.base != nil {
		h.base.Close()
	}
	if h.slice != nil {
		h.slice.Close()
	}
}

// legacyControllers are the v1 controllers that are used where they are
// mounted, unless v2 does their work: see Tree.needless. name=systemd only
// counts where there is no v2 hierarchy: journald then takes a process' unit
// from it.
var legacyControllers = []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "name=systemd"}

// mountPoint is one line of mountinfo about a cgroup file system.
type mountPoint struct {
	unified bool
	device  string // its "major:minor" in stat(2)
	root    string // which group of the hierarchy is seen at dir
	dir     string
	options []string // of the superblock: for v1 they name the controllers
	ro      bool
}

// parseMountinfo reads /proc/self/mountinfo, see proc_pid_mountinfo(5).
func parseMountinfo(text string) []mountPoint {
	var mounts []mountPoint
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, " - ")
		if !ok || !strings.HasPrefix(after, "cgroup") { // most: not worth taking apart
			continue
		}
		fields, tail := strings.Fields(before), strings.Fields(after)
		if len(fields) < 6 || len(tail) < 3 {
			continue
		}
		if tail[0] != "cgroup" && tail[0] != "cgroup2" {
			continue
		}
		options := strings.Split(tail[2], ",")
		mounts = append(mounts, mountPoint{
			unified: tail[0] == "cgroup2",
			device:  fields[2],
			root:    octal.Unescape(fields[3]),
			dir:     octal.Unescape(fields[4]),
			options: options,
			ro:      slices.Contains(strings.Split(fields[5], ","), "ro") || slices.Contains(options, "ro"),
		})
	}
	return mounts
}

// visible tells whether it is the mount that a look-up of its directory finds:
// another may lie over it, or over a directory above.
func (m *mountPoint) visible(standard int) bool {
	var st unix.Stat_t
	if dir, name := below(standard, m.dir); unix.Fstatat(dir, name, &st, 0) != nil {
		return false
	}
	major, minor, _ := strings.Cut(m.device, ":")
	return major == strconv.FormatUint(uint64(unix.Major(st.Dev)), 10) && minor == strconv.FormatUint(uint64(unix.Minor(st.Dev)), 10)
}

// parseMembership reads /proc/PID/cgroup: the group's path by controller, and
// under "" for v2.
func parseMembership(text string) map[string]string {
	groups := make(map[string]string)
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			groups[controller] = parts[2]
		}
	}
	return groups
}

// locate gives where the group at the kernel's path is seen below a mount whose
// root is the group root. In a container the mount often begins at the
// container's own group, and then only what is below that can be reached.
func locate(m mountPoint, group string) (dir string, ok bool) {
	if group == "/.." || strings.HasPrefix(group, "/../") {
		return "", false // outside of this cgroup namespace
	}
	if m.root == "/" {
		return path.Join(m.dir, group), true
	}
	rest, ok := strings.CutPrefix(group, m.root)
	if !ok || (rest != "" && rest[0] != '/') {
		return "", false
	}
	return path.Join(m.dir, rest), true
}

// discover gives the hierarchies that can be used, with their base opened, and
// tells by controller why others cannot. parent "" means the own group, or the
// one that it was before this process moved into the leaf below it. The caller
// closes what it gets.
func discover(mountinfo, membership, parent, leaf string) (found []*hierarchy, missing map[string]string, err error) {
	missing = make(map[string]string)
	groups := parseMembership(membership)
	mounts := parseMountinfo(mountinfo)
	hasUnified := slices.ContainsFunc(mounts, func(m mountPoint) bool { return m.unified })
	seen := make(map[string]bool)
	// A later mount lies over an earlier one at the same place.
	for _, m := range slices.Backward(mounts) {
		var controllers []string
		key := "" // how /proc/self/cgroup names the hierarchy
		if !m.unified {
			for _, c := range legacyControllers {
				if slices.Contains(m.options, c) && (c != "name=systemd" || !hasUnified) {
					controllers = append(controllers, c)
				}
			}
			if len(controllers) == 0 {
				continue
			}
			key = controllers[0]
		}
		group, ok := groups[key]
		if !ok || seen[key] {
			continue
		}
		isOwn := parent == ""
		if isOwn {
			group = cmp.Or(strings.TrimSuffix(group, "/"+leaf), "/")
		} else {
			group = path.Clean("/" + parent)
		}
		h := &hierarchy{unified: m.unified, controllers: controllers, mount: m.dir, path: group, isOwn: isOwn}
		reason := ""
		if dir, ok := locate(m, group); !ok {
			reason = fmt.Sprintf("the group %s is not visible below %s", group, m.dir)
		} else if m.ro {
			reason = fmt.Sprintf("%s is mounted read-only", m.dir)
		} else if h.base, err = openCgroupDir(dir, m.unified); err != nil {
			reason = err.Error()
		}
		if reason != "" {
			for _, c := range h.wanted() {
				missing[c] = reason
			}
			continue
		}
		seen[key] = true
		for _, c := range h.wanted() {
			delete(missing, c)
		}
		found = append(found, h)
	}
	// v2 first, then in a fixed order whatever the order of mounts was.
	slices.SortFunc(found, func(a, b *hierarchy) int {
		if a.unified != b.unified {
			if a.unified {
				return -1
			}
			return 1
		}
		if a.unified {
			return 0
		}
		return slices.Index(legacyControllers, a.controllers[0]) - slices.Index(legacyControllers, b.controllers[0])
	})
	if len(found) > 0 {
		return found, missing, nil
	}
	for _, reason := range missing {
		return nil, missing, fmt.Errorf("no usable control groups: %s", reason)
	}
	return nil, missing, fmt.Errorf("no control groups are mounted; mount cgroup2 on /sys/fs/cgroup")
}

// wanted are the controllers that a failure of this hierarchy takes away.
func (h *hierarchy) wanted() []string {
	if h.unified {
		return []string{"unified"}
	}
	return h.controllers
}

// openCgroupDir opens a directory and makes sure that it is what mountinfo said
// and not something mounted over it.
func openCgroupDir(dir string, unified bool) (*dirFD, error) {
	f, err := openDir(unix.AT_FDCWD, dir)
	if err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	want := int64(unix.CGROUP_SUPER_MAGIC)
	if unified {
		want = unix.CGROUP2_SUPER_MAGIC
	}
	if int64(st.Type) != want {
		f.Close()
		return nil, fmt.Errorf("something else is mounted over %s", dir)
	}
	return f, nil
}
