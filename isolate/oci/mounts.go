package oci

import (
	"path"
	"slices"
	"strings"

	"berth/isolate"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mountOptions are the options of one mount, sorted by what they are for.
type mountOptions struct {
	bind, recursive, remount bool
	own, below               attributeChange // of the mount itself; of it and all below it
	propagation              uint64
	idmap, ridmap            bool
	copyUp                   bool
	superBlock               []string
	data                     []string // for the file system
}

func (t *translator) mounts() {
	for i := range t.config.Mounts {
		where := index("mounts", i)
		m := &t.config.Mounts[i]
		if out, ok := t.mount(where, m); ok {
			t.spec.Mounts = append(t.spec.Mounts, out)
		}
	}
}

func (t *translator) mount(where string, m *specs.Mount) (isolate.Mount, bool) {
	var out isolate.Mount
	faults := len(t.faults) + t.left
	out.Target = t.destination(where+".destination", m.Destination)
	o := t.options(where, m)
	out.Set, out.Clear = o.own.set, o.own.clear
	out.SetRecursive, out.ClearRecursive = o.below.set, o.below.clear
	out.Propagation = o.propagation
	switch {
	case o.remount && !o.bind:
		t.remount(where, m, o, &out)
	case o.bind || m.Type == "bind":
		t.bind(where, m, o, &out)
	default:
		t.fileSystem(where, m, o, &out)
	}
	t.idmap(where, m, o, &out)
	return out, faults == len(t.faults)+t.left
}

func (t *translator) destination(where, p string) string {
	switch {
	case p == "":
		t.fault(where, "", "it is missing")
		return ""
	case !path.IsAbs(p):
		t.warn(where, "%s is relative, which is deprecated; it is taken relative to /", quote(p))
		p = "/" + p
	}
	t.checkPath(where, p)
	p = path.Clean(p)
	if p == "/" {
		t.fault(where, "give root.path instead", "it is the root itself")
	}
	return p
}

// options sorts the options; of contradicting ones the last one counts.
func (t *translator) options(where string, m *specs.Mount) mountOptions {
	var o mountOptions
	for i, name := range m.Options {
		at := index(where+".options", i)
		if strings.ContainsRune(name, 0) {
			t.fault(at, "", "%s has a NUL in it", quote(name))
			continue
		}
		if a, ok := attributes[name]; ok {
			o.own.apply(a)
			continue
		}
		if a, ok := attributes[strings.TrimPrefix(name, "r")]; ok && strings.HasPrefix(name, "r") {
			o.below.apply(a)
			continue
		}
		if flag, ok := propagations[name]; ok {
			o.propagation = flag
			continue
		}
		switch name {
		case "bind":
			o.bind = true
		case "rbind":
			o.bind, o.recursive = true, true
		case "remount":
			o.remount = true
		case "idmap":
			o.idmap = true
		case "ridmap":
			o.idmap, o.ridmap = true, true
		case "tmpcopyup":
			o.copyUp = true
		default:
			t.otherOption(&o, name)
		}
	}
	return o
}

func (t *translator) otherOption(o *mountOptions, name string) {
	if _, ok := superBlock[name]; ok {
		o.superBlock = append(slices.DeleteFunc(o.superBlock, func(s string) bool { return s == name }), name)
		return
	}
	for set, unset := range superBlock {
		if name == unset {
			o.superBlock = slices.DeleteFunc(o.superBlock, func(s string) bool { return s == set })
			return
		}
	}
	if name == "" || slices.Contains(noEffect, name) || slices.ContainsFunc(noEffectPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
		return
	}
	o.data = append(o.data, name)
}

// bindAttributes are those that a bind mount takes over from its source where it
// is given none at all. With any given it has those and no others, as MS_REMOUNT
// of mount(2) makes it; only the access time then stays as it is.
const bindAttributes = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSYMFOLLOW

// bind translates a bind mount. Options of a file system have no effect on one,
// with mount(2) neither.
func (t *translator) bind(where string, m *specs.Mount, o mountOptions, out *isolate.Mount) {
	out.Type = isolate.Bind
	out.Recursive = o.recursive
	if given := o.own.set | o.own.clear; given != 0 {
		out.ClearIfAllowed = bindAttributes &^ given
		if t.spec.Namespaces.User != nil || t.opt.Rootless {
			// What the kernel would lock for a user namespace stays.
			out.ClearIfAllowed &= unix.MOUNT_ATTR_NOSYMFOLLOW
		}
	}
	if m.Source == "" {
		t.fault(where+".source", "", "it is missing")
	} else {
		out.Source = t.path(where+".source", m.Source)
	}
	if o.copyUp {
		t.fault(where+".options", "leave it out", "tmpcopyup is for tmpfs only")
	}
	if ignored := append(o.superBlock, o.data...); len(ignored) > 0 {
		t.warn(where+".options", "no effect on a bind mount has %s", quote(strings.Join(ignored, ",")))
	}
}

// remount changes what is mounted already: the mount, and with data its file system.
func (t *translator) remount(where string, m *specs.Mount, o mountOptions, out *isolate.Mount) {
	out.Type = isolate.Remount
	out.Data = append(o.superBlock, o.data...)
	if o.copyUp {
		t.fault(where+".options", "leave it out", "tmpcopyup does not go with remount")
	}
}

// fileSystem translates a mount of a new file system.
func (t *translator) fileSystem(where string, m *specs.Mount, o mountOptions, out *isolate.Mount) {
	if m.Type == "" || m.Type == "none" {
		t.fault(where+".type", `write a type such as "tmpfs", or "bind" or "rbind" among the options`, "%s is not a file system, and it is not a bind mount", quote(m.Type))
		return
	}
	if strings.ContainsAny(m.Type, "\x00/") || len(m.Type) > 64 {
		t.fault(where+".type", "see /proc/filesystems", "%s is not a file system", quote(m.Type))
	}
	t.checkPath(where+".source", m.Source)
	if o.copyUp && m.Type != "tmpfs" {
		t.fault(where+".options", "leave it out", "tmpcopyup is for tmpfs only")
	}
	out.Type, out.FSType, out.Source = isolate.FileSystem, m.Type, m.Source
	out.CopyUp = o.copyUp
	out.Data = append(o.superBlock, o.data...)
	switch m.Type {
	case "cgroup":
		// The form that the host has, as engines mean it also on v2.
		out.Type, out.FSType, out.Source = isolate.CgroupFS, "", ""
		if len(out.Data) > 0 {
			t.fault(where+".options", "leave it out", "the groups are mounted without options of the file system such as %s", quote(strings.Join(out.Data, ",")))
		}
	case "proc", "sysfs":
		// Their place is what masks and sysctls rely on: no link may lead elsewhere.
		out.NoSymlinks = true
	case "cgroup2", "mqueue":
	default:
		if label := t.linux.MountLabel; label != "" && t.labelled() {
			out.Data = append(out.Data, "context="+label)
		}
	}
}

// idmap gives the mapping that idmap and ridmap ask for: the mount's own, or
// that of the container's user namespace.
func (t *translator) idmap(where string, m *specs.Mount, o mountOptions, out *isolate.Mount) {
	given := len(m.UIDMappings)+len(m.GIDMappings) > 0
	if !o.idmap && !given {
		return
	}
	if out.Type == isolate.Remount || out.Type == isolate.CgroupFS {
		t.fault(where, "leave the mapping out", "only bind mounts and new file systems can be idmapped")
		return
	}
	ids := &isolate.IDMap{Recursive: o.ridmap}
	out.IDMap = ids
	user := t.spec.Namespaces.User
	switch {
	case given:
		for _, l := range []struct {
			path string
			list []specs.LinuxIDMapping
			to   *[]isolate.IDRange
		}{{where + ".uidMappings", m.UIDMappings, &ids.UIDs}, {where + ".gidMappings", m.GIDMappings, &ids.GIDs}} {
			if len(l.list) == 0 {
				t.fault(l.path, "give uidMappings and gidMappings", "it is missing")
			}
			*l.to = t.idMappings(l.path, l.list)
		}
	case user == nil:
		t.fault(where+".options", "give uidMappings and gidMappings", "idmap needs a mapping: the mount has none, and the container has no user namespace")
	case user.Join != nil:
		ids.Joined = true
	default:
		ids.UIDs, ids.GIDs = user.Map.UIDs, user.Map.GIDs
	}
}
