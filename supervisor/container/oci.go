package container

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"strings"

	"berth/isolate"
	"berth/isolate/cgroup"
	"berth/units"

	"github.com/moby/sys/capability"
	oci "github.com/opencontainers/runtime-spec/specs-go"
)

// OCI gives the unit as an OCI runtime config.json, for those who move a unit
// to another runtime. User names cannot be said there (runtime-spec, "User"):
// the user is given by id where the unit does, else it is root's and the name
// stands in an annotation.
func OCI(u *units.Unit, env Environment) ([]byte, error) {
	c, err := Build(u, env)
	if err != nil {
		return nil, err
	}
	s := c.Spec
	spec := &oci.Spec{
		Version:  oci.Version,
		Hostname: s.Hostname,
		Root:     &oci.Root{Path: rootPath(&s.RootFS), Readonly: s.RootFS.Writable == isolate.ReadOnly},
		Process:  ociProcess(s),
		Mounts:   ociMounts(s),
		Annotations: map[string]string{
			"berth.unit": u.Name,
		},
		Linux: &oci.Linux{
			Sysctl:        s.Sysctl,
			Namespaces:    ociNamespaces(&s.Namespaces),
			CgroupsPath:   "/berth.slice/" + u.Name + ".service",
			Resources:     ociResources(&c.Limits),
			MaskedPaths:   append(maskedPaths(), s.MaskedPaths...),
			ReadonlyPaths: append(readonlyPaths(), s.ReadonlyPaths...),
		},
	}
	if s.Process.User != "" {
		spec.Annotations["berth.user"] = s.Process.User
	}
	if len(s.RootFS.Layers) > 0 {
		spec.Annotations["berth.layers"] = strings.Join(s.RootFS.Layers, ":")
	}
	text, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot encode config.json: %w", err)
	}
	return append(text, '\n'), nil
}

// maskedPaths and readonlyPaths are what isolate does by itself and another
// runtime must be told.
func maskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

func rootPath(r *isolate.RootFS) string {
	switch {
	case r.Host:
		return "/"
	case r.Path != "":
		return r.Path
	}
	return "rootfs"
}

func ociProcess(s *isolate.Spec) *oci.Process {
	p := &s.Process
	out := &oci.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Dir, Terminal: p.Terminal,
		NoNewPrivileges: p.NoNewPrivileges,
		Capabilities: &oci.LinuxCapabilities{
			Bounding: capabilityNames(p.Capabilities.Bounding), Effective: capabilityNames(p.Capabilities.Effective),
			Permitted: capabilityNames(p.Capabilities.Permitted), Inheritable: capabilityNames(p.Capabilities.Inheritable),
			Ambient: capabilityNames(p.Capabilities.Ambient),
		},
		OOMScoreAdj: p.Scheduling.OOMScoreAdjust,
	}
	umask := p.Umask
	out.User.Umask = &umask
	fmt.Sscanf(p.User, "%d", &out.User.UID)
	fmt.Sscanf(p.Group, "%d", &out.User.GID)
	for _, l := range p.Rlimits {
		out.Rlimits = append(out.Rlimits, oci.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(l.Name), Soft: l.Soft, Hard: l.Hard})
	}
	return out
}

func capabilityNames(mask uint64) []string {
	var out []string
	for ; mask != 0; mask &= mask - 1 {
		out = append(out, "CAP_"+strings.ToUpper(capability.Cap(bits.TrailingZeros64(mask)).String()))
	}
	return out
}

func ociNamespaces(n *isolate.Namespaces) []oci.LinuxNamespace {
	out := []oci.LinuxNamespace{{Type: oci.MountNamespace}}
	for _, e := range []struct {
		kind oci.LinuxNamespaceType
		ns   isolate.Namespace
	}{{oci.PIDNamespace, n.PID}, {oci.UTSNamespace, n.UTS}, {oci.IPCNamespace, n.IPC}, {oci.CgroupNamespace, n.Cgroup}, {oci.NetworkNamespace, n.Network}} {
		if e.ns.Mode != isolate.NSHost {
			out = append(out, oci.LinuxNamespace{Type: e.kind, Path: e.ns.Path})
		}
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
	for _, m := range s.Mounts {
		o := oci.Mount{Destination: m.Target, Source: m.Source}
		switch m.Type {
		case isolate.Tmpfs:
			o.Type, o.Source = "tmpfs", "tmpfs"
			if m.Size > 0 {
				o.Options = append(o.Options, fmt.Sprintf("size=%d", m.Size))
			}
			if m.Mode != 0 {
				o.Options = append(o.Options, fmt.Sprintf("mode=%o", m.Mode))
			}
		default:
			o.Type = "bind"
			o.Options = append(o.Options, map[bool]string{true: "rbind", false: "bind"}[m.Recursive])
		}
		for _, f := range []struct {
			set  bool
			name string
		}{{m.ReadOnly, "ro"}, {m.NoSuid, "nosuid"}, {m.NoDev, "nodev"}, {m.NoExec, "noexec"}, {m.NoAtime, "noatime"}} {
			if f.set {
				o.Options = append(o.Options, f.name)
			}
		}
		out = append(out, o)
	}
	return out
}

func ociResources(l *cgroup.Limits) *oci.LinuxResources {
	r := &oci.LinuxResources{Devices: []oci.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	for _, d := range l.Devices {
		major, minor := d.Major, d.Minor
		access := ""
		for _, a := range []struct {
			set  bool
			name string
		}{{d.Read, "r"}, {d.Write, "w"}, {d.Mknod, "m"}} {
			if a.set {
				access += a.name
			}
		}
		r.Devices = append(r.Devices, oci.LinuxDeviceCgroup{Allow: d.Allow, Type: string(d.Type), Major: &major, Minor: &minor, Access: access})
	}
	if l.MemoryMax != nil || l.MemorySwapMax != nil {
		r.Memory = &oci.LinuxMemory{Limit: l.MemoryMax}
		if l.MemoryMax != nil && l.MemorySwapMax != nil && *l.MemoryMax >= 0 && *l.MemorySwapMax >= 0 {
			sum := *l.MemoryMax + *l.MemorySwapMax // OCI's swap is memory and swap together
			r.Memory.Swap = &sum
		}
	}
	if l.PidsMax != nil {
		r.Pids = &oci.LinuxPids{Limit: l.PidsMax}
	}
	if l.CPUMax != nil || l.CpusetCPUs != "" || l.CpusetMems != "" {
		r.CPU = &oci.LinuxCPU{Cpus: l.CpusetCPUs, Mems: l.CpusetMems}
		if l.CPUMax != nil && *l.CPUMax > 0 {
			period := uint64(100000)
			quota := *l.CPUMax * int64(period) / 1000
			r.CPU.Period, r.CPU.Quota = &period, &quota
		}
	}
	unified := map[string]string{}
	for _, v := range []struct {
		key   string
		value *int64
	}{{"memory.high", l.MemoryHigh}, {"memory.low", l.MemoryLow}, {"memory.min", l.MemoryMin}} {
		if v.value != nil {
			unified[v.key] = number(*v.value)
		}
	}
	if l.CPUWeight != nil {
		unified["cpu.weight"] = fmt.Sprint(*l.CPUWeight)
	}
	if l.IOWeight != nil {
		unified["io.weight"] = fmt.Sprint(*l.IOWeight)
	}
	if l.OOMGroup {
		unified["memory.oom.group"] = "1"
	}
	if len(unified) > 0 {
		r.Unified = unified
	}
	return r
}

func number(n int64) string {
	if n < 0 {
		return "max"
	}
	return fmt.Sprint(n)
}
