package oci

import (
	"errors"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// faultsOf gives the faults of an error by their paths.
func faultsOf(err error) map[string]*Fault {
	out := map[string]*Fault{}
	var walk func(error)
	walk = func(err error) {
		if f, ok := err.(*Fault); ok {
			out[f.Path] = f
			return
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				walk(one)
			}
		}
	}
	walk(err)
	return out
}

// TestFaults holds that a bad value is refused by its path, and nothing else is.
func TestFaults(t *testing.T) {
	mount := func(m specs.Mount) func(*specs.Spec) {
		return func(c *specs.Spec) {
			c.Mounts = []specs.Mount{{Destination: "/a", Source: "/", Options: []string{"bind"}}, m}
		}
	}
	process := func(edit func(*specs.Process)) func(*specs.Spec) { return func(c *specs.Spec) { edit(c.Process) } }
	linux := func(edit func(*specs.Linux)) func(*specs.Spec) { return func(c *specs.Spec) { edit(c.Linux) } }
	device := func(d specs.LinuxDevice) func(*specs.Spec) {
		return func(c *specs.Spec) { c.Linux.Devices = []specs.LinuxDevice{d} }
	}
	hook := func(h specs.Hook) func(*specs.Spec) {
		return func(c *specs.Spec) { c.Hooks = &specs.Hooks{StartContainer: []specs.Hook{h}} }
	}
	scheduler := func(s specs.Scheduler) func(*specs.Spec) {
		return func(c *specs.Spec) { c.Process.Scheduler = &s }
	}
	affinity := func(list string) func(*specs.Spec) {
		return func(c *specs.Spec) { c.Process.ExecCPUAffinity = &specs.CPUAffinity{Final: list} }
	}
	memory := func(mode, nodes string, flags ...specs.MemoryPolicyFlagType) func(*specs.Spec) {
		return func(c *specs.Spec) {
			c.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MemoryPolicyModeType(mode), Nodes: nodes, Flags: flags}
		}
	}
	devices := func(names ...string) func(*specs.Spec) {
		return func(c *specs.Spec) {
			c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
			c.Linux.NetDevices = map[string]specs.LinuxNetDevice{}
			for i := 0; i < len(names); i += 2 {
				c.Linux.NetDevices[names[i]] = specs.LinuxNetDevice{Name: names[i+1]}
			}
		}
	}
	long := strings.Repeat("x", 5000)
	one := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 5, Size: 1}}
	for _, c := range []struct {
		base       func() *specs.Spec
		edit       func(*specs.Spec)
		path, says string
	}{
		{small, func(c *specs.Spec) { c.Version = "" }, "ociVersion", "missing"},
		{small, func(c *specs.Spec) { c.Version = "invalid" }, "ociVersion", `"invalid" is not a version`},
		{small, func(c *specs.Spec) { c.Version = "0.9.0" }, "ociVersion", "only 1.x"},
		{small, func(c *specs.Spec) { c.Version = "1.0" }, "ociVersion", "is not a version"},
		{small, func(c *specs.Spec) { c.Windows = &specs.Windows{} }, "windows", "another platform"},
		{small, func(c *specs.Spec) { c.Solaris = &specs.Solaris{} }, "solaris", "another platform"},
		{small, func(c *specs.Spec) { c.VM = &specs.VM{} }, "vm", "another platform"},
		{small, func(c *specs.Spec) { c.ZOS = &specs.ZOS{} }, "zos", "another platform"},
		{small, func(c *specs.Spec) { c.FreeBSD = &specs.FreeBSD{} }, "freebsd", "another platform"},
		{small, func(c *specs.Spec) { c.Root = nil }, "root.path", "missing"},
		{small, func(c *specs.Spec) { c.Root.Path = "a\x00" }, "root.path", "NUL"},
		{small, func(c *specs.Spec) { c.Root.Path = long }, "root.path", "more than 4095 bytes"},
		{small, linux(func(l *specs.Linux) { l.RootfsPropagation = "public" }), "linux.rootfsPropagation", `"public"`},

		{small, func(c *specs.Spec) { c.Hostname = "web" }, "hostname", "no UTS namespace"},
		{small, func(c *specs.Spec) { c.Domainname = "web" }, "domainname", "no UTS namespace"},
		{full, func(c *specs.Spec) { c.Hostname = strings.Repeat("h", 65) }, "hostname", "longer than 64 bytes"},
		{small, linux(func(l *specs.Linux) { l.Namespaces[0].Type = "mnt" }), "linux.namespaces[0].type", `"mnt"`},
		{small, linux(func(l *specs.Linux) { l.Namespaces = append(l.Namespaces, l.Namespaces[0]) }), "linux.namespaces[1].type", "twice"},
		{small, linux(func(l *specs.Linux) { l.Namespaces[0].Path = "proc/1" }), "linux.namespaces[0].path", "not an absolute path"},
		{small, linux(func(l *specs.Linux) { l.UIDMappings = one }), "linux.uidMappings", "no user namespace"},
		{small, linux(func(l *specs.Linux) { l.GIDMappings = one }), "linux.gidMappings", "no user namespace"},
		{full, linux(func(l *specs.Linux) { l.UIDMappings = nil }), "linux.uidMappings", "missing"},
		{full, linux(func(l *specs.Linux) { l.GIDMappings = nil }), "linux.gidMappings", "missing"},
		{full, linux(func(l *specs.Linux) {
			l.UIDMappings = append(l.UIDMappings, specs.LinuxIDMapping{ContainerID: 2000, HostID: 1})
		}), "linux.uidMappings[1].size", "0 or missing"},
		{full, linux(func(l *specs.Linux) {
			l.UIDMappings = append(l.UIDMappings, specs.LinuxIDMapping{ContainerID: 999, HostID: 1, Size: 1})
		}), "linux.uidMappings[1]", "overlaps that of entry 0"},
		{full, linux(func(l *specs.Linux) {
			l.GIDMappings = append(l.GIDMappings, specs.LinuxIDMapping{ContainerID: 2000, HostID: 99999, Size: 2})
		}), "linux.gidMappings[1]", "its range of hostID overlaps"},
		{full, linux(func(l *specs.Linux) {
			l.GIDMappings = append(l.GIDMappings, specs.LinuxIDMapping{ContainerID: 2000, HostID: 1<<32 - 1, Size: 2})
		}), "linux.gidMappings[1]", "largest id"},
		{full, linux(func(l *specs.Linux) {
			l.GIDMappings = append(l.GIDMappings, specs.LinuxIDMapping{ContainerID: 1<<32 - 1, HostID: 1, Size: 1})
		}), "linux.gidMappings[1]", "largest id"},
		{full, linux(func(l *specs.Linux) { l.GIDMappings = make([]specs.LinuxIDMapping, 341) }), "linux.gidMappings", "the kernel takes 340"},
		{small, linux(func(l *specs.Linux) { l.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {}} }), "linux.timeOffsets", "no new time namespace"},
		{full, linux(func(l *specs.Linux) { l.TimeOffsets = map[string]specs.LinuxTimeOffset{"real\n": {}} }), `linux.timeOffsets["real\n"]`, "unknown clock"},
		{full, linux(func(l *specs.Linux) { l.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Nanosecs: 1e9}} }), `linux.timeOffsets["monotonic"].nanosecs`, "a second or more"},
		{full, linux(func(l *specs.Linux) {
			l.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: -1 << 63}}
		}), `linux.timeOffsets["boottime"].secs`, "146 years"},

		{small, func(c *specs.Spec) { c.Process = nil }, "process", "missing"},
		{small, process(func(p *specs.Process) { p.Args = nil }), "process.args", "missing"},
		{small, process(func(p *specs.Process) { p.Args = []string{""} }), "process.args", "nothing to execute"},
		{small, process(func(p *specs.Process) { p.Args = []string{"a", "b\x00"} }), "process.args[1]", "NUL"},
		{small, process(func(p *specs.Process) { p.CommandLine = "a" }), "process.commandLine", "Windows"},
		{small, process(func(p *specs.Process) { p.User.Username = "a" }), "process.user.username", "Windows"},
		{small, process(func(p *specs.Process) { p.Env = []string{"A=1", "A"} }), "process.env[1]", "NAME=VALUE"},
		{small, process(func(p *specs.Process) { p.Env = []string{"=1"} }), "process.env[0]", "NAME=VALUE"},
		{small, process(func(p *specs.Process) { p.Cwd = "" }), "process.cwd", "missing"},
		{small, process(func(p *specs.Process) { p.Cwd = "tmp" }), "process.cwd", "not an absolute path"},
		{small, process(func(p *specs.Process) { p.Terminal = true }), "process.terminal", "nobody to take the terminal"},
		{small, process(func(p *specs.Process) { p.User.Umask = ptr(uint32(0o1000)) }), "process.user.umask", "more than 0777"},
		{small, process(func(p *specs.Process) { p.User.AdditionalGids = make([]uint32, 65537) }), "process.user.additionalGids", "the kernel takes 65536"},
		{full, process(func(p *specs.Process) { p.User.UID = 1000 }), "process.user.uid", "not mapped"},
		{full, process(func(p *specs.Process) { p.User.GID = 1000 }), "process.user.gid", "not mapped"},
		{full, process(func(p *specs.Process) { p.User.AdditionalGids = []uint32{5, 1000} }), "process.user.additionalGids[1]", "not mapped"},
		{small, process(func(p *specs.Process) { p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_TEST"}} }), "process.rlimits[0].type", "RLIMIT_TEST"},
		{small, process(func(p *specs.Process) { p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CPU"}, {Type: "RLIMIT_CPU"}} }), "process.rlimits[1].type", "twice"},
		{small, process(func(p *specs.Process) { p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CPU", Soft: 2, Hard: 1}} }), "process.rlimits[0].soft", "above the hard limit"},
		{small, process(func(p *specs.Process) { p.ApparmorProfile = "a\n" }), "process.apparmorProfile", "line break"},
		{small, process(func(p *specs.Process) { p.SelinuxLabel = "a\n" }), "process.selinuxLabel", "line break"},
		{small, process(func(p *specs.Process) { p.OOMScoreAdj = ptr(1001) }), "process.oomScoreAdj", "-1000 to 1000"},
		{small, scheduler(specs.Scheduler{Policy: "SCHED_ISO"}), "process.scheduler.policy", "SCHED_ISO"},
		{small, scheduler(specs.Scheduler{}), "process.scheduler.policy", `""`},
		{small, scheduler(specs.Scheduler{Policy: "SCHED_FIFO"}), "process.scheduler.priority", "1 to 99"},
		{small, scheduler(specs.Scheduler{Policy: "SCHED_OTHER", Priority: 1}), "process.scheduler.priority", "no priority"},
		{small, scheduler(specs.Scheduler{Policy: "SCHED_OTHER", Nice: 20}), "process.scheduler.nice", "-20 to 19"},
		{small, scheduler(specs.Scheduler{Policy: "SCHED_OTHER", Flags: []specs.LinuxSchedulerFlag{"A"}}), "process.scheduler.flags[0]", `"A"`},
		{small, scheduler(specs.Scheduler{Policy: "SCHED_OTHER", Period: 1}), "process.scheduler", "SCHED_DEADLINE only"},
		{small, scheduler(specs.Scheduler{Policy: "SCHED_DEADLINE", Runtime: 1 << 20, Deadline: 1 << 19}), "process.scheduler", "runtime ≤ deadline"},
		{small, process(func(p *specs.Process) { p.IOPriority = &specs.LinuxIOPriority{Class: "RT"} }), "process.ioPriority.class", `"RT"`},
		{small, process(func(p *specs.Process) {
			p.IOPriority = &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_RT", Priority: 8}
		}), "process.ioPriority.priority", "0 to 7"},
		{small, affinity("1-"), "process.execCPUAffinity.final", "not a list of processors"},
		{small, affinity("3-1"), "process.execCPUAffinity.final", "not a list of processors"},
		{small, affinity("0-8191,0-8191,0-8191"), "process.execCPUAffinity.final", "not a list of processors"},
		{small, affinity("0-65536"), "process.execCPUAffinity.final", "not a list of processors"},
		{small, linux(func(l *specs.Linux) { l.Personality = &specs.LinuxPersonality{} }), "linux.personality.domain", "unknown execution domain"},
		{small, linux(func(l *specs.Linux) {
			l.Personality = &specs.LinuxPersonality{Domain: "LINUX", Flags: []specs.LinuxPersonalityFlag{"A"}}
		}), "linux.personality.flags", `"A"`},

		{small, mount(specs.Mount{Source: "/", Options: []string{"bind"}}), "mounts[1].destination", "missing"},
		{small, mount(specs.Mount{Destination: "/a/..", Source: "/", Options: []string{"bind"}}), "mounts[1].destination", "the root itself"},
		{small, mount(specs.Mount{Destination: "/a", Options: []string{"bind"}}), "mounts[1].source", "missing"},
		{small, mount(specs.Mount{Destination: "/a", Source: "/"}), "mounts[1].type", "not a bind mount"},
		{small, mount(specs.Mount{Destination: "/a", Type: "../x"}), "mounts[1].type", "not a file system"},
		{small, mount(specs.Mount{Destination: "/a", Type: "tmpfs", Options: []string{"a", "b\x00"}}), "mounts[1].options[1]", "NUL"},
		{small, mount(specs.Mount{Destination: "/a", Type: "proc", Options: []string{"tmpcopyup"}}), "mounts[1].options", "for tmpfs only"},
		{small, mount(specs.Mount{Destination: "/a", Source: "/", Options: []string{"bind", "tmpcopyup"}}), "mounts[1].options", "for tmpfs only"},
		{small, mount(specs.Mount{Destination: "/a", Options: []string{"remount", "tmpcopyup"}}), "mounts[1].options", "remount"},
		{small, mount(specs.Mount{Destination: "/a", Type: "cgroup", Options: []string{"memory"}}), "mounts[1].options", `"memory"`},
		{small, mount(specs.Mount{Destination: "/a", Source: "/", Options: []string{"bind", "idmap"}}), "mounts[1].options", "no user namespace"},
		{small, mount(specs.Mount{Destination: "/a", Source: "/", Options: []string{"bind"}, UIDMappings: one}), "mounts[1].gidMappings", "missing"},
		{small, mount(specs.Mount{Destination: "/a", Type: "cgroup", UIDMappings: one, GIDMappings: one}), "mounts[1]", "idmapped"},

		{small, device(specs.LinuxDevice{Path: "/dev/a", Type: "x"}), "linux.devices[0].type", `"x"`},
		{small, device(specs.LinuxDevice{Path: "dev/a", Type: "c"}), "linux.devices[0].path", "not an absolute path"},
		{small, device(specs.LinuxDevice{Path: "/", Type: "c"}), "linux.devices[0].path", "the root itself"},
		{small, device(specs.LinuxDevice{Path: "/dev/a", Type: "c", Major: -1}), "linux.devices[0].major", "0 to 4095"},
		{small, device(specs.LinuxDevice{Path: "/dev/a", Type: "b", Minor: 1 << 20}), "linux.devices[0].minor", "0 to 1048575"},
		{small, device(specs.LinuxDevice{Path: "/dev/a", Type: "b", FileMode: ptr(os.FileMode(1 << 20))}), "linux.devices[0].fileMode", "not a mode"},
		{small, linux(func(l *specs.Linux) { l.CgroupsPath = "/a/../../b" }), "linux.cgroupsPath", ".."},
		{small, linux(func(l *specs.Linux) { l.MaskedPaths = []string{"/a", "b"} }), "linux.maskedPaths[1]", "not an absolute path"},
		{small, linux(func(l *specs.Linux) { l.ReadonlyPaths = []string{""} }), "linux.readonlyPaths[0]", "not an absolute path"},
		{small, linux(func(l *specs.Linux) { l.MountLabel = "a\x00" }), "linux.mountLabel", "NUL"},
		{small, linux(func(l *specs.Linux) { l.Sysctl = map[string]string{"net.core.somaxconn": "1"} }), `linux.sysctl["net.core.somaxconn"]`, "network namespace"},
		{full, linux(func(l *specs.Linux) { l.Sysctl = map[string]string{"vm.swappiness": "1"} }), `linux.sysctl["vm.swappiness"]`, "whole machine"},
		{full, linux(func(l *specs.Linux) { l.Sysctl = map[string]string{"net/../vm/swappiness": "1"} }), `linux.sysctl["net/../vm/swappiness"]`, "is not a name"},
		{full, linux(func(l *specs.Linux) { l.Sysctl = map[string]string{"net.a": "1", "net/a": "2"} }), `linux.sysctl["net/a"]`, "both forms"},
		{small, linux(func(l *specs.Linux) { l.IntelRdt = &specs.LinuxIntelRdt{} }), "linux.intelRdt", "not supported"},
		{small, memory("MPOL", ""), "linux.memoryPolicy.mode", `"MPOL"`},
		{small, memory("MPOL_BIND", ""), "linux.memoryPolicy.nodes", "missing"},
		{small, memory("MPOL_BIND", "1024"), "linux.memoryPolicy.nodes", "not a list of memory nodes below 1024"},
		{small, memory("MPOL_LOCAL", "0"), "linux.memoryPolicy.nodes", "takes no nodes"},
		{small, memory("MPOL_BIND", "0", "MPOL_F"), "linux.memoryPolicy.flags[0]", `"MPOL_F"`},
		{small, memory("MPOL_BIND", "0", "MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"), "linux.memoryPolicy.flags", "both"},
		{small, memory("MPOL_INTERLEAVE", "0", "MPOL_F_NUMA_BALANCING"), "linux.memoryPolicy.flags", "MPOL_BIND"},
		{small, memory("MPOL_PREFERRED", "", "MPOL_F_STATIC_NODES"), "linux.memoryPolicy.flags", "there are none"},
		{small, linux(func(l *specs.Linux) { l.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {}} }), "linux.netDevices", "add a network namespace"},
		{small, devices("a/b", ""), "linux.netDevices[\"a/b\"]", "slash"},
		{small, devices("eth0", "much-too-long-a-name"), "linux.netDevices[\"eth0\"].name", "20 bytes"},
		{small, devices("eth0", "eth%d%d"), "linux.netDevices[\"eth0\"].name", "one %d"},
		{small, devices("eth0", "x", "eth1", "x"), "linux.netDevices[\"eth1\"].name", "the name of \"eth0\", too"},

		{small, hook(specs.Hook{Path: "a"}), "hooks.startContainer[0].path", "not an absolute path"},
		{small, hook(specs.Hook{Path: "/a", Timeout: ptr(0)}), "hooks.startContainer[0].timeout", "number of seconds"},
		{small, hook(specs.Hook{Path: "/a", Args: []string{"a", "\x00"}}), "hooks.startContainer[0].args[1]", "NUL"},
		{small, hook(specs.Hook{Path: "/a", Env: []string{"\x00"}}), "hooks.startContainer[0].env[0]", "NUL"},

		{small, linux(func(l *specs.Linux) { l.Seccomp = &specs.LinuxSeccomp{} }), "linux.seccomp.defaultAction", "missing"},
		{small, linux(func(l *specs.Linux) {
			l.Seccomp = &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", ListenerMetadata: "a"}
		}), "linux.seccomp.listenerMetadata", "no listener"},
	} {
		config := c.base()
		c.edit(config)
		_, err := Translate(config, options)
		faults := faultsOf(err)
		if f := faults[c.path]; len(faults) != 1 || f == nil || !strings.Contains(f.Error(), c.says) {
			t.Errorf("want a fault of %s with %q, have: %v", c.path, c.says, err)
		}
	}
}

func TestOptionFaults(t *testing.T) {
	for _, c := range []struct {
		edit func(*specs.Spec)
		opt  Options
		says string
	}{
		{func(*specs.Spec) {}, Options{ID: "a", Bundle: "bundle"}, `"bundle" is not an absolute path`},
		{func(*specs.Spec) {}, Options{ID: "a", Bundle: "/b", Console: true}, "no terminal is wanted"},
		{func(c *specs.Spec) { // an ordinary user who maps himself alone
			c.Linux = full().Linux
			c.Linux.UIDMappings[0].Size, c.Linux.GIDMappings[0].Size = 1, 1
			c.Process.User.AdditionalGids = []uint32{0}
		}, Options{ID: "a", Bundle: "/b", Rootless: true}, "cannot set groups"},
	} {
		config := small()
		c.edit(config)
		if _, err := Translate(config, c.opt); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("want %q, have: %v", c.says, err)
		}
	}
}

// TestNotify holds what a listener needs.
func TestNotify(t *testing.T) {
	config := small()
	config.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: "SCMP_ACT_NOTIFY"}}}
	if _, err := Translate(config, options); faultsOf(err)["linux.seccomp.listenerPath"] == nil {
		t.Errorf("without a listener: %v", err)
	}
	config.Linux.Seccomp.ListenerPath, config.Linux.Seccomp.ListenerMetadata = "agent.sock", "hello"
	out, err := Translate(config, options)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Listener{"/bundle/agent.sock", "hello"}); out.Listener == nil || *out.Listener != want || !out.Spec.Process.SeccompListener {
		t.Errorf("the listener is %+v", out.Listener)
	}
}

func TestFaultText(t *testing.T) {
	f := &Fault{Path: "a.b", Message: "it is bad", Hint: "make it good"}
	if f.Error() != "a.b: it is bad; make it good" {
		t.Error(f)
	}
	var r report
	if r.err("x") != nil {
		t.Error("an error without a fault")
	}
	r.fault("a", "", "bad")
	if err := r.err("cannot"); err.Error() != "cannot: a: bad" || !errors.Is(err, r.faults[0]) {
		t.Error(err)
	}
	if q := quote(strings.Repeat("x", 1000)); len(q) > 200 {
		t.Errorf("%d bytes quoted", len(q))
	}
}
