package isolate

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, p *program.Program) {
	t.Helper()
	var b bytes.Buffer
	if err := p.Format(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".golden")
	if *update {
		os.MkdirAll("testdata", 0o755)
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s differs; look at the difference after go test -update:\n%s", file, b.Bytes())
	}
}

// sealedSpec is hostSpec for a starter such as berthd's launcher.
func sealedSpec(args ...string) *Spec {
	spec := hostSpec(args...)
	spec.SealedStarter = true
	return spec
}

func TestGoldenPrograms(t *testing.T) {
	nice, oom := -5, 200
	const netBind = 1 << unix.CAP_NET_BIND_SERVICE
	for name, spec := range map[string]*Spec{
		"host":   hostSpec("/usr/sbin/nginx", "-g", "daemon off;"),
		"sealed": sealedSpec("/usr/sbin/nginx", "-g", "daemon off;"),
		"full": {
			Name:   "shop@eu",
			RootFS: RootFS{Layers: []string{"/srv/base", "/srv/app"}, Writable: Persistent, StateDir: "/var/lib/berth/state/shop"},
			Mounts: []Mount{
				{Type: Bind, Source: "/srv/www", Target: "/var/www", ReadOnly: true, NoSuid: true, NoDev: true, Recursive: true},
				{Type: Tmpfs, Target: "/var/cache/app", Size: 64 << 20, Mode: 0o700, User: "web"},
				{Type: Volume, Source: "/var/lib/berth/volumes/data", Target: "/data", User: "web", Group: "web"},
			},
			Process: Process{
				Args: []string{"app", "--serve"}, Env: []string{"PATH=/app/bin:/usr/bin", "TZ=UTC"}, Dir: "/data",
				User: "web", Groups: []string{"ssl"}, NoNewPrivileges: true, Seccomp: make([]byte, 80), SeccompFlags: unix.SECCOMP_FILTER_FLAG_LOG, Umask: 0o27, ExtraFiles: 2,
				Capabilities: Capabilities{Bounding: netBind, Effective: netBind, Permitted: netBind, Inheritable: netBind, Ambient: netBind},
				Rlimits:      []Rlimit{{unix.RLIMIT_NOFILE, "nofile", 1024, 65536}, {unix.RLIMIT_CORE, "core", ^uint64(0), ^uint64(0)}},
				Scheduling:   Scheduling{Nice: &nice, OOMScoreAdjust: &oom},
			},
			PreStart:    [][]string{{"/bin/mkdir", "-p", "/run/app"}},
			Init:        true,
			MaskedPaths: []string{"/etc/secret"}, ReadonlyPaths: []string{"/etc"},
			Devices: []DeviceNode{{Path: "/dev/fuse"}},
			Sysctl:  map[string]string{"net.core.somaxconn": "4096"},
			Cgroup:  Cgroup{Unified: true, Legacy: []string{"pids", "memory"}, Optional: []string{"cpuset"}},
		},
		"joined": {
			Name:   "side",
			RootFS: RootFS{Path: "/srv/side", Writable: Direct, Propagation: unix.MS_SLAVE},
			Namespaces: Namespaces{PID: Namespace{Mode: NSJoin, Process: "web"}, Network: Namespace{Mode: NSJoin, Path: "/run/netns/web"},
				UTS: Namespace{Mode: NSHost}, IPC: Namespace{Mode: NSJoin, Process: "web"}, Cgroup: Namespace{Mode: NSHost}},
			Process: Process{Args: []string{"/bin/getty"}, Terminal: true},
		},
		"listener": {
			Name:   "agent",
			RootFS: RootFS{Path: "/srv/agent"},
			Process: Process{Args: []string{"/app"}, NoNewPrivileges: true, Seccomp: []byte{6, 0, 0, 0, 0, 0, 0xff, 0x7f}, SeccompListener: true,
				Landlock: &Landlock{Rules: []LandlockRule{{Path: "/usr", Read: true, Execute: true}}, TCPBind: []uint16{80}, ScopeSignals: true}},
		},
		"user": inUserNS(&Spec{
			Name:       "shop",
			RootFS:     RootFS{Path: "/srv/shop", Writable: Persistent, StateDir: "/var/lib/berth/layers/shop"},
			Mounts:     []Mount{{Type: Volume, Source: "/var/lib/berth/volumes/data", Target: "/data", User: "web"}, {Type: Tmpfs, Target: "/var/cache"}},
			Namespaces: Namespaces{Network: Namespace{Mode: NSJoin, Process: "web"}},
			Process:    Process{Args: []string{"/app"}, User: "web", NoNewPrivileges: true, Rlimits: []Rlimit{{unix.RLIMIT_NOFILE, "nofile", 1024, 65536}}, Scheduling: Scheduling{Nice: &nice, OOMScoreAdjust: &oom}},
		}),
		"bare": goldenBare(),
		"unprivileged": {
			Name: "own", Unprivileged: true,
			RootFS:     RootFS{Host: true},
			Namespaces: Namespaces{Network: Namespace{Mode: NSHost}, User: &UserNamespace{DenySetgroups: true, Map: IDMap{UIDs: []IDRange{{0, 1000, 1}}, GIDs: []IDRange{{0, 1000, 1}}}}},
			Process:    Process{Args: []string{"/app"}, NoNewPrivileges: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Compile(spec)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, p)
		})
	}
	t.Run("exec", func(t *testing.T) {
		p, err := CompileExec(&ExecSpec{Name: "web", Process: Process{Args: []string{"sh"}, NoNewPrivileges: true}, Cgroup: Cgroup{Unified: true},
			PID: true, Mount: true, UTS: true, IPC: true, CgroupNS: true, Network: true})
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "exec", p)
	})
}

// goldenBare is what an engine asks for, and most of what only a bare container has.
func goldenBare() *Spec {
	persona, policy := uint64(8), 6
	const sealed = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	return &Spec{
		Name: "4f2a", Bare: true, Hostname: "box", Domainname: "example",
		RootFS:     RootFS{Path: "/var/lib/rootfs", Writable: ReadOnly, Propagation: unix.MS_SLAVE | unix.MS_REC},
		Namespaces: Namespaces{Network: Namespace{Mode: NSJoin, Path: "/run/netns/box"}, Cgroup: Namespace{Mode: NSHost}, Time: &TimeNamespace{Monotonic: 3600e9, Boottime: -1500e6}},
		Mounts: []Mount{
			{Type: FileSystem, FSType: "proc", Source: "proc", Target: "/proc", Set: sealed},
			{Type: FileSystem, FSType: "tmpfs", Source: "tmpfs", Target: "/dev", Data: []string{"mode=755", "size=65536k"}, Set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_RDONLY},
			{Type: FileSystem, FSType: "devpts", Source: "devpts", Target: "/dev/pts", Data: []string{"newinstance", "ptmxmode=0666"}, Set: unix.MOUNT_ATTR_NOSUID},
			{Type: CgroupFS, Target: "/sys/fs/cgroup", Set: sealed | unix.MOUNT_ATTR_RDONLY},
			{Type: Bind, Source: "/srv/data", Target: "/data", Recursive: true, SetRecursive: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_SHARED | unix.MS_REC, NoSymlinks: true},
			{Type: FileSystem, FSType: "tmpfs", Target: "/etc/new", CopyUp: true},
			{Type: FileSystem, FSType: "overlay", Source: "overlay", Target: "/opt", Data: []string{"lowerdir=/" + strings.Repeat("x", 300)}},
			{Type: Remount, Target: "/data", Set: unix.MOUNT_ATTR_NOEXEC},
		},
		CreateContainer: []Hook{{Path: "/usr/bin/hook", Args: []string{"hook", "create"}, Env: []string{"A=b"}, Timeout: 5e9}},
		StartContainer:  []Hook{{Path: "/bin/ready"}},
		SyncRuntime:     true,
		MaskedPaths:     []string{"/proc/kcore"}, ReadonlyPaths: []string{"/proc/sys"},
		Devices: []DeviceNode{{Path: "/dev/fuse", Make: &Node{Type: 'c', Major: 10, Minor: 229, Mode: 0o660, GID: 5}}},
		Sysctl:  map[string]string{"net.ipv4.ip_forward": "1"},
		Process: Process{
			Args: []string{"/bin/app"}, Env: []string{"PATH=/bin"}, Dir: "/work", IDs: &IDs{UID: 1000, GID: 1000, Groups: []uint32{5}},
			Console: true, ConsoleHeight: 24, ConsoleWidth: 80, AppArmor: "profile", SELinux: "a:b:c:d", Personality: &persona,
			Scheduling: Scheduling{Policy: &policy, Runtime: 1e6, Deadline: 1e7, Period: 1e7, InitialAffinity: []int{0}, FinalAffinity: []int{0, 65}},
		},
		Cgroup: Cgroup{Unified: true},
	}
}
