package runtime

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// groupOwner gives the user, as this process numbers them, whom the container's
// v2 group is handed to: that of its process, if the container sees its groups
// in a namespace of their own and may write them, by the OCI specification's
// section "Cgroup ownership". ok is false for all others.
func groupOwner(s *specs.Spec) (uid int, ok bool) {
	if s.Linux == nil || s.Process == nil {
		return 0, false
	}
	namespace := func(kind specs.LinuxNamespaceType) (path string, is bool) {
		for _, n := range s.Linux.Namespaces {
			if n.Type == kind {
				return n.Path, true
			}
		}
		return "", false
	}
	if path, is := namespace(specs.CgroupNamespace); !is || path != "" {
		return 0, false
	}
	if !slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
		return m.Source == "cgroup" && m.Destination == "/sys/fs/cgroup" && !slices.Contains(m.Options, "ro")
	}) {
		return 0, false
	}
	path, is := namespace(specs.UserNamespace)
	switch inside := s.Process.User.UID; {
	case !is:
		uid = int(inside)
	case path != "": // whom it maps to is not known
		return 0, false
	default:
		i := slices.IndexFunc(s.Linux.UIDMappings, func(m specs.LinuxIDMapping) bool {
			return inside >= m.ContainerID && inside-m.ContainerID < m.Size
		})
		if i < 0 {
			return 0, false
		}
		m := s.Linux.UIDMappings[i]
		uid = int(m.HostID + (inside - m.ContainerID))
	}
	return uid, uid != 0
}
