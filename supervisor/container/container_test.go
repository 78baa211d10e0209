package container

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/isolate"
	"berth/isolate/cgroup"
	"berth/isolate/seccomp"
	"berth/units"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func ptr[T any](v T) *T { return &v }

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// TestDefaults holds what a unit gets that says nothing.
func TestDefaults(t *testing.T) {
	c := build(t, "web", base)
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	filter, flags, err := seccomp.Compile(seccomp.Default(), seccomp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the spec", c.Spec, &isolate.Spec{
		Name: "web", Hostname: "web", RootFS: isolate.RootFS{Host: true},
		Process: isolate.Process{
			Args: []string{"/bin/true"}, Dir: "/", NoNewPrivileges: true, Umask: 0o022, Seccomp: filter, SeccompFlags: flags,
			Rlimits: []isolate.Rlimit{{Resource: unix.RLIMIT_NOFILE, Name: "nofile", Soft: min(1024, files.Max), Hard: files.Max}},
		},
	})
	same(t, "the limits", c.Limits, cgroup.Limits{})
	if _, err := isolate.Compile(c.Spec); err != nil {
		t.Error(err)
	}
}

func TestHostname(t *testing.T) {
	long := strings.Repeat("a", 60) + "@" + strings.Repeat("b", 60)
	for _, c := range []struct{ name, more, want string }{
		{"web", "", "web"},
		{"worker@eu", "", "worker-eu"},
		{"a_b.c", "", "a-b.c"},
		{long, "", strings.Repeat("a", 60) + "-bbb"},
		{"web", "[namespaces]\nhostname = 'shop'\n", "shop"},
		{"web", "[namespaces]\nuts = 'host'\n", ""},
	} {
		got := build(t, c.name, base+c.more)
		if got.Spec.Hostname != c.want {
			t.Errorf("%s with %q: %q, want %q", c.name, c.more, got.Spec.Hostname, c.want)
		}
		if _, err := isolate.Compile(got.Spec); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRootFS(t *testing.T) {
	for _, c := range []struct {
		text string
		want isolate.RootFS
	}{
		{"path = '/srv/root'", isolate.RootFS{Path: "/srv/root"}},
		{"layers = ['/a', '/b']\nwritable = 'ephemeral'", isolate.RootFS{Layers: []string{"/a", "/b"}, Writable: isolate.Ephemeral}},
		{"host = true\nwritable = 'persistent'", isolate.RootFS{Host: true, Writable: isolate.Persistent, StateDir: stateDir + "/layers/web@eu"}},
	} {
		same(t, c.text, build(t, "web@eu", "[service]\ncommand = ['/bin/true']\n[rootfs]\n"+c.text).Spec.RootFS, c.want)
	}
	if _, err := Build(&units.Unit{Name: "x", RootFS: units.RootFS{Host: true, Writable: "odd"}}, Environment{}); err == nil {
		t.Error("an unknown kind of writable root was taken")
	}
}

func TestMounts(t *testing.T) {
	const user = "[service]\ncommand = ['/bin/true']\nuser = 'web'\ngroup = 'www'\n[rootfs]\nhost = true\n"
	plain := func(m isolate.Mount) isolate.Mount {
		m.Target, m.NoSuid, m.NoDev = "/mnt", true, true
		return m
	}
	for _, c := range []struct {
		text string
		want isolate.Mount
	}{
		{"source = '/srv'", plain(isolate.Mount{Source: "/srv"})},
		{"source = '/srv'\noptions = ['rw', 'nosuid', 'nodev']", plain(isolate.Mount{Source: "/srv"})},
		{"source = '/srv'\noptions = ['ro']", plain(isolate.Mount{Source: "/srv", ReadOnly: true})},
		{"source = '/srv'\noptions = ['noexec', 'noatime']", plain(isolate.Mount{Source: "/srv", NoExec: true, NoAtime: true})},
		{"source = '/srv'\noptions = ['rbind', 'ro']", plain(isolate.Mount{Source: "/srv", Recursive: true, ReadOnly: true})},
		{"source = '/srv'\npropagation = 'private'", plain(isolate.Mount{Source: "/srv", Propagation: unix.MS_PRIVATE})},
		{"source = '/srv'\npropagation = 'slave'", plain(isolate.Mount{Source: "/srv", Propagation: unix.MS_SLAVE})},
		{"source = '/srv'\npropagation = 'shared'", plain(isolate.Mount{Source: "/srv", Propagation: unix.MS_SHARED})},
		{"type = 'tmpfs'", plain(isolate.Mount{Type: isolate.Tmpfs, User: "web", Group: "www"})},
		{"type = 'tmpfs'\nsize = '64M'\nmode = '1777'", plain(isolate.Mount{Type: isolate.Tmpfs, Size: 64 << 20, Mode: 0o1777, User: "web", Group: "www"})},
		{"type = 'tmpfs'\nuser = 'root'", plain(isolate.Mount{Type: isolate.Tmpfs, User: "root"})},
		{"type = 'tmpfs'\ngroup = 'adm'", plain(isolate.Mount{Type: isolate.Tmpfs, User: "web", Group: "adm"})},
		{"type = 'volume'\nsource = 'data'\nmode = '0700'", plain(isolate.Mount{Type: isolate.Volume, Source: stateDir + "/volumes/data", Mode: 0o700, User: "web", Group: "www"})},
		{"type = 'volume'\nsource = 'data'\nuser = '33'\ngroup = '34'", plain(isolate.Mount{Type: isolate.Volume, Source: stateDir + "/volumes/data", User: "33", Group: "34"})},
	} {
		if c.want.Propagation == 0 {
			c.want.Propagation = unix.MS_PRIVATE
		}
		spec := build(t, "web", user+"[[mount]]\ntarget = '/mnt'\n"+c.text).Spec
		same(t, c.text, spec.Mounts, []isolate.Mount{c.want})
		if _, err := isolate.Compile(spec); err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
	}
	// In the order of the file, for one may lie on the other.
	got := build(t, "web", base+"[[mount]]\nsource = '/b'\ntarget = '/z'\n[[mount]]\nsource = '/a'\ntarget = '/z/y'\n").Spec.Mounts
	if len(got) != 2 || got[0].Target != "/z" || got[1].Target != "/z/y" {
		t.Errorf("two mounts: %+v", got)
	}
}

func TestNamespaces(t *testing.T) {
	u := unit(t, "web", base+"[namespaces]\npid = 'unit:db'\nuts = 'host'\nipc = 'new'\ncgroup = 'path:/run/ns'\nnetwork = 'unit:db'\n[unit]\nrequires = ['db']\n")
	c, err := Build(u, Environment{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the namespaces", c.Spec.Namespaces, isolate.Namespaces{
		PID: isolate.Namespace{Mode: isolate.NSJoin, Process: "db"}, UTS: isolate.Namespace{Mode: isolate.NSHost},
		Cgroup: isolate.Namespace{Mode: isolate.NSJoin, Path: "/run/ns"}, Network: isolate.Namespace{Mode: isolate.NSJoin, Process: "db"},
	})
	same(t, "the units joined", Joined(u), []string{"db"})
	u.Namespaces.IPC = "odd"
	if _, err := Build(u, Environment{}); err == nil || !strings.Contains(err.Error(), `"odd"`) {
		t.Errorf("an unknown namespace: %v", err)
	}
}

func TestProcess(t *testing.T) {
	c := build(t, "web", `[service]
command = "/bin/a 'b c'"
user = "web"
group = "www"
groups = ["audio", "44"]
umask = "0077"
working-directory = "/srv"
pre-start = [["/bin/x"], ["/bin/y", "z"]]
init = true
[rootfs]
host = true
[limits]
nofile = "100:200"
core = "unlimited"
memlock = "64K"
[scheduling]
nice = -5
oom-score-adjust = 300
io-class = "realtime"
io-priority = 2
[security]
no-new-privileges = false
seccomp = "unconfined"
masked-paths = ["/m"]
readonly-paths = ["/r"]
[sysctl]
"net.core.somaxconn" = 4096
`)
	same(t, "the process", c.Spec.Process, isolate.Process{
		Args: []string{"/bin/a", "b c"}, Dir: "/srv", User: "web", Group: "www", Groups: []string{"audio", "44"}, Umask: 0o077,
		Rlimits: []isolate.Rlimit{
			{Resource: unix.RLIMIT_CORE, Name: "core", Soft: unix.RLIM_INFINITY, Hard: unix.RLIM_INFINITY},
			{Resource: unix.RLIMIT_MEMLOCK, Name: "memlock", Soft: 64 << 10, Hard: 64 << 10},
			{Resource: unix.RLIMIT_NOFILE, Name: "nofile", Soft: 100, Hard: 200},
		},
		Scheduling: isolate.Scheduling{Nice: ptr(-5), OOMScoreAdjust: ptr(300), IOPriority: ptr(1<<13 | 2)},
	})
	same(t, "pre-start", c.Spec.PreStart, [][]string{{"/bin/x"}, {"/bin/y", "z"}})
	same(t, "sysctl", c.Spec.Sysctl, map[string]string{"net.core.somaxconn": "4096"})
	same(t, "the paths", append(c.Spec.MaskedPaths, c.Spec.ReadonlyPaths...), []string{"/m", "/r"})
	if !c.Spec.Init {
		t.Error("init is not taken over")
	}
	if _, err := Build(&units.Unit{Service: units.Service{Umask: "9"}, Namespaces: unit(t, "x", base).Namespaces}, Environment{}); err == nil {
		t.Error("a umask that is not octal was taken")
	}
}

func TestScheduling(t *testing.T) {
	for _, c := range []struct {
		text string
		want isolate.Scheduling
	}{
		{"io-class = 'best-effort'", isolate.Scheduling{IOPriority: ptr(2<<13 | 4)}}, // the kernel's own default level
		{"io-class = 'best-effort'\nio-priority = 0", isolate.Scheduling{IOPriority: ptr(2 << 13)}},
		{"io-class = 'idle'", isolate.Scheduling{IOPriority: ptr(3 << 13)}},
		{"cpu-policy = 'other'", isolate.Scheduling{Policy: ptr(0)}},
		{"cpu-policy = 'fifo'\ncpu-priority = 7", isolate.Scheduling{Policy: ptr(1), Priority: 7}},
		{"cpu-policy = 'rr'\ncpu-priority = 99", isolate.Scheduling{Policy: ptr(2), Priority: 99}},
		{"cpu-policy = 'batch'\nnice = 3", isolate.Scheduling{Policy: ptr(3), Nice: ptr(3)}},
		{"cpu-policy = 'idle'", isolate.Scheduling{Policy: ptr(5)}},
	} {
		same(t, c.text, build(t, "web", base+"[scheduling]\n"+c.text).Spec.Process.Scheduling, c.want)
	}
}

func TestCapabilities(t *testing.T) {
	c := build(t, "web", base+"[capabilities]\nkeep = ['NET_BIND_SERVICE', 'CAP_CHOWN']\nambient = ['NET_BIND_SERVICE']\n")
	keep, ambient := uint64(1<<unix.CAP_NET_BIND_SERVICE|1<<unix.CAP_CHOWN), uint64(1<<unix.CAP_NET_BIND_SERVICE)
	same(t, "the sets", c.Spec.Process.Capabilities,
		isolate.Capabilities{Bounding: keep, Permitted: keep, Effective: keep, Inheritable: ambient, Ambient: ambient})
	u := unit(t, "web", base)
	u.Capabilities.Keep = []string{"FLY"}
	if _, err := Build(u, Environment{}); err == nil || !strings.Contains(err.Error(), "FLY") {
		t.Errorf("an unknown capability: %v", err)
	}
}

func TestLimits(t *testing.T) {
	c := build(t, "web", base+`[cgroup]
memory-max = "256M"
memory-high = "max"
memory-swap-max = "0"
oom-group = true
cpu-max = "150%"
cpu-weight = 50
cpuset-cpus = "0-1"
pids-max = 512
io-weight = 200
io-max = [{ device = "/dev/vda", read-bps = "10M", write-iops = 500 }]
hugetlb-max = { "2M" = "64M" }
[[device]]
path = "/dev/null"
[[device]]
path = "/dev/zero"
access = "rm"
`)
	same(t, "the limits", c.Limits, cgroup.Limits{
		MemoryMax: ptr(int64(256 << 20)), MemoryHigh: ptr(int64(-1)), MemorySwapMax: ptr(int64(0)), OOMGroup: true,
		CPUMax: ptr(int64(1500)), CPUWeight: ptr(50), CpusetCPUs: "0-1", PidsMax: ptr(int64(512)), IOWeight: ptr(200),
		IOMax:      []cgroup.IOMax{{Device: "/dev/vda", ReadBPS: ptr(int64(10 << 20)), WriteIOPS: ptr(int64(500))}},
		HugetlbMax: map[string]int64{"2MB": 64 << 20},
		Devices: []cgroup.DeviceRule{
			{Type: 'c', Major: 1, Minor: 3, Read: true, Write: true, Allow: true},
			{Type: 'c', Major: 1, Minor: 5, Read: true, Mknod: true, Allow: true},
		},
	})
	same(t, "the device nodes", c.Spec.Devices, []isolate.DeviceNode{{Path: "/dev/null"}, {Path: "/dev/zero"}})
	u := unit(t, "web", base+"[[device]]\npath = '/dev/there-is-none'\n")
	if _, err := Build(u, Environment{}); err == nil || !strings.Contains(err.Error(), "/dev/there-is-none") {
		t.Errorf("a device that is not there: %v", err)
	}
	u = unit(t, "web", base+"[service.environment]\nA = 'b'\n")
	u.Service.Terminal = "/dev/null"
	if c, err := Build(u, Environment{}); err != nil || !c.Spec.Process.Terminal || len(c.Limits.Devices) != 1 || len(c.Spec.Devices) != 0 {
		t.Errorf("a terminal: %+v, %v", c, err)
	}
}

func TestSeccomp(t *testing.T) {
	dir := t.TempDir()
	profile := `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}`
	good, bad := filepath.Join(dir, "good.json"), filepath.Join(dir, "bad.json")
	for file, text := range map[string]string{good: profile, bad: `{"defaultAction": "SCMP_ACT_SING"}`} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := seccomp.Parse([]byte(profile))
	if err != nil {
		t.Fatal(err)
	}
	allow := &seccomp.Profile{Default: seccomp.Verdict{Action: seccomp.Allow}}
	for _, c := range []struct {
		text    string
		profile *seccomp.Profile // nil: no filter
		options seccomp.Options
	}{
		{"seccomp = 'default'", seccomp.Default(), seccomp.Options{}},
		{"deny-syscalls = ['chmod']\nallow-syscalls = ['mount']", seccomp.Default(), seccomp.Options{Deny: []string{"chmod"}, Allow: []string{"mount"}}},
		{"seccomp = 'unconfined'", nil, seccomp.Options{}},
		{"seccomp = 'unconfined'\ndeny-syscalls = ['swapon']", allow, seccomp.Options{Deny: []string{"swapon"}}},
		{"seccomp = '" + good + "'", parsed, seccomp.Options{}},
		{"[capabilities]\nkeep = ['SYS_ADMIN']", seccomp.Default(), seccomp.Options{Caps: []string{"SYS_ADMIN"}}},
	} {
		p := build(t, "web", base+"[security]\n"+c.text).Spec.Process
		var want []byte
		if c.profile != nil {
			if want, _, err = seccomp.Compile(c.profile, c.options); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(p.Seccomp, want) {
			t.Errorf("%s: the filter has %d bytes, want %d", c.text, len(p.Seccomp), len(want))
		}
	}
	for _, c := range []struct {
		security units.Security
		want     string
	}{
		{units.Security{Seccomp: "default", DenySyscalls: []string{"fork_and_spoon"}}, "fork_and_spoon"},
		{units.Security{Seccomp: "unconfined", DenySyscalls: []string{"fork_and_spoon"}}, "fork_and_spoon"},
		{units.Security{Seccomp: dir + "/none.json"}, "none.json"},
		{units.Security{Seccomp: bad}, "bad.json"},
	} {
		u := unit(t, "web", base)
		u.Security = c.security
		if _, err := Build(u, Environment{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.security, err)
		}
	}
}

// TestExec holds an exec to what the service has, and no more.
func TestExec(t *testing.T) {
	c := build(t, "web", `[service]
command = ["/bin/a"]
user = "web"
group = "www"
groups = ["audio"]
working-directory = "/srv"
environment = { A = "1", B = "2" }
[rootfs]
host = true
[capabilities]
keep = ["CHOWN"]
[namespaces]
network = "host"
uts = "unit:db"
[unit]
requires = ["db"]
`)
	c.Spec.Process.ExtraFiles = 3
	own := c.Spec.Process
	e := Exec(c, isolate.Process{Args: []string{"sh"}, Env: []string{"TERM=x"}, Terminal: true})
	want := own
	want.Args, want.Terminal, want.ExtraFiles, want.Env = []string{"sh"}, true, 0, []string{"A=1", "B=2", "TERM=x"}
	same(t, "the exec", e, &isolate.ExecSpec{Name: "web", Process: want, Cgroup: c.Spec.Cgroup, PID: true, Mount: true, UTS: true, IPC: true, CgroupNS: true})
	other := Exec(c, isolate.Process{Args: []string{"sh"}, User: "nobody", Dir: "/tmp"})
	want.User, want.Group, want.Groups, want.Dir, want.Env, want.Terminal = "nobody", "", nil, "/tmp", []string{"A=1", "B=2"}, false
	same(t, "the exec of another user", other.Process, want)
	same(t, "the unit's own process", c.Spec.Process, own)
}
