package oci

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func ptr[T any](v T) *T { return &v }

// small gives the smallest configuration there is.
func small() *specs.Spec {
	return &specs.Spec{
		Version: "1.3.0",
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: []string{"true"}, Cwd: "/"},
		Linux:   &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "mount"}}},
	}
}

// full has all namespaces, and maps 1000 ids.
func full() *specs.Spec {
	c := small()
	c.Linux.Namespaces = nil
	for _, kind := range namespaceTypes {
		c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: specs.LinuxNamespaceType(kind)})
	}
	c.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1000}}
	c.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1000}}
	return c
}

var options = Options{ID: "c1", Bundle: "/bundle"}

// without gives the lines of a that b does not have.
func without(a, b string) []string {
	base := strings.Split(b, "\n")
	return slices.DeleteFunc(strings.Split(a, "\n"), func(l string) bool { return slices.Contains(base, l) })
}

// TestTranslate holds what each value adds to the translation, and what it takes away.
func TestTranslate(t *testing.T) {
	mount := func(m specs.Mount) func(*specs.Spec) {
		return func(c *specs.Spec) { c.Mounts = []specs.Mount{m} }
	}
	bind := func(options ...string) func(*specs.Spec) {
		return mount(specs.Mount{Destination: "/mnt", Source: "/src", Options: options})
	}
	tmpfs := func(options ...string) func(*specs.Spec) {
		return mount(specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs", Options: options})
	}
	const bound = "Spec.Mounts[0].Source = /src\nSpec.Mounts[0].Target = /mnt"
	const memory = "Spec.Mounts[0].Type = 3\nSpec.Mounts[0].Source = tmpfs\nSpec.Mounts[0].Target = /mnt\nSpec.Mounts[0].FSType = tmpfs"
	for _, c := range []struct {
		name string
		base func() *specs.Spec
		edit func(*specs.Spec)
		opt  func(*Options)
		adds string
	}{
		{"nothing", small, func(*specs.Spec) {}, nil, ""},
		{"absolute root", small, func(c *specs.Spec) { c.Root.Path = "/srv/../srv/root" }, nil, "Spec.RootFS.Path = /srv/root"},
		{"relative root", small, func(c *specs.Spec) { c.Root.Path = "./a/b" }, nil, "Spec.RootFS.Path = /bundle/a/b"},
		{"read-only root", small, func(c *specs.Spec) { c.Root.Readonly = true }, nil, ""},
		{"root propagation", small, func(c *specs.Spec) { c.Linux.RootfsPropagation = "rslave" }, nil, "Spec.RootFS.Propagation = 0x84000"},
		{"unbindable root", small, func(c *specs.Spec) { c.Linux.RootfsPropagation = "unbindable" }, nil, "Spec.RootFS.Propagation = 0x20000"},
		{"new version", small, func(c *specs.Spec) { c.Version = "1.99.0" }, nil,
			"Warnings[0] = ociVersion: 1.99.0 is newer than 1.3, which berth knows: fields that it does not know are passed over"},
		{"old version", small, func(c *specs.Spec) { c.Version = "1.0.0-rc5-dev" }, nil, ""},

		{"no pivot", small, func(*specs.Spec) {}, func(o *Options) { o.NoPivot = true }, "Spec.NoPivot = true"},
		{"the host's mounts", small, func(c *specs.Spec) { c.Linux.Namespaces = nil }, nil,
			"Spec.Namespaces.Mount.Mode = 1\nWarnings[0] = linux.namespaces: there is no mount namespace: with CAP_SYS_CHROOT the container can leave its root, and it sees no list of its mounts"},
		{"keyring", small, func(*specs.Spec) {}, func(o *Options) { o.NoNewKeyring = true }, "Spec.Process.InheritKeyring = true"},
		{"descriptors", small, func(*specs.Spec) {}, func(o *Options) { o.PreserveFDs = 2 }, "Spec.Process.ExtraFiles = 2"},
		{"rootless", full, func(*specs.Spec) {}, func(o *Options) { o.Rootless = true }, "Spec.Unprivileged = true\nSpec.Namespaces.User.Tools = true"},
		{"rootless, one id", full, func(c *specs.Spec) { c.Linux.UIDMappings[0].Size, c.Linux.GIDMappings[0].Size = 1, 1 }, func(o *Options) { o.Rootless = true },
			"Spec.Unprivileged = true\nSpec.Namespaces.User.Map.UIDs[0].Count = 1\nSpec.Namespaces.User.Map.GIDs[0].Count = 1\nSpec.Namespaces.User.DenySetgroups = true"},

		{"host and domain", full, func(c *specs.Spec) { c.Hostname, c.Domainname = "web", "lan" }, nil, "Spec.Hostname = web\nSpec.Domainname = lan"},
		{"joined", small, func(c *specs.Spec) {
			c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: "network", Path: "/run/netns/a"}, specs.LinuxNamespace{Type: "user", Path: "/proc/1/ns/user"},
				specs.LinuxNamespace{Type: "time", Path: "/proc/1/ns/time"})
		}, nil, "Spec.Namespaces.Network.Mode = 2\nSpec.Namespaces.Network.Path = /run/netns/a\nSpec.Namespaces.User.Join.Mode = 2\nSpec.Namespaces.User.Join.Path = /proc/1/ns/user\n" +
			"Spec.Namespaces.Time.Join.Mode = 2\nSpec.Namespaces.Time.Join.Path = /proc/1/ns/time"},
		{"time", full, func(c *specs.Spec) {
			c.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: -2, Nanosecs: 500}, "monotonic": {Secs: 86400}}
		}, nil, "Spec.Namespaces.Time.Monotonic = 24h0m0s\nSpec.Namespaces.Time.Boottime = -1.9999995s"},

		{"terminal", small, func(c *specs.Spec) {
			c.Process.Terminal, c.Process.ConsoleSize = true, &specs.Box{Height: 25, Width: 80}
		}, func(o *Options) { o.Console = true },
			"Spec.Process.Console = true\nSpec.Process.ConsoleHeight = 25\nSpec.Process.ConsoleWidth = 80"},
		{"console size alone", small, func(c *specs.Spec) { c.Process.ConsoleSize = &specs.Box{Height: 25, Width: 1 << 30} }, nil, ""},
		{"environment", small, func(c *specs.Spec) { c.Process.Env = []string{"A=1", "B=", "A=2", "C=x=y"} }, nil,
			"Spec.Process.Env[0] = A=2\nSpec.Process.Env[1] = B=\nSpec.Process.Env[2] = C=x=y"},
		{"user", small, func(c *specs.Spec) {
			c.Process.User = specs.User{UID: 1, GID: 2, AdditionalGids: []uint32{3}, Umask: ptr(uint32(0o77))}
		}, nil,
			"Spec.Process.Umask = 077\nSpec.Process.IDs.UID = 1\nSpec.Process.IDs.GID = 2\nSpec.Process.IDs.Groups[0] = 3"},
		{"limits", small, func(c *specs.Spec) {
			c.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_RTTIME", Soft: 1, Hard: ^uint64(0)}}
		}, nil,
			"Spec.Process.Rlimits[0].Resource = 15\nSpec.Process.Rlimits[0].Name = rttime\nSpec.Process.Rlimits[0].Soft = 1\nSpec.Process.Rlimits[0].Hard = 18446744073709551615"},
		{"capabilities", small, func(c *specs.Spec) {
			c.Process.Capabilities = &specs.LinuxCapabilities{
				Bounding: []string{"CAP_CHOWN", "CAP_KILL", "CAP_NONSENSE"}, Permitted: []string{"CAP_CHOWN", "CAP_KILL", "CAP_NONSENSE"}, Inheritable: []string{"CAP_KILL"},
				Effective: []string{"CAP_CHOWN", "CAP_SYS_ADMIN"}, Ambient: []string{"CAP_CHOWN", "CAP_KILL"}}
		}, nil, "Spec.Process.Capabilities.Bounding = 0x21\nSpec.Process.Capabilities.Effective = 0x1\nSpec.Process.Capabilities.Permitted = 0x21\n" +
			"Spec.Process.Capabilities.Inheritable = 0x20\nSpec.Process.Capabilities.Ambient = 0x20\n" +
			"Warnings[0] = process.capabilities: there is no capability \"CAP_NONSENSE\"; it is left out\n" +
			"Warnings[1] = process.capabilities: left out, since effective and not permitted: CAP_SYS_ADMIN\n" +
			"Warnings[2] = process.capabilities.ambient: can't raise ambient capability CAP_CHOWN: it is not both permitted and inheritable; it is left out"},
		{"capabilities that the host lacks", small, func(c *specs.Spec) {
			c.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN", "CAP_KILL"}, Permitted: []string{"CAP_CHOWN", "CAP_KILL"}}
		}, func(o *Options) { o.Host = &Host{Capabilities: ^uint64(0), Bounding: 1, Permitted: 1} },
			"Spec.Process.Capabilities.Bounding = 0x1\nSpec.Process.Capabilities.Permitted = 0x1\n" +
				"Warnings[0] = process.capabilities: left out, since this machine cannot grant them: CAP_KILL"},
		{"capabilities in a user namespace", full, func(c *specs.Spec) {
			c.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}}
		}, func(o *Options) { o.Host = &Host{Capabilities: ^uint64(0)} }, "Spec.Process.Capabilities.Bounding = 0x20"},
		{"privileges", small, func(c *specs.Spec) {
			c.Process.NoNewPrivileges, c.Process.OOMScoreAdj, c.Process.ApparmorProfile, c.Process.SelinuxLabel = true, ptr(0), "web", "a:b:c"
		}, nil, "Spec.Process.NoNewPrivileges = true\nSpec.Process.Scheduling.OOMScoreAdjust = 0\nSpec.Process.AppArmor = web\nSpec.Process.SELinux = a:b:c"},
		{"nice", small, func(c *specs.Spec) {
			c.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_BATCH", Nice: -5, Flags: []specs.LinuxSchedulerFlag{"SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_KEEP_PARAMS"}}
		}, nil, "Spec.Process.Scheduling.Nice = -5\nSpec.Process.Scheduling.Policy = 3\nSpec.Process.Scheduling.Flags = 17"},
		{"default nice", small, func(c *specs.Spec) { c.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_OTHER"} }, nil,
			"Spec.Process.Scheduling.Nice = 0\nSpec.Process.Scheduling.Policy = 0"},
		{"real time has no nice value", small, func(c *specs.Spec) { c.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_RR", Priority: 1, Nice: 1} }, nil,
			"Spec.Process.Scheduling.Policy = 2\nSpec.Process.Scheduling.Priority = 1\nWarnings[0] = process.scheduler.nice: no effect has 1: SCHED_RR has no nice value"},
		{"real time", small, func(c *specs.Spec) { c.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_FIFO", Priority: 10} }, nil,
			"Spec.Process.Scheduling.Policy = 1\nSpec.Process.Scheduling.Priority = 10"},
		{"deadline", small, func(c *specs.Spec) {
			c.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_DEADLINE", Runtime: 2000, Deadline: 3000, Period: 4000}
		}, nil, "Spec.Process.Scheduling.Policy = 6\nSpec.Process.Scheduling.Runtime = 2000\nSpec.Process.Scheduling.Deadline = 3000\nSpec.Process.Scheduling.Period = 4000"},
		{"I/O priority", small, func(c *specs.Spec) {
			c.Process.IOPriority = &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_IDLE", Priority: 7}
		}, nil,
			"Spec.Process.Scheduling.IOPriority = 24583"},
		{"processors of exec", small, func(c *specs.Spec) { c.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "1-2"} }, nil, ""},
		{"personality", small, func(c *specs.Spec) { c.Linux.Personality = &specs.LinuxPersonality{Domain: "LINUX"} }, nil, "Spec.Process.Personality = 0"},
		{"memory policy", small, func(c *specs.Spec) {
			c.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_INTERLEAVE", Nodes: "0-1,3", Flags: []specs.MemoryPolicyFlagType{"MPOL_F_STATIC_NODES"}}
		}, nil, "Spec.Process.Scheduling.Memory.Mode = 32771\nSpec.Process.Scheduling.Memory.Nodes[0] = 0\nSpec.Process.Scheduling.Memory.Nodes[1] = 1\nSpec.Process.Scheduling.Memory.Nodes[2] = 3"},
		{"memory policy without nodes", small, func(c *specs.Spec) {
			c.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_LOCAL"}
		}, nil, "Spec.Process.Scheduling.Memory.Mode = 4"},
		{"sysctl", full, func(c *specs.Spec) {
			c.Linux.Sysctl = map[string]string{"net.ipv4.conf.eth0/1.rp_filter": "1", "kernel/shmmax": "2"}
		}, nil,
			"Spec.Sysctl[kernel/shmmax] = 2\nSpec.Sysctl[net/ipv4/conf/eth0.1/rp_filter] = 1"},
		{"paths", small, func(c *specs.Spec) {
			c.Linux.MaskedPaths, c.Linux.ReadonlyPaths = []string{"/proc/./kcore"}, []string{"/proc/sys/"}
		}, nil,
			"Spec.MaskedPaths[0] = /proc/kcore\nSpec.ReadonlyPaths[0] = /proc/sys"},
		{"devices", small, func(c *specs.Spec) {
			c.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/a", Type: "u", Major: 1, Minor: 1 << 19, UID: ptr(uint32(7)), GID: ptr(uint32(8)), FileMode: ptr(os.FileMode(0o600))},
				{Path: "/run/b", Type: "p", Major: -1}}
		}, nil, "Spec.Devices[0].Path = /dev/a\nSpec.Devices[0].Make.Type = 99\nSpec.Devices[0].Make.Major = 1\nSpec.Devices[0].Make.Minor = 524288\nSpec.Devices[0].Make.Mode = 0600\n" +
			"Spec.Devices[0].Make.UID = 7\nSpec.Devices[0].Make.GID = 8\nSpec.Devices[1].Path = /run/b\nSpec.Devices[1].Make.Type = 112\nSpec.Devices[1].Make.Mode = 0666"},
		{"groups", small, func(c *specs.Spec) {
			c.Linux.CgroupsPath, c.Linux.Resources = "/a/b", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(5))}}
		}, nil,
			"CgroupsPath = /a/b\nResources.Pids.Limit = 5"},
		{"hooks", small, func(c *specs.Spec) {
			h := func(name string) []specs.Hook {
				return []specs.Hook{{Path: "/" + name, Args: []string{name}, Env: []string{"A=1"}, Timeout: ptr(3)}}
			}
			//lint:ignore SA1019 deprecated, and still to be run
			c.Hooks = &specs.Hooks{Prestart: h("prestart"), CreateRuntime: h("createRuntime"), CreateContainer: h("createContainer"), StartContainer: h("startContainer"), Poststart: h("poststart"), Poststop: h("poststop")}
		}, nil, "Spec.CreateContainer[0].Path = /createContainer\nSpec.CreateContainer[0].Args[0] = createContainer\nSpec.CreateContainer[0].Env[0] = A=1\nSpec.CreateContainer[0].Timeout = 3s\n" +
			"Spec.StartContainer[0].Path = /startContainer\nSpec.StartContainer[0].Args[0] = startContainer\nSpec.StartContainer[0].Env[0] = A=1\nSpec.StartContainer[0].Timeout = 3s\nSpec.SyncRuntime = true\n" +
			"Prestart[0].Path = /prestart\nPrestart[0].Args[0] = prestart\nPrestart[0].Env[0] = A=1\nPrestart[0].Timeout = 3\n" +
			"CreateRuntime[0].Path = /createRuntime\nCreateRuntime[0].Args[0] = createRuntime\nCreateRuntime[0].Env[0] = A=1\nCreateRuntime[0].Timeout = 3\n" +
			"Poststart[0].Path = /poststart\nPoststart[0].Args[0] = poststart\nPoststart[0].Env[0] = A=1\nPoststart[0].Timeout = 3\n" +
			"Poststop[0].Path = /poststop\nPoststop[0].Args[0] = poststop\nPoststop[0].Env[0] = A=1\nPoststop[0].Timeout = 3"},
		{"hooks that wait for nobody", small, func(c *specs.Spec) { c.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/a"}}} }, nil, "Poststop[0].Path = /a"},

		{"bind", small, bind("bind"), nil, bound},
		{"bind by type", small, mount(specs.Mount{Destination: "mnt/", Source: "a/../b", Type: "bind"}), nil,
			"Spec.Mounts[0].Source = /bundle/b\nSpec.Mounts[0].Target = /mnt\nWarnings[0] = mounts[0].destination: \"mnt/\" is relative, which is deprecated; it is taken relative to /"},
		{"bind, of this mount only", small, bind("rbind", "ro", "nosuid", "rslave"), nil, bound + "\nSpec.Mounts[0].Recursive = true\nSpec.Mounts[0].Propagation = 0x84000\nSpec.Mounts[0].Set = 0x3\nSpec.Mounts[0].ClearIfAllowed = 0x20000c"},
		{"bind, of all below", small, bind("rbind", "rro", "rnosymfollow", "rdev"), nil, bound + "\nSpec.Mounts[0].Recursive = true\nSpec.Mounts[0].SetRecursive = 0x200001\nSpec.Mounts[0].ClearRecursive = 0x4"},
		{"the last one counts", small, bind("bind", "ro", "rw", "noexec", "exec", "noexec"), nil, bound + "\nSpec.Mounts[0].Set = 0x8\nSpec.Mounts[0].Clear = 0x1\nSpec.Mounts[0].ClearIfAllowed = 0x200006"},
		{"access time", small, bind("bind", "noatime", "nodiratime"), nil, bound + "\nSpec.Mounts[0].Set = 0x90\nSpec.Mounts[0].Clear = 0x70\nSpec.Mounts[0].ClearIfAllowed = 0x20000f"},
		{"access time, the last one counts", small, bind("bind", "noatime", "strictatime"), nil, bound + "\nSpec.Mounts[0].Set = 0x20\nSpec.Mounts[0].Clear = 0x70\nSpec.Mounts[0].ClearIfAllowed = 0x20000f"},
		{"access time, back to the default", small, bind("bind", "rstrictatime", "rrelatime"), nil, bound + "\nSpec.Mounts[0].ClearRecursive = 0x70"},
		{"no effect on a bind", small, bind("bind", "mode=755", "sync"), nil, bound + "\nWarnings[0] = mounts[0].options: no effect on a bind mount has \"sync,mode=755\""},
		{"not even a warning", small, bind("bind", "defaults", "silent", "loud", "iversion", "noiversion", "x-systemd.automount", "async", "nolazytime"), nil, bound},
		{"tmpfs", small, tmpfs("nosuid", "strictatime", "mode=755", "size=64k", "tmpcopyup", "shared"), nil,
			"Spec.Mounts[0].Type = 3\nSpec.Mounts[0].Source = tmpfs\nSpec.Mounts[0].Target = /mnt\nSpec.Mounts[0].Propagation = 0x100000\nSpec.Mounts[0].FSType = tmpfs\nSpec.Mounts[0].Data[0] = mode=755\nSpec.Mounts[0].Data[1] = size=64k\nSpec.Mounts[0].Set = 0x22\nSpec.Mounts[0].Clear = 0x70\nSpec.Mounts[0].CopyUp = true"},
		{"file system's own flags", small, tmpfs("sync", "lazytime", "dirsync", "async", "mand", "nomand"), nil, memory + "\nSpec.Mounts[0].Data[0] = lazytime\nSpec.Mounts[0].Data[1] = dirsync"},
		{"label", small, func(c *specs.Spec) { tmpfs()(c); c.Linux.MountLabel = "a:b:c:s0:c1,c2" }, nil, memory + "\nSpec.Mounts[0].Data[0] = context=a:b:c:s0:c1,c2"},
		{"label without SELinux", small, func(c *specs.Spec) { tmpfs()(c); c.Linux.MountLabel = "a:b:c" }, func(o *Options) { o.Host = &Host{} },
			memory + "\nWarnings[0] = linux.mountLabel: the kernel has no SELinux: no mount is labelled"},
		{"a device", small, mount(specs.Mount{Destination: "/mnt", Type: "ext4", Source: "/dev/sdb1", Options: []string{"ro"}}), nil,
			"Spec.Mounts[0].Type = 3\nSpec.Mounts[0].Source = /dev/sdb1\nSpec.Mounts[0].Target = /mnt\nSpec.Mounts[0].FSType = ext4\nSpec.Mounts[0].Set = 0x1"},
		{"proc", small, mount(specs.Mount{Destination: "/proc", Type: "proc", Source: "proc"}), nil,
			"Spec.Mounts[0].Type = 3\nSpec.Mounts[0].Source = proc\nSpec.Mounts[0].Target = /proc\nSpec.Mounts[0].FSType = proc\nSpec.Mounts[0].NoSymlinks = true"},
		{"cgroup", small, mount(specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "relatime"}}), nil,
			"Spec.Mounts[0].Type = 4\nSpec.Mounts[0].Target = /sys/fs/cgroup\nSpec.Mounts[0].Set = 0x1\nSpec.Mounts[0].Clear = 0x70"},
		{"cgroup2", small, mount(specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup2", Source: "cgroup2"}), nil,
			"Spec.Mounts[0].Type = 3\nSpec.Mounts[0].Source = cgroup2\nSpec.Mounts[0].Target = /sys/fs/cgroup\nSpec.Mounts[0].FSType = cgroup2"},
		{"remount", small, mount(specs.Mount{Destination: "/proc", Options: []string{"remount", "ro", "exec", "hidepid=2"}}), nil,
			"Spec.Mounts[0].Type = 5\nSpec.Mounts[0].Target = /proc\nSpec.Mounts[0].Data[0] = hidepid=2\nSpec.Mounts[0].Set = 0x1\nSpec.Mounts[0].Clear = 0x8"},
		{"remount of a bind is one", small, bind("remount", "bind", "ro"), nil, bound + "\nSpec.Mounts[0].Set = 0x1\nSpec.Mounts[0].ClearIfAllowed = 0x20000e"},
		{"idmap of a user namespace that is joined", small, func(c *specs.Spec) {
			bind("bind", "idmap")(c)
			c.Linux = &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "mount"}, {Type: "user", Path: "/ns"}}}
		}, nil, bound + "\nSpec.Mounts[0].IDMap.Joined = true\nSpec.Namespaces.User.Join.Mode = 2\nSpec.Namespaces.User.Join.Path = /ns"},
		{"idmap of its own", small, mount(specs.Mount{Destination: "/mnt", Source: "/src", Options: []string{"rbind", "ridmap"},
			UIDMappings: []specs.LinuxIDMapping{{ContainerID: 1, HostID: 2, Size: 3}}, GIDMappings: []specs.LinuxIDMapping{{ContainerID: 4, HostID: 5, Size: 6}}}), nil,
			bound + "\nSpec.Mounts[0].Recursive = true\nSpec.Mounts[0].IDMap.UIDs[0].Inside = 1\nSpec.Mounts[0].IDMap.UIDs[0].Outside = 2\nSpec.Mounts[0].IDMap.UIDs[0].Count = 3\n" +
				"Spec.Mounts[0].IDMap.GIDs[0].Inside = 4\nSpec.Mounts[0].IDMap.GIDs[0].Outside = 5\nSpec.Mounts[0].IDMap.GIDs[0].Count = 6\nSpec.Mounts[0].IDMap.Recursive = true"},
		{"idmap of the container", full, bind("bind", "idmap"), nil,
			bound + "\nSpec.Mounts[0].IDMap.UIDs[0].Outside = 100000\nSpec.Mounts[0].IDMap.UIDs[0].Count = 1000\nSpec.Mounts[0].IDMap.GIDs[0].Outside = 100000\nSpec.Mounts[0].IDMap.GIDs[0].Count = 1000"},

		{"seccomp", small, func(c *specs.Spec) {
			c.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", Flags: []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_LOG"}, ListenerPath: "/not/used",
				Syscalls: []specs.LinuxSyscall{{Names: []string{"mount"}, Action: "SCMP_ACT_ERRNO"}}}
		}, nil, "Spec.Process.Seccomp is there\nSpec.Process.SeccompFlags = 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			opt := options
			if c.opt != nil {
				c.opt(&opt)
			}
			config := c.base()
			before, err := Translate(config, options)
			if err != nil {
				t.Fatal(err)
			}
			c.edit(config)
			got, err := Translate(config, opt)
			if err != nil {
				t.Fatal(err)
			}
			diff := without(flatten(got), flatten(before))
			if d := cmp.Diff(c.adds, strings.Join(diff, "\n")); d != "" {
				t.Errorf("what it adds (-want +got):\n%s", d)
			}
		})
	}
}

// TestSmallest holds the whole of the smallest translation.
func TestSmallest(t *testing.T) {
	got, err := Translate(small(), options)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"Spec.Name = c1", "Spec.RootFS.Path = /bundle/rootfs", "Spec.RootFS.Writable = 3", "Spec.Bare = true",
		"Spec.Namespaces.PID.Mode = 1", "Spec.Namespaces.UTS.Mode = 1", "Spec.Namespaces.IPC.Mode = 1", "Spec.Namespaces.Cgroup.Mode = 1", "Spec.Namespaces.Network.Mode = 1",
		"Spec.Process.Args[0] = true", "Spec.Process.Dir = /", "Spec.Process.Umask = 022", "Spec.Process.Scheduling.AnyProcessor = true", "Spec.Process.IDs is there", "",
	}, "\n")
	if diff := cmp.Diff(want, flatten(got)); diff != "" {
		t.Error(diff)
	}
	config := small()
	config.Root.Readonly = true
	if got, err = Translate(config, options); err != nil || got.Spec.RootFS.Writable != 0 {
		t.Errorf("a read-only root is %v, %v", got, err)
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	config := small()
	config.Version = "2.0.0"
	config.Process.Cwd = "tmp"
	config.Linux.Namespaces = append(config.Linux.Namespaces, specs.LinuxNamespace{Type: "usr"})
	_, err := Translate(config, options)
	if err == nil {
		t.Fatal("no fault")
	}
	const want = `cannot use the configuration of container "c1":
ociVersion: version "2.0.0" of the runtime-spec is not supported, only 1.x is
linux.namespaces[1].type: unknown namespace "usr"; want one of cgroup, ipc, mount, network, pid, time, user, uts
process.cwd: "tmp" is not an absolute path; begin it with a slash`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	if f, ok := errors.AsType[*Fault](err); !ok || f.Path != "ociVersion" {
		t.Errorf("the first fault is %v", f)
	}
}

// TestManyFaults holds that a hostile text does not fill a log.
func TestManyFaults(t *testing.T) {
	config := small()
	for range 1000 {
		config.Linux.MaskedPaths = append(config.Linux.MaskedPaths, strings.Repeat("x", 1000))
	}
	_, err := Translate(config, options)
	if err == nil || !strings.HasSuffix(err.Error(), "\nand 950 more") || len(err.Error()) > 20000 {
		t.Errorf("the error is %.2000v", err)
	}
}
