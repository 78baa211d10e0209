package container

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/isolate"
	"berth/isolate/user"
	"berth/units"

	"github.com/moby/sys/capability"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// OCI gives the unit as an OCI runtime config.json, for those who move a unit
// to another runtime. What cannot be said there stands in annotations:
//   - names of users and groups: berth.user, berth.group. On the host's root and
//     in a directory they are looked up; where they cannot be, the process is root's;
//   - the host's root, a root file system of layers, and one whose writes are
//     kept apart: berth.layers and berth.writable; it is to be mounted on the
//     bundle's rootfs ("mount --bind / rootfs" for the host's);
//   - a root file system whose owners on disk are ids inside: berth.rootfs-idmap;
//   - namespaces of other units, which are new ones here: berth.namespace.KIND;
//   - pre-start programs and berth's own init: berth.pre-start, berth.init;
//   - Landlock rules: berth.landlock, in JSON.
func OCI(u *units.Unit, env Environment) ([]byte, error) {
	c, err := Build(u, env)
	if err != nil {
		return nil, err
	}
	s := c.Spec
	spec := &oci.Spec{
		Version:     oci.Version,
		Hostname:    s.Hostname,
		Root:        ociRoot(&s.RootFS),
		Process:     ociProcess(s),
		Mounts:      ociMounts(s),
		Annotations: annotations(s),
		Linux: &oci.Linux{
			Sysctl:        s.Sysctl,
			Namespaces:    ociNamespaces(&s.Namespaces),
			TimeOffsets:   ociOffsets(s.Namespaces.Time),
			CgroupsPath:   "/berth.slice/" + u.Name + ".service",
			Resources:     ociResources(&c.Limits),
			MaskedPaths:   append(maskedPaths(s), s.MaskedPaths...),
			ReadonlyPaths: append(readonlyPaths(), s.ReadonlyPaths...),
		},
	}
	if n := s.Namespaces.User; n != nil {
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = ociIDs(n.Map.UIDs), ociIDs(n.Map.GIDs)
	}
	for i, d := range s.Devices {
		rule := c.Limits.Devices[i] // Limits begins with those of the unit's devices
		spec.Linux.Devices = append(spec.Linux.Devices, oci.LinuxDevice{Path: d.Path, Type: string(rule.Type), Major: rule.Major, Minor: rule.Minor})
	}
	if spec.Linux.Seccomp, err = ociSeccomp(u, spec); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot encode config.json: %w", err)
	}
	return append(text, '\n'), nil
}

func annotations(s *isolate.Spec) map[string]string {
	out := map[string]string{"berth.unit": s.Name}
	set := func(key, value string) {
		if value != "" {
			out["berth."+key] = value
		}
	}
	set("user", s.Process.User)
	set("group", s.Process.Group)
	set("layers", strings.Join(s.RootFS.Layers, ":"))
	switch s.RootFS.Writable {
	case isolate.Ephemeral:
		set("writable", "ephemeral")
	case isolate.Persistent:
		set("writable", "persistent")
	}
	if rootPath(&s.RootFS) == bundleRoot && len(s.RootFS.Layers) == 0 {
		set("layers", cmp.Or(s.RootFS.Path, "/"))
	}
	for _, n := range namespaceList(&s.Namespaces) {
		if n.ns.Process != "" {
			set("namespace."+string(n.kind), "unit:"+n.ns.Process)
		}
	}
	if len(s.PreStart) > 0 {
		text, _ := json.Marshal(s.PreStart) // strings only
		set("pre-start", string(text))
	}
	if s.Init {
		set("init", "true")
	}
	if s.Process.Landlock != nil {
		text, _ := json.Marshal(s.Process.Landlock) // strings, numbers and booleans only
		set("landlock", string(text))
	}
	if s.RootFS.IDMap != nil {
		set("rootfs-idmap", "true")
	}
	return out
}

// maskedPaths and readonlyPaths are what isolate does by itself and another
// runtime must be told.
func maskedPaths(s *isolate.Spec) []string {
	out := []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
	if !s.RootFS.Host {
		return out
	}
	for _, p := range []string{
		"/boot", "/etc/gshadow", "/etc/gshadow-", "/etc/shadow", "/etc/shadow-",
		"/etc/ssh/ssh_host_dsa_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_rsa_key",
		"/etc/ssl/private", "/home", "/lost+found", "/root", "/var/lib/berth",
	} {
		// Other runtimes mask last: what the unit mounts there would be hidden.
		if !slices.ContainsFunc(s.Mounts, func(m isolate.Mount) bool { return m.Target == p || strings.HasPrefix(m.Target, p+"/") }) {
			out = append(out, p)
		}
	}
	return out
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// bundleRoot is the root file system's place in a bundle, for one that config.json
// cannot describe.
const bundleRoot = "rootfs"

// rootPath gives a directory only where it is not written. The host's root is
// none: pivot_root(2) wants a mount other than the present root (EBUSY), so it
// is to be bound to the bundle's rootfs.
func rootPath(r *isolate.RootFS) string {
	if r.Path != "" && r.Writable == isolate.ReadOnly {
		return r.Path
	}
	return bundleRoot
}

func ociRoot(r *isolate.RootFS) *oci.Root {
	return &oci.Root{Path: rootPath(r), Readonly: r.Writable == isolate.ReadOnly}
}

func ociProcess(s *isolate.Spec) *oci.Process {
	p := &s.Process
	out := &oci.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Dir, Terminal: p.Terminal,
		NoNewPrivileges: p.NoNewPrivileges,
		ApparmorProfile: p.AppArmor, SelinuxLabel: p.SELinux,
		Capabilities: &oci.LinuxCapabilities{
			Bounding: capabilityNames(p.Capabilities.Bounding), Effective: capabilityNames(p.Capabilities.Effective),
			Permitted: capabilityNames(p.Capabilities.Permitted), Inheritable: capabilityNames(p.Capabilities.Inheritable),
			Ambient: capabilityNames(p.Capabilities.Ambient),
		},
		OOMScoreAdj: p.Scheduling.OOMScoreAdjust,
	}
	if !slices.ContainsFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		out.Env = append(slices.Clone(p.Env), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	out.User = ociUser(s)
	out.Scheduler, out.IOPriority = ociScheduling(&p.Scheduling)
	for _, l := range p.Rlimits {
		out.Rlimits = append(out.Rlimits, oci.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(l.Name), Soft: l.Soft, Hard: l.Hard})
	}
	return out
}

// ociUser gives the user by numbers. Names are looked up where the root file
// system is one directory, which has the user's files; else they are root's.
func ociUser(s *isolate.Spec) oci.User {
	p := &s.Process
	umask := p.Umask
	out := oci.User{Umask: &umask}
	if found, err := lookup(s); err == nil {
		out.UID, out.GID, out.AdditionalGids = found.UID, found.GID, found.Groups
		return out
	}
	number := func(name string, otherwise uint32) uint32 {
		if n, err := strconv.ParseUint(name, 10, 32); err == nil {
			return uint32(n)
		}
		return otherwise
	}
	out.UID = number(p.User, 0)
	out.GID = number(p.Group, out.UID)
	for _, g := range p.Groups {
		if n := number(g, 0); n != 0 {
			out.AdditionalGids = append(out.AdditionalGids, n)
		}
	}
	return out
}

func lookup(s *isolate.Spec) (*user.User, error) {
	dir := s.RootFS.Path
	if s.RootFS.Host {
		dir = "/"
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	return user.Lookup(root, s.Process.User, s.Process.Group, s.Process.Groups)
}

func ociScheduling(s *isolate.Scheduling) (*oci.Scheduler, *oci.LinuxIOPriority) {
	var scheduler *oci.Scheduler
	if s.Policy != nil || s.Nice != nil {
		scheduler = &oci.Scheduler{Policy: oci.SchedOther, Priority: int32(s.Priority)}
		if s.Policy != nil {
			scheduler.Policy = map[int]oci.LinuxSchedulerPolicy{
				unix.SCHED_NORMAL: oci.SchedOther, unix.SCHED_FIFO: oci.SchedFIFO, unix.SCHED_RR: oci.SchedRR,
				unix.SCHED_BATCH: oci.SchedBatch, unix.SCHED_IDLE: oci.SchedIdle,
			}[*s.Policy]
		}
		if s.Nice != nil {
			scheduler.Nice = int32(*s.Nice)
		}
	}
	if s.IOPriority == nil {
		return scheduler, nil
	}
	class := map[int]oci.IOPriorityClass{1: oci.IOPRIO_CLASS_RT, 2: oci.IOPRIO_CLASS_BE, 3: oci.IOPRIO_CLASS_IDLE}[*s.IOPriority>>ioClassShift]
	return scheduler, &oci.LinuxIOPriority{Class: class, Priority: *s.IOPriority & (1<<ioClassShift - 1)}
}

func capabilityNames(mask uint64) []string {
	var out []string
	for ; mask != 0; mask &= mask - 1 {
		out = append(out, "CAP_"+strings.ToUpper(capability.Cap(bits.TrailingZeros64(mask)).String()))
	}
	return out
}

type kindOf struct {
	kind oci.LinuxNamespaceType
	ns   isolate.Namespace
}

func namespaceList(n *isolate.Namespaces) []kindOf {
	list := []kindOf{{oci.PIDNamespace, n.PID}, {oci.UTSNamespace, n.UTS}, {oci.IPCNamespace, n.IPC}, {oci.CgroupNamespace, n.Cgroup}, {oci.NetworkNamespace, n.Network}}
	switch t := n.Time; {
	case t == nil:
	case t.Join != nil:
		list = append(list, kindOf{oci.TimeNamespace, *t.Join})
	default:
		list = append(list, kindOf{kind: oci.TimeNamespace})
	}
	return list
}

func ociNamespaces(n *isolate.Namespaces) []oci.LinuxNamespace {
	out := []oci.LinuxNamespace{{Type: oci.MountNamespace}}
	for _, e := range namespaceList(n) {
		if e.ns.Mode != isolate.NSHost {
			out = append(out, oci.LinuxNamespace{Type: e.kind, Path: e.ns.Path})
		}
	}
	if n.User != nil {
		out = append(out, oci.LinuxNamespace{Type: oci.UserNamespace})
	}
	return out
}

// ociOffsets are the clocks of a new time namespace.
func ociOffsets(t *isolate.TimeNamespace) map[string]oci.LinuxTimeOffset {
	if t == nil {
		return nil
	}
	out := map[string]oci.LinuxTimeOffset{}
	for clock, by := range map[string]time.Duration{"monotonic": t.Monotonic, "boottime": t.Boottime} {
		if by != 0 {
			sec := by / time.Second
			if by%time.Second < 0 {
				sec--
			}
			out[clock] = oci.LinuxTimeOffset{Secs: int64(sec), Nanosecs: uint32(by - sec*time.Second)}
		}
	}
	return out
}

func ociIDs(ranges []isolate.IDRange) []oci.LinuxIDMapping {
	var out []oci.LinuxIDMapping
	for _, r := range ranges {
		out = append(out, oci.LinuxIDMapping{ContainerID: r.Inside, HostID: r.Outside, Size: r.Count})
	}
	return out
}

func ociMounts(s *isolate.Spec) []oci.Mount {
	out := []oci.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
	if s.RootFS.Host {
		for _, m := range [][2]string{{"/tmp", "mode=1777"}, {"/var/tmp", "mode=1777"}, {"/run", "mode=755"}} {
			out = append(out, oci.Mount{Destination: m[0], Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", m[1]}})
		}
	}
	for _, m := range s.Mounts {
		o := oci.Mount{Destination: m.Target, Source: m.Source}
		switch m.Type {
		case isolate.Tmpfs:
			o.Type, o.Source = "tmpfs", "tmpfs"
			if m.Size > 0 {
				o.Options = append(o.Options, fmt.Sprintf("size=%d", m.Size))
			}
			o.Options = append(o.Options, fmt.Sprintf("mode=%o", cmp.Or(m.Mode, 0o755)))
			for _, owner := range [][2]string{{"uid", m.User}, {"gid", cmp.Or(m.Group, m.User)}} {
				if _, err := strconv.ParseUint(owner[1], 10, 32); err == nil {
					o.Options = append(o.Options, owner[0]+"="+owner[1])
				}
			}
		default:
			o.Type = "bind"
			o.Options = append(o.Options, map[bool]string{true: "rbind", false: "bind"}[m.Recursive])
			o.Options = append(o.Options, map[uint64]string{0: "rprivate", unix.MS_PRIVATE: "rprivate", unix.MS_SLAVE: "rslave", unix.MS_SHARED: "rshared"}[m.Propagation])
		}
		for _, f := range []struct {
			set  bool
			name string
		}{{m.ReadOnly, "ro"}, {m.NoSuid, "nosuid"}, {m.NoDev, "nodev"}, {m.NoExec, "noexec"}, {m.NoAtime, "noatime"}} {
			if f.set {
				o.Options = append(o.Options, f.name)
			}
			if f.set && m.Recursive { // the plain one is for the mount itself only
				o.Options = append(o.Options, "r"+f.name)
			}
		}
		if m.IDMap != nil {
			o.UIDMappings, o.GIDMappings = ociIDs(m.IDMap.UIDs), ociIDs(m.IDMap.GIDs)
			o.Options = append(o.Options, map[bool]string{true: "ridmap", false: "idmap"}[m.IDMap.Recursive])
		}
		out = append(out, o)
	}
	return out
}
