package oci

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"berth/isolate"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var namespaceTypes = []string{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"}

func (t *translator) namespaces() {
	n := &t.spec.Namespaces
	host := isolate.Namespace{Mode: isolate.NSHost}
	n.PID, n.UTS, n.IPC, n.Cgroup, n.Network, n.Mount = host, host, host, host, host, host
	seen := map[specs.LinuxNamespaceType]bool{}
	for i, e := range t.linux.Namespaces {
		where := index("linux.namespaces", i)
		ns := isolate.Namespace{Mode: isolate.NSNew}
		if e.Path != "" {
			ns = isolate.Namespace{Mode: isolate.NSJoin, Path: e.Path}
			if !filepath.IsAbs(e.Path) {
				t.fault(where+".path", "begin it with a slash", "%s is not an absolute path", quote(e.Path))
			}
			t.checkPath(where+".path", e.Path)
		}
		if seen[e.Type] {
			t.fault(where+".type", "leave one of them out", "%s is given twice", quote(string(e.Type)))
			continue
		}
		seen[e.Type] = true
		switch e.Type {
		case specs.PIDNamespace:
			n.PID = ns
		case specs.UTSNamespace:
			n.UTS = ns
		case specs.IPCNamespace:
			n.IPC = ns
		case specs.CgroupNamespace:
			n.Cgroup = ns
		case specs.NetworkNamespace:
			n.Network = ns
		case specs.MountNamespace:
			n.Mount = ns
		case specs.UserNamespace:
			n.User = &isolate.UserNamespace{Join: joined(ns)}
		case specs.TimeNamespace:
			n.Time = &isolate.TimeNamespace{Join: joined(ns)}
		default:
			t.fault(where+".type", "want one of "+strings.Join(namespaceTypes, ", "), "unknown namespace %s", quote(string(e.Type)))
		}
	}
	if !seen[specs.MountNamespace] {
		t.warn("linux.namespaces", "there is no mount namespace: with CAP_SYS_CHROOT the container can leave its root, and it sees no list of its mounts")
	}
	t.userNamespace()
	t.timeNamespace()
}

func joined(ns isolate.Namespace) *isolate.Namespace {
	if ns.Mode == isolate.NSJoin {
		return &ns
	}
	return nil
}

// userNamespace takes the mappings. With a namespace that is joined they tell
// what it has, as engines write it; nothing is made of them but the default of
// idmapped mounts.
func (t *translator) userNamespace() {
	user := t.spec.Namespaces.User
	l := t.linux
	if user == nil {
		for _, m := range []struct {
			path string
			list []specs.LinuxIDMapping
		}{{"linux.uidMappings", l.UIDMappings}, {"linux.gidMappings", l.GIDMappings}} {
			if len(m.list) > 0 {
				t.fault(m.path, `add {"type": "user"} to linux.namespaces`, "there is no user namespace to map")
			}
		}
		return
	}
	user.Map.UIDs = t.idMappings("linux.uidMappings", l.UIDMappings)
	user.Map.GIDs = t.idMappings("linux.gidMappings", l.GIDMappings)
	if user.Join != nil {
		return
	}
	for _, m := range []struct {
		path string
		list []specs.LinuxIDMapping
	}{{"linux.uidMappings", l.UIDMappings}, {"linux.gidMappings", l.GIDMappings}} {
		if len(m.list) == 0 {
			t.fault(m.path, `write [{"containerID": 0, "hostID": 100000, "size": 65536}]`, "it is missing, and a new user namespace needs it")
		}
	}
	if t.opt.Rootless {
		// A single id can be the starter's own, which it may map by itself; for
		// more it needs the tools.
		single := len(l.UIDMappings) == 1 && l.UIDMappings[0].Size == 1 && len(l.GIDMappings) == 1 && l.GIDMappings[0].Size == 1
		user.DenySetgroups, user.Tools = single, !single
	}
}

// maxMappings is how many lines the kernel takes (user_namespaces(7)).
const maxMappings = 340

func (t *translator) idMappings(path string, list []specs.LinuxIDMapping) []isolate.IDRange {
	if len(list) > maxMappings {
		t.fault(path, "", "it has %d entries, the kernel takes %d", len(list), maxMappings)
		return nil
	}
	var out []isolate.IDRange
	for i, m := range list {
		where := index(path, i)
		switch {
		case m.Size == 0:
			t.fault(where+".size", "", "it is 0 or missing")
		case uint64(m.ContainerID)+uint64(m.Size) > math.MaxUint32:
			t.fault(where, "", "the range goes beyond the largest id, %d", uint32(math.MaxUint32-1))
		case uint64(m.HostID)+uint64(m.Size) > math.MaxUint32:
			t.fault(where, "", "the range on the host goes beyond the largest id, %d", uint32(math.MaxUint32-1))
		}
		out = append(out, isolate.IDRange{Inside: m.ContainerID, Outside: m.HostID, Count: m.Size})
	}
	t.overlaps(path, out, "containerID", func(r isolate.IDRange) uint32 { return r.Inside })
	t.overlaps(path, out, "hostID", func(r isolate.IDRange) uint32 { return r.Outside })
	return out
}

// overlaps refuses ranges that the kernel would refuse with nothing but EINVAL.
func (t *translator) overlaps(path string, list []isolate.IDRange, side string, begin func(isolate.IDRange) uint32) {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(int64(begin(list[a])) - int64(begin(list[b]))) })
	for k := 1; k < len(order); k++ {
		a, b := list[order[k-1]], list[order[k]]
		if uint64(begin(a))+uint64(a.Count) > uint64(begin(b)) {
			first, second := min(order[k-1], order[k]), max(order[k-1], order[k])
			t.fault(index(path, second), "make the ranges disjoint", "its range of %s overlaps that of entry %d", side, first)
		}
	}
}

// mapped tells whether an id exists in the container. A mapping that is missing
// is a fault of its own.
func mapped(list []isolate.IDRange, id uint32) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(r isolate.IDRange) bool { return id >= r.Inside && uint64(id) < uint64(r.Inside)+uint64(r.Count) })
}

// timeNamespace takes the offsets of the two clocks that have one (time_namespaces(7)).
func (t *translator) timeNamespace() {
	const path = "linux.timeOffsets"
	ns := t.spec.Namespaces.Time
	if len(t.linux.TimeOffsets) == 0 {
		return
	}
	if ns == nil || ns.Join != nil {
		t.fault(path, `add {"type": "time"} to linux.namespaces, without a path`, "there is no new time namespace, and only such a one can be given offsets")
		return
	}
	for _, clock := range sortedKeys(t.linux.TimeOffsets) {
		o := t.linux.TimeOffsets[clock]
		where := key(path, clock)
		var to *time.Duration
		switch clock {
		case "monotonic":
			to = &ns.Monotonic
		case "boottime":
			to = &ns.Boottime
		default:
			t.fault(where, "only monotonic and boottime have an offset", "unknown clock")
			continue
		}
		// The kernel wants the clock to stay below half of what 64 bits of
		// nanoseconds hold (KTIME_SEC_MAX / 2).
		const limit = math.MaxInt64 / int64(time.Second) / 2
		switch {
		case o.Nanosecs >= 1e9:
			t.fault(where+".nanosecs", "", "%d is a second or more", o.Nanosecs)
		case o.Secs < -limit || o.Secs > limit:
			t.fault(where+".secs", "", "%d is not within ±%d, about 146 years", o.Secs, limit)
		default:
			*to = time.Duration(o.Secs)*time.Second + time.Duration(o.Nanosecs)
		}
	}
}

// spaceList is for messages.
func spaceList[T ~string](list []T) string { return strings.Trim(fmt.Sprint(list), "[]") }
