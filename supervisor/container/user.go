package container

import (
	"fmt"

	"berth/isolate"
	"berth/supervisor/idrange"
	"berth/units"
)

// userNamespace gives the Spec the unit's user namespace, if it has one, and
// has file systems show the ids on disk as ids inside.
func userNamespace(spec *isolate.Spec, u *units.Unit, env Environment) error {
	n := &u.Namespaces
	if env.Ordinary != nil {
		for i, m := range u.Mounts {
			if m.IDMap {
				return fmt.Errorf("cannot idmap the mount of %s on %s: that takes berth running as root", u.Name, spec.Mounts[i].Target)
			}
		}
		return nil
	}
	if n.User != "new" {
		return nil
	}
	var first uint32
	if automatic(n.UIDMap) || automatic(n.GIDMap) {
		if env.IDs == nil {
			return fmt.Errorf("cannot find ids for the user namespace of %s: there is no state directory", u.Name)
		}
		var err error
		if first, err = env.IDs(u.Name); err != nil {
			return fmt.Errorf("cannot find ids for the user namespace of %s: %w", u.Name, err)
		}
	}
	ids := isolate.IDMap{UIDs: idRanges(n.UIDMap, first), GIDs: idRanges(n.GIDMap, first)}
	spec.Namespaces.User = &isolate.UserNamespace{Map: ids}
	if u.RootFS.IDMap {
		spec.RootFS.IDMap = &ids
	}
	for i, m := range u.Mounts {
		if m.IDMap || m.Type == "volume" {
			mapped := ids
			mapped.Recursive = spec.Mounts[i].Recursive
			spec.Mounts[i].IDMap = &mapped
		}
	}
	return nil
}

func automatic(m *units.IDMap) bool { return m == nil || m.Auto }

func idRanges(m *units.IDMap, first uint32) []isolate.IDRange {
	if automatic(m) {
		return []isolate.IDRange{{Inside: 0, Outside: first, Count: idrange.Size}}
	}
	var out []isolate.IDRange
	for _, r := range m.Ranges {
		out = append(out, isolate.IDRange{Inside: uint32(r.Inside), Outside: uint32(r.Outside), Count: uint32(r.Count)})
	}
	return out
}
