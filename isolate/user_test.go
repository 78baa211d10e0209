package isolate

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// rangeStart is where the ids of the tests' user namespaces lie outside.
const rangeStart = 300000

func ownIDs() IDMap {
	r := []IDRange{{0, rangeStart, 65536}}
	return IDMap{UIDs: r, GIDs: r}
}

// inUserNS gives a Spec a user namespace of its own, and its root file system and mounts the ids of it.
func inUserNS(spec *Spec) *Spec {
	m := ownIDs()
	spec.Namespaces.User = &UserNamespace{Map: m}
	spec.RootFS.IDMap = &m
	for i := range spec.Mounts {
		if t := spec.Mounts[i].Type; t == Bind || t == Volume {
			spec.Mounts[i].IDMap = &m
		}
	}
	return spec
}

// words puts output on one line.
func words(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestUserNamespaceOnTheHostsRoot(t *testing.T) {
	needRoot(t)
	out := run(t, inUserNS(shell(`id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map
		stat -c '%u %g' / /etc/passwd /dev /dev/null /dev/shm /tmp /run
		echo x >/tmp/x; mkdir /run/y; echo y >/dev/null; echo z >/dev/shm/z; stat -c %u /tmp/x /run/y; cat /proc/self/setgroups; id -G
		touch /x 2>/dev/null || echo read-only`)))
	equal(t, "output", words(out), "0 0 0 300000 65536 0 300000 65536 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 allow 0 read-only")
}

func TestUserNamespaceOwnsTheOthers(t *testing.T) {
	needRoot(t)
	spec := inUserNS(shell("hostname inner; hostname; echo 1 >/proc/sys/net/ipv4/ip_forward || true; cat /sys/class/net/lo/flags; ls /proc | grep -c '^[0-9]'; mount -t tmpfs none /tmp && echo mounted; ls /sys/fs/cgroup >/dev/null && echo groups"))
	all := knownCapabilities()
	spec.Process.Capabilities = Capabilities{Bounding: all, Permitted: all, Effective: all}
	spec.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
	out := run(t, spec)
	lines := strings.Split(out, "\n")
	if lines[0] != "inner" || !strings.Contains(out, "0x9") || !strings.Contains(out, "mounted") || !strings.Contains(out, "groups") {
		t.Error(out)
	}
}

// A process born in a user namespace has every capability, also in the bounding set.
func TestUserNamespaceDropsCapabilities(t *testing.T) {
	needRoot(t)
	out := run(t, inUserNS(hostSpec("/bin/cat", "/proc/self/status")))
	for _, f := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		equal(t, f, field(t, out, f), "0000000000000000")
	}
	// One that berth itself may lack is there inside.
	spec := inUserNS(hostSpec("/bin/cat", "/proc/self/status"))
	one := uint64(1) << unix.CAP_SYS_RESOURCE
	spec.Process.Capabilities = Capabilities{Bounding: one, Permitted: one, Effective: one}
	equal(t, "CapEff", field(t, run(t, spec), "CapEff"), "0000000001000000")
}

func TestUserNamespaceUsers(t *testing.T) {
	needRoot(t)
	spec := inUserNS(shell("id -u; id -g; id -G; cat /proc/self/status"))
	spec.Process.User, spec.Process.Groups = "daemon", []string{"77"}
	prep := prepared(t, spec)
	if prep.UID() != rangeStart+1 || prep.GID() != rangeStart+1 {
		t.Errorf("outside: user %d, group %d", prep.UID(), prep.GID())
	}
	prep.Close()
	out := run(t, spec)
	equal(t, "ids", words(strings.Join(strings.SplitN(out, "\n", 4)[:3], " ")), "1 1 1 77")

	for _, c := range []struct {
		user, group string
		groups      []string
		want        string
	}{
		{"70000", "", nil, "user 70000 is not mapped in the user namespace, which has 0-65535"},
		{"0", "70000", nil, "group 70000 is not mapped"},
		{"0", "", []string{"70001"}, "group 70001 is not mapped"},
	} {
		spec.Process.User, spec.Process.Group, spec.Process.Groups = c.user, c.group, c.groups
		if e := fails(t, spec); !strings.Contains(e.Error(), c.want) || e.Op != "lookup_user" {
			t.Errorf("%v", e)
		}
	}
	spec.Process.User, spec.Process.Group, spec.Process.Groups = "", "", nil
	spec.Mounts = []Mount{{Type: Tmpfs, Target: "/tmp", User: "66000"}}
	if e := fails(t, spec); !strings.Contains(e.Error(), "user 66000 is not mapped") {
		t.Errorf("%v", e)
	}
}

// owner gives the owner of a file on disk.
func owner(t *testing.T, name string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(int(st.Uid)) + ":" + strconv.Itoa(int(st.Gid))
}

func TestUserNamespaceRoots(t *testing.T) {
	needRoot(t)
	script := `stat -c '%u:%g' / /etc/mine /etc/theirs; touch /etc/new && chown 5:6 /etc/new && stat -c '%u:%g' /etc/new; echo more >>/etc/mine`
	root := func(t *testing.T) *Spec {
		spec := pathSpec(t, script)
		for name, uid := range map[string]int{"mine": 0, "theirs": 33} {
			write(t, filepath.Join(spec.RootFS.Path, "etc", name), "x\n")
			if err := os.Chown(filepath.Join(spec.RootFS.Path, "etc", name), uid, uid); err != nil {
				t.Fatal(err)
			}
		}
		all := knownCapabilities()
		spec.Process.Capabilities = Capabilities{Bounding: all, Permitted: all, Effective: all}
		return inUserNS(spec)
	}
	const want = "0:0 0:0 33:33 5:6"
	t.Run("direct", func(t *testing.T) {
		spec := root(t)
		spec.RootFS.Writable = Direct
		equal(t, "owners inside", words(run(t, spec)), want)
		equal(t, "owner on disk", owner(t, filepath.Join(spec.RootFS.Path, "etc/new")), "5:6")
	})
	t.Run("ephemeral", func(t *testing.T) {
		spec := root(t)
		spec.RootFS.Writable = Ephemeral
		equal(t, "owners inside", words(run(t, spec)), want)
	})
	t.Run("persistent", func(t *testing.T) {
		spec := root(t)
		spec.RootFS.Writable, spec.RootFS.StateDir = Persistent, filepath.Join(t.TempDir(), "state")
		equal(t, "owners inside", words(run(t, spec)), want)
		upper := filepath.Join(spec.RootFS.StateDir, "upper")
		equal(t, "owner on disk", owner(t, filepath.Join(upper, "etc/new")), "5:6")
		equal(t, "owner on disk", owner(t, filepath.Join(upper, "etc/mine")), "0:0")
		spec.Process.Args[2] = "cat /etc/mine; rm -r /etc; mkdir /etc; stat -c '%u:%g' /etc/new 2>/dev/null || ls /etc"
		equal(t, "the second start", words(run(t, spec)), "x more")
		// What was kept does not depend on the range.
		other := ownIDs()
		other.UIDs, other.GIDs = []IDRange{{0, 500000, 65536}}, []IDRange{{0, 500000, 65536}}
		spec.Namespaces.User.Map, spec.RootFS.IDMap = other, &other
		spec.Process.Args[2] = "stat -c '%u:%g' /etc; touch /etc/third"
		for i := range spec.Mounts {
			spec.Mounts[i].IDMap = nil
		}
		equal(t, "with another range", words(run(t, spec)), "0:0")
	})
	t.Run("layers", func(t *testing.T) {
		spec := root(t)
		top := t.TempDir()
		os.Chmod(top, 0o755)
		spec.RootFS.Layers, spec.RootFS.Path, spec.RootFS.Writable = []string{spec.RootFS.Path, top}, "", Ephemeral
		equal(t, "owners inside", words(run(t, spec)), want)
		spec.RootFS.Writable = ReadOnly
		spec.Process.Args[2] = "stat -c '%u:%g' /etc/theirs; touch /x 2>/dev/null || echo refused"
		equal(t, "read-only", words(run(t, spec)), "33:33 refused")
	})
	t.Run("host ephemeral", func(t *testing.T) {
		spec := inUserNS(shell("stat -c '%u:%g' /etc/passwd; touch /etc/berth-new && stat -c '%u:%g' /etc/berth-new"))
		spec.RootFS.Writable = Ephemeral
		equal(t, "owners inside", words(run(t, spec)), "0:0 0:0")
	})
	t.Run("not idmapped", func(t *testing.T) {
		spec := root(t)
		spec.RootFS.IDMap = nil
		spec.Process.Args[2] = "stat -c '%u:%g' /etc/mine /run; touch /etc/new 2>/dev/null || echo refused"
		equal(t, "read-only", words(run(t, spec)), "65534:65534 65534:65534 refused")
		spec.RootFS.Writable, spec.RootFS.StateDir = Persistent, filepath.Join(t.TempDir(), "state")
		spec.Process.Args[2] = "stat -c '%u:%g' /; touch /new && stat -c '%u:%g' /new"
		equal(t, "persistent", words(run(t, spec)), "0:0 0:0")
		equal(t, "owner on disk", owner(t, filepath.Join(spec.RootFS.StateDir, "upper/new")), "300000:300000")
	})
}

func TestUserNamespaceMounts(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	for name, uid := range map[string]int{"root": 0, "other": 44} {
		write(t, filepath.Join(dir, name), "")
		os.Chown(filepath.Join(dir, name), uid, uid)
	}
	spec := shell(`cd /run; stat -c '%u:%g' plain/other mapped/root mapped/other tmp tmp2 volume; touch mapped/new volume/new tmp/new`)
	volume := filepath.Join(t.TempDir(), "volume")
	m := ownIDs()
	spec.Mounts = []Mount{
		{Type: Bind, Source: dir, Target: "/run/plain"},
		{Type: Bind, Source: dir, Target: "/run/mapped", IDMap: &m},
		{Type: Tmpfs, Target: "/run/tmp"},
		{Type: Tmpfs, Target: "/run/tmp2", User: "daemon", Group: "7"},
		{Type: Volume, Source: volume, Target: "/run/volume", User: "0", Group: "9", IDMap: &m},
	}
	spec.Namespaces.User = &UserNamespace{Map: m}
	spec.RootFS.IDMap = &m
	equal(t, "owners", words(run(t, spec)), "65534:65534 0:0 44:44 0:0 1:7 0:9")
	equal(t, "bind on disk", owner(t, filepath.Join(dir, "new")), "0:0")
	equal(t, "volume on disk", owner(t, volume)+" "+owner(t, filepath.Join(volume, "new")), "0:9 0:0")

	// Without a map of its own a volume that is made belongs to the ids outside.
	spec.Mounts[4].IDMap, spec.Mounts[4].Source = nil, volume+"2"
	equal(t, "owners", words(run(t, spec)), "65534:65534 0:0 44:44 0:0 1:7 0:9")
	equal(t, "volume on disk", owner(t, volume+"2"), "300000:300009")
}

func TestUnmappableFileSystem(t *testing.T) {
	needRoot(t)
	spec := shell("true")
	m := ownIDs()
	spec.Namespaces.User = &UserNamespace{Map: m}
	spec.Mounts = []Mount{{Type: Bind, Source: "/proc", Target: "/run/proc", IDMap: &m}}
	e := fails(t, spec)
	if e.Op != "idmap_mount" || e.Errno != unix.EINVAL || !strings.Contains(e.Hint, "idmapped") {
		t.Errorf("%v (%s)", e, e.Hint)
	}
}

// Settings that only the starter may make are made by it.
func TestUserNamespaceSettings(t *testing.T) {
	needRoot(t)
	nice, oom, policy, io := -3, -500, unix.SCHED_BATCH, 3<<13
	spec := inUserNS(shell("cat /proc/self/oom_score_adj; nice; ulimit -n; ulimit -Hn; ionice; chrt -p $$ | head -1 | sed 's/.*: //'"))
	spec.Process.User = "daemon"
	spec.Process.Rlimits = []Rlimit{{unix.RLIMIT_NOFILE, "nofile", 4, 200}, {unix.RLIMIT_CORE, "core", 0, 0}}
	spec.Process.Rlimits[0].Soft = 100
	spec.Process.Scheduling = Scheduling{Nice: &nice, IOPriority: &io, Policy: &policy}
	want := "0 -3 100 200 idle SCHED_BATCH"
	if bounding, _ := capabilitySets(); bounding>>unix.CAP_SYS_RESOURCE&1 == 1 {
		want = "-500" + want[1:]
	} else {
		oom = 0
	}
	spec.Process.Scheduling.OOMScoreAdjust = &oom
	equal(t, "settings", words(run(t, spec)), want)
	oom = 300
	if out := words(run(t, spec)); !strings.HasPrefix(out, "300 -3") {
		t.Error(out)
	}
}

func TestUserNamespaceWithNamespacesOfTheHost(t *testing.T) {
	needRoot(t)
	net, _ := os.Readlink("/proc/self/ns/net")
	spec := inUserNS(shell("readlink /proc/self/ns/net /proc/self/ns/uts; ls /sys/class/net | wc -l; test -d /proc/2 && echo processes"))
	spec.Namespaces.Network.Mode, spec.Namespaces.UTS.Mode, spec.Namespaces.PID.Mode = NSHost, NSHost, NSHost
	spec.Namespaces.IPC.Mode, spec.Namespaces.Cgroup.Mode = NSHost, NSHost
	out := run(t, spec)
	if !strings.HasPrefix(out, net+"\n") || !strings.HasSuffix(out, "processes") {
		t.Error(out)
	}

	// A container without a user namespace, joined by one with.
	first, pidfd := background(t, hostSpec("sleep", "1000"))
	second := inUserNS(shell("readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts; ls /sys/class/net; id -u"))
	second.Namespaces.Network, second.Namespaces.IPC = Namespace{Mode: NSJoin, Process: "first"}, Namespace{Mode: NSJoin, Process: "first"}
	second.Namespaces.UTS = Namespace{Mode: NSJoin, Path: "/proc/" + strconv.Itoa(first.PID) + "/ns/uts"}
	var want []string
	for _, n := range []string{"net", "ipc", "uts"} {
		l, err := os.Readlink("/proc/" + strconv.Itoa(first.PID) + "/ns/" + n)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, l)
	}
	equal(t, "joined", words(runWith(t, second, Files{Processes: map[string]*os.File{"first": pidfd}})), strings.Join(want, " ")+" lo 0")
	// The forking threads have come back, the process's first among them.
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if out, ws, err := start(t, second, Files{Processes: map[string]*os.File{"first": pidfd}}); err != nil || ws != 0 {
				t.Errorf("%v %#x %s", err, uint32(ws), out)
			}
		})
	}
	wg.Wait()
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, task := range tasks {
		if have, err := os.Readlink(task); err == nil && have != net {
			t.Errorf("%s is %s", task, have)
		}
	}
}

func TestJoinedUserNamespace(t *testing.T) {
	needRoot(t)
	first, pidfd := background(t, inUserNS(hostSpec("sleep", "1000")))
	user, err := os.Readlink("/proc/" + strconv.Itoa(first.PID) + "/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	m := ownIDs()
	spec := shell("readlink /proc/self/ns/user; id -u; cat /proc/1/comm; ls /sys/class/net; stat -c %u /etc/passwd; hostname")
	spec.Hostname = "second"
	spec.RootFS.IDMap = &m
	spec.Namespaces.User = &UserNamespace{Join: &Namespace{Mode: NSJoin, Process: "first"}}
	spec.Namespaces.PID = Namespace{Mode: NSJoin, Process: "first"}
	spec.Namespaces.Network = Namespace{Mode: NSJoin, Process: "first"}
	equal(t, "joined", words(runWith(t, spec, Files{Processes: map[string]*os.File{"first": pidfd}})), user+" 0 sleep lo 0 second")
	spec.Namespaces.User.Join = &Namespace{Mode: NSJoin, Path: "/proc/" + strconv.Itoa(first.PID) + "/ns/user"}
	equal(t, "by path", words(runWith(t, spec, Files{Processes: map[string]*os.File{"first": pidfd}})), user+" 0 sleep lo 0 second")
}

// A container of a pod has its own PID namespace, which belongs to the pod's user namespace.
func TestBornInJoinedUserNamespace(t *testing.T) {
	needRoot(t)
	first, pidfd := background(t, inUserNS(hostSpec("sleep", "1000")))
	user, err := os.Readlink("/proc/" + strconv.Itoa(first.PID) + "/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	m := ownIDs()
	files := Files{Processes: map[string]*os.File{"first": pidfd}}
	spec := shell("readlink /proc/self/ns/user; id -u; echo $$; cat /proc/self/uid_map; ls /sys/class/net; stat -c %u /etc/passwd; hostname; grep CapBnd /proc/self/status; mount -t tmpfs x /mnt 2>/dev/null || echo refused")
	spec.RootFS.IDMap = &m
	before := state(t)
	for _, join := range []Namespace{{Mode: NSJoin, Process: "first"}, {Mode: NSJoin, Path: "/proc/" + strconv.Itoa(first.PID) + "/ns/user"}} {
		spec.Namespaces.User = &UserNamespace{Join: &join, Map: m}
		equal(t, "joined", words(runWith(t, spec, files)), user+" 0 1 0 300000 65536 lo 0 test CapBnd: 0000000000000000 refused")
	}
	bare := bareSpec(t, "readlink /proc/self/ns/user; id -u; echo $$; stat -c %u /etc; echo x >/dev/null; cat /proc/1/comm")
	bare.RootFS.IDMap = &m
	bare.Namespaces.User = &UserNamespace{Join: &Namespace{Mode: NSJoin, Process: "first"}}
	bare.Namespaces.Network = Namespace{Mode: NSJoin, Process: "first"}
	equal(t, "bare", words(runWith(t, bare, files)), user+" 0 1 0 sh")

	// The user namespace of berth itself cannot be entered.
	spec.Namespaces.User = &UserNamespace{Join: &Namespace{Mode: NSJoin, Path: "/proc/self/ns/user"}, Map: m}
	if _, _, err := start(t, spec, files); err == nil || !strings.Contains(err.Error(), "cannot fork the child in the user namespace: invalid argument") {
		t.Errorf("%v", err)
	}
	equal(t, "afterwards", state(t), before)
}

func TestRefusedUserNamespaces(t *testing.T) {
	ids := func(r ...IDRange) IDMap { return IDMap{UIDs: r, GIDs: []IDRange{{0, 100000, 10}}} }
	many := make([]IDRange, MaxIDRanges+1)
	for i := range many {
		many[i] = IDRange{uint32(i), uint32(i), 1}
	}
	join := func(n Namespace) *UserNamespace { return &UserNamespace{Join: &n} }
	for _, c := range []struct {
		user *UserNamespace
		set  func(*Spec)
		want string
	}{
		{&UserNamespace{}, nil, "no user ids are mapped"},
		{&UserNamespace{Map: IDMap{UIDs: []IDRange{{0, 1, 1}}}}, nil, "no group ids are mapped"},
		{&UserNamespace{Map: ids(IDRange{0, 100, 10}, IDRange{9, 200, 10})}, nil, "user id 9 is mapped twice inside"},
		{&UserNamespace{Map: ids(IDRange{0, 100, 10}, IDRange{20, 109, 10})}, nil, "user id 109 is mapped twice outside"},
		{&UserNamespace{Map: ids(many...)}, nil, "341 ranges"},
		{&UserNamespace{Map: ids(IDRange{0, 100, 0})}, nil, "nothing in it"},
		{&UserNamespace{Map: ids(IDRange{0, 4294967290, 10})}, nil, "go beyond 4294967294"},
		{&UserNamespace{Map: ids(IDRange{1, 100, 10})}, nil, "root (id 0 inside) must be mapped"},
		{&UserNamespace{Map: ids(IDRange{0, 100, 10}), DenySetgroups: true}, func(s *Spec) { s.Process.Groups = []string{"1"} }, "denies setgroups"},
		{join(Namespace{Mode: NSJoin}), nil, "exactly one of path and process"},
		{&UserNamespace{Join: &Namespace{Mode: NSJoin, Path: "/x"}, Tools: true}, nil, "has its map already"},
		{nil, func(s *Spec) { s.RootFS.IDMap = &IDMap{} }, "the map of the root file system: no user ids"},
		{nil, func(s *Spec) {
			m := ids(IDRange{1, 100, 1})
			s.RootFS = RootFS{Host: true, Writable: Persistent, StateDir: "/x", IDMap: &m}
		}, "must have root"},
		{nil, func(s *Spec) { s.Mounts = []Mount{{Type: Bind, Source: "/x", Target: "/y", IDMap: &IDMap{}}} }, "its map: no user ids"},
		{nil, func(s *Spec) {
			m := ownIDs()
			s.Mounts = []Mount{{Type: Tmpfs, Target: "/y", IDMap: &m}}
		}, "only a bind mount or a volume"},
	} {
		spec := hostSpec("/bin/true")
		spec.Namespaces.User = c.user
		if c.set != nil {
			c.set(spec)
		}
		if _, err := Compile(spec); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, have %v", c.want, err)
		}
	}
}

func TestFailureAtEveryStepOfAUserNamespaceLeavesNothing(t *testing.T) {
	needRoot(t)
	spec := everything(t)
	spec.RootFS.Writable, spec.RootFS.StateDir = Persistent, filepath.Join(t.TempDir(), "state")
	failEverywhere(t, inUserNS(spec))
}

// The child waits for its maps; without them it leaves.
func TestChildWithoutMapsLeaves(t *testing.T) {
	needRoot(t)
	p, err := Compile(inUserNS(hostSpec("/bin/true")))
	if err != nil {
		t.Fatal(err)
	}
	before := state(t)
	for n := range p.Beside {
		prep, err := prepare(p, Files{}, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		prep.failAt = len(p.Outside) + len(p.Inside) + n + 1
		_, err = Spawn(prep)
		var step *StepError
		if !asStep(err, &step) || step.Step != prep.failAt-1 || step.Errno != syscall.EIO || step.Op != p.Beside[n].Sys.String() {
			t.Errorf("%v", err)
		}
		prep.Close()
	}
	equal(t, "afterwards", state(t), before)
}
