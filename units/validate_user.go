package units

import (
	"fmt"
	"math"
	"strings"
)

// maxIDRanges is how many ranges the kernel takes in a map (user_namespaces(7)).
const maxIDRanges = 340

// userNamespace checks the keys that a user namespace gives a meaning, and its maps.
func (v *validator) userNamespace() {
	ns := v.unit.Namespaces
	if ns.User != "new" {
		const why = `without namespaces.user = "new"`
		v.useless(why, "namespaces.uid-map", "namespaces.gid-map")
		if !v.unit.RootFS.IDMap {
			v.useless(why, "rootfs.idmap")
		}
		for i, m := range v.unit.Mounts {
			if m.IDMap {
				v.rep.fail("U031", v.item("mount", i, "idmap"), "leave it out", "mount.idmap has no meaning %s", why)
			}
		}
		return
	}
	for i, m := range v.unit.Mounts {
		if m.IDMap && m.Type != "bind" {
			v.rep.fail("U031", v.item("mount", i, "idmap"), "leave it out", "mount.idmap is for a bind mount; %s", map[string]string{
				"tmpfs": "a tmpfs is made with the ids inside", "volume": "a volume always has the ids inside on disk"}[m.Type])
		}
	}
	for _, kind := range namespaceKinds(v.unit) {
		if kind.name == "pid" && strings.HasPrefix(kind.value, "path:") {
			v.rep.add("U031", Error, v.at("namespaces.pid"), `write "new", "host" or "unit:NAME"`, "with a user namespace of its own the unit can join a PID namespace of another unit only: it would be set up before the eyes of processes that nothing is known of",
				v.at("namespaces.user").position("the user namespace"))
		}
		if kind.name == "time" && kind.value != "new" && kind.value != "host" {
			v.rep.add("U031", Error, v.at("namespaces.time"), `write "new" or "host"`, "with a user namespace of its own the unit cannot join a time namespace, which belongs to another one",
				v.at("namespaces.user").position("the user namespace"))
		}
	}
	v.idMap("namespaces.uid-map", "user", ns.UIDMap)
	v.idMap("namespaces.gid-map", "group", ns.GIDMap)
}

// idMap holds a map to what the kernel takes: no id twice on either side, none
// beyond the last, at most maxIDRanges ranges; and user 0 is in it.
func (v *validator) idMap(key, what string, m *IDMap) {
	if m == nil || m.Auto {
		return
	}
	if len(m.Ranges) > maxIDRanges {
		v.rep.fail("U048", v.at(key), "join ranges that follow each other", "%s has %d ranges, the kernel takes at most %d", key, len(m.Ranges), maxIDRanges)
		return
	}
	root := false
	for i, r := range m.Ranges {
		root = root || r.Inside == 0 && r.Count > 0
		for _, side := range []struct {
			name  string
			first func(IDRange) int64
		}{{"inside", func(r IDRange) int64 { return r.Inside }}, {"outside", func(r IDRange) int64 { return r.Outside }}} {
			first := side.first(r)
			if first+r.Count > math.MaxUint32 {
				v.rep.fail("U048", v.item(key, i, "count"), "", "the %s ids from %d on %s go beyond %d", what, first, side.name, uint32(math.MaxUint32-1))
				continue
			}
			for j, other := range m.Ranges[:i] {
				if from := side.first(other); first < from+other.Count && from < first+r.Count {
					v.rep.add("U048", Error, v.item(key, i, side.name), "ranges of one map must not overlap",
						fmt.Sprintf("the %s id %d is mapped twice %s", what, max(first, from), side.name), v.item(key, j, side.name).position("first mapped here"))
					break
				}
			}
		}
	}
	if !root {
		v.rep.fail("U048", v.at(key), "begin with { inside = 0, outside = …, count = … }", "%s %s", key, map[bool]string{true: "maps nothing", false: "does not map id 0, which sets the container up"}[len(m.Ranges) == 0])
	}
}
