package ocigroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/isolate/cgroup"
	"berth/isolate/cgroup/nsinit"
	"berth/isolate/vmtest"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The group is there in every hierarchy that is mounted, with its process, at
// the path that the bundle names; and it can be found again from Paths.
func TestCreate(t *testing.T) {
	for _, name := range []string{"/%s", "/%s/a/b", "%s/c", ""} {
		t.Run(strings.ReplaceAll(name, "/", ":"), func(t *testing.T) {
			id := newID()
			o := Options{Path: strings.Replace(name, "%s", id, 1), ID: id}
			var paths map[string]string
			t.Cleanup(func() { removeParents(t, paths) })
			g := newGroup(t, o)
			paths = g.Paths()
			if err := g.Create(nil); err != nil {
				t.Fatal(err)
			}
			p := start(t, g, "wait")
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			if err != nil {
				t.Fatal(err)
			}
			want := filepath.Clean("/" + o.Path)
			if o.Path == "" {
				want = "/" + id
			}
			mounted := 0
			for line := range strings.Lines(string(text)) {
				fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
				kind := " - cgroup2 "
				if fields[1] != "" {
					kind = "," + strings.Split(fields[1], ",")[0]
				}
				if !strings.Contains(string(mounts), kind) {
					continue // not mounted here
				}
				mounted++
				if fields[2] != want {
					t.Errorf("%s: the process is in %s and not in %s", fields[1], fields[2], want)
				}
			}
			if mounted == 0 {
				t.Error("no hierarchy is mounted")
			}
			if g.Path() != want {
				t.Errorf("Path gives %s and not %s", g.Path(), want)
			}
			again, err := Load(g.Paths())
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			pids, err := again.Pids()
			if err != nil || !slices.Equal(pids, []int{p.Process.Pid}) {
				t.Errorf("after Load, Pids gives %v, %v", pids, err)
			}
			if !slices.Equal(again.Legacy(), g.Legacy()) || again.Unified() != g.Unified() {
				t.Errorf("after Load, the hierarchies are %v, %v", again.Unified(), again.Legacy())
			}
			// A second container must not come into the same group.
			if other, err := New(o); err == nil || !strings.Contains(err.Error(), fmt.Sprint(p.Process.Pid)) {
				t.Errorf("New for a group with a process gives %v, %v", other, err)
			}
			if err := again.Remove(); err == nil || !strings.Contains(err.Error(), fmt.Sprint(p.Process.Pid)) {
				t.Errorf("Remove with a process in the group gives %v", err)
			}
		})
	}
}

// Where other processes are in the group above, as in the root group of a
// container, a container goes in without limits, and is refused with some.
func TestRelativeToOthers(t *testing.T) {
	if vmtest.Current() != "container" {
		t.Log("is a part of TestVM, which runs it")
		return
	}
	g := newGroup(t, Options{ID: newID()})
	err := g.Create(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(5))}})
	if err == nil || !strings.Contains(err.Error(), "pids") || !strings.Contains(err.Error(), "processes of its own") {
		t.Errorf("with a limit: %v", err)
	}
	if g.Exists() {
		t.Error("it is left behind")
	}
	create(t, nil)
}

// removeParents removes what Create has made above a group and leaves there.
func removeParents(t *testing.T, paths map[string]string) {
	for _, dir := range paths {
		for dir = filepath.Dir(dir); strings.Contains(dir, "/berth-test-"); dir = filepath.Dir(dir) {
			if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
				t.Errorf("cannot remove %s: %v", dir, err)
			}
		}
	}
}

// A group that has got processes since New looked is not taken either, and who
// then undoes what he has not done kills and removes nothing.
func TestOthers(t *testing.T) {
	for _, nested := range []string{"", "/nested/group"} {
		id := newID()
		g, err := New(Options{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		others := newGroup(t, Options{Path: id + nested})
		if err := others.Create(nil); err != nil {
			t.Fatal(err)
		}
		if nested != "" {
			t.Cleanup(func() { removeParents(t, others.Paths()) })
			defer end(t, others)
		}
		p := start(t, others, "wait")
		if err := g.Create(nil); err == nil || !strings.Contains(err.Error(), fmt.Sprint(p.Process.Pid)) {
			t.Errorf("a group with a process was taken: %v", err)
		}
		if err := errors.Join(g.Kill(), g.Signal(unix.SIGKILL), g.Thaw(), g.WaitEmpty(expired(t)), g.Remove()); err != nil {
			t.Error(err)
		}
		if pids, err := others.Pids(); err != nil || !slices.Equal(pids, []int{p.Process.Pid}) || !others.Exists() {
			t.Errorf("the others are %v, %v", pids, err)
		}
		// Had it been killed before, it would have died of that.
		if err := p.Process.Signal(unix.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := p.Wait(); err == nil || !strings.Contains(err.Error(), "terminated") {
			t.Errorf("the other process ended with %v", err)
		}
	}
}

// An empty group that is there already, made by an engine, is taken.
func TestTakesEmpty(t *testing.T) {
	g := create(t, nil)
	again, err := New(Options{ID: filepath.Base(g.Path())})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Create(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(7))}}); err != nil {
		t.Fatal(err)
	}
	if text, err := again.group.Read("pids", "pids.max"); text != "7" {
		t.Errorf("pids.max is %q, %v", text, err)
	}
}

// Two threads make a group together. What they open lets a process in; given up,
// nothing of it is left.
func TestCreateTogether(t *testing.T) {
	together := func(g *Group) *Making {
		m := g.Begin(nil)
		var all sync.WaitGroup
		for range 2 {
			all.Go(m.Work)
		}
		all.Wait()
		return m
	}
	g := newGroup(t, Options{ID: newID()})
	handles, err := together(g).Done()
	if err != nil {
		t.Fatal(err)
	}
	p := startWith(t, g, func() (*cgroup.Handles, error) { return handles, nil }, "wait")
	if pids, err := g.Pids(); err != nil || !slices.Equal(pids, []int{p.Process.Pid}) {
		t.Errorf("Pids gives %v, %v, and not %d", pids, err, p.Process.Pid)
	}

	id := newID()
	g = newGroup(t, Options{Path: id + "/a"})
	together(g).Undo()
	for _, dir := range g.Paths() {
		if _, err := os.Stat(filepath.Dir(dir)); err == nil {
			t.Errorf("%s is left behind", filepath.Dir(dir))
		}
	}
}

// What cannot be set leaves nothing behind, the groups above included.
func TestCreateUndone(t *testing.T) {
	for name, r := range map[string]*specs.LinuxResources{
		"kernel":      {CPU: &specs.LinuxCPU{Cpus: "4000"}},
		"unsupported": {Unified: map[string]string{"nothing.such": "1"}},
		"invalid":     {CPU: &specs.LinuxCPU{Quota: ptr(int64(10000)), Burst: ptr(uint64(20000))}},
		"devices":     {Devices: []specs.LinuxDeviceCgroup{{Allow: true, Type: "x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			id := newID()
			g := newGroup(t, Options{Path: id + "/a/b"})
			err := g.Create(r)
			if err == nil || !strings.Contains(err.Error(), "linux.resources.") {
				t.Errorf("Create gives %v", err)
			}
			for _, dir := range g.Paths() {
				top := filepath.Dir(filepath.Dir(dir))
				if filepath.Base(top) != id {
					t.Fatalf("the group is at %s", dir)
				}
				if _, err := os.Stat(top); err == nil {
					t.Errorf("%s is left behind", top)
				}
			}
		})
	}
}

func TestBadPaths(t *testing.T) {
	for _, path := range []string{"/", "..", "a/../..", "a\nb", strings.Repeat("x", 256)} {
		if g, err := New(Options{Path: path}); err == nil {
			g.Close()
			t.Errorf("%q was taken for a path", path)
		}
	}
	for _, paths := range []map[string]string{{"": "relative"}, {"": "/"}, {"memory": "/a/b", "cpu": "/a/c"}, {"memory": "/a/../b"}, {"memory": "/tmp/x"}} {
		if g, err := Load(paths); err == nil {
			g.Close()
			t.Errorf("%v was taken for paths", paths)
		}
	}
	// A relative path does not lead out of the hierarchy.
	g, err := New(Options{Path: "../../x"})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.Path() != "/x" {
		t.Errorf("../../x leads to %s", g.Path())
	}
}

// A fork bomb is killed whole, frozen or not, and does not grow past its limit.
func TestKillForkBomb(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		t.Run(fmt.Sprint(frozen), func(t *testing.T) {
			g := create(t, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(60))}})
			start(t, g, "bomb")
			if frozen {
				if err := g.Freeze(deadline(t)); err != nil {
					t.Fatal(err)
				}
			}
			pids, err := g.Pids()
			if err != nil || len(pids) < 2 || len(pids) > 60 {
				t.Errorf("the group has %d processes: %v", len(pids), err)
			}
			if err := g.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := g.WaitEmpty(deadline(t)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestFreeze(t *testing.T) {
	g := create(t, nil)
	p := start(t, g, "wait")
	if frozen, err := g.Frozen(); frozen || err != nil {
		t.Errorf("before: %v, %v", frozen, err)
	}
	if err := g.Freeze(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if frozen, err := g.Frozen(); !frozen || err != nil {
		t.Errorf("frozen: %v, %v", frozen, err)
	}
	// Another process finds it so, and thaws it.
	again, err := Load(g.Paths())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if frozen, err := again.Frozen(); !frozen || err != nil {
		t.Errorf("after Load: %v, %v", frozen, err)
	}
	if err := again.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := again.Thaw(); err != nil {
		t.Fatal(err)
	}
	if frozen, err := g.Frozen(); frozen || err != nil {
		t.Errorf("thawed: %v, %v", frozen, err)
	}
	if err := p.Wait(); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("after a signal while frozen the process ended with %v", err)
	}
}

func TestOOM(t *testing.T) {
	g := create(t, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(24 << 20)), Swap: ptr(int64(24 << 20))}})
	type result struct {
		kills uint64
		err   error
	}
	told := make(chan result, 1)
	ctx := deadline(t)
	go func() {
		kills, err := g.WaitOOM(ctx, 0)
		told <- result{kills, err}
	}()
	if out, err := command(t, g, "hog", "64").Output(); err == nil {
		t.Errorf("64 MiB fitted into 24: %s", out)
	}
	if r := <-told; r.err != nil || r.kills == 0 {
		t.Errorf("WaitOOM gives %+v", r)
	}
	if kills, err := g.OOMKills(); err != nil || kills == 0 {
		t.Errorf("OOMKills gives %d, %v", kills, err)
	}
	if _, err := g.WaitOOM(expired(t), 1000); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WaitOOM without an OOM gives %v", err)
	}
}

func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithDeadline(context.Background(), time.Now())
	t.Cleanup(cancel)
	return ctx
}

func TestDevices(t *testing.T) {
	dir := t.TempDir()
	paths := []string{"rw:/dev/null", "r:/dev/urandom", "rw:/dev/ptmx", "m:" + dir + "/node", "r:/dev/kmsg", "w:/dev/kmsg"}
	var allow = func(access string) []specs.LinuxDeviceCgroup {
		return []specs.LinuxDeviceCgroup{
			{Allow: false, Access: "rwm"},
			{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(11)), Access: access},
		}
	}
	all := []specs.LinuxDeviceCgroup{{Allow: true, Type: "a"}}
	check := func(g *Group, list []specs.LinuxDeviceCgroup, kmsg ...bool) {
		t.Helper()
		out, err := command(t, g, "open", paths...).Output()
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range append([]bool{true, true, true, true}, kmsg...) {
			line := strings.Split(string(out), "\n")[i]
			if got := strings.HasSuffix(line, "<nil>"); got != want {
				t.Errorf("with %v: %s", list, line)
			}
		}
	}
	for _, c := range []struct {
		list        []specs.LinuxDeviceCgroup
		read, write bool
	}{
		{nil, false, false},
		{allow("r"), true, false},
		{allow("rw"), true, true},
		{all, true, true},
		{append(slices.Clone(all), specs.LinuxDeviceCgroup{Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(11)), Access: "w"}), true, false},
		{append(slices.Clone(all), allow("r")...), true, false},
	} {
		g := create(t, &specs.LinuxResources{Devices: c.list})
		check(g, c.list, c.read, c.write)
		// And the same as a change of a living group.
		for _, before := range [][]specs.LinuxDeviceCgroup{allow("w"), all} {
			g := create(t, &specs.LinuxResources{Devices: before})
			if err := g.Set(&specs.LinuxResources{Devices: c.list}); err != nil {
				t.Fatal(err)
			}
			if c.list != nil {
				check(g, c.list, c.read, c.write)
			}
		}
	}
}

func TestStats(t *testing.T) {
	g := create(t, &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr(int64(256 << 20))},
		CPU:    &specs.LinuxCPU{Quota: ptr(int64(10_000)), Period: ptr(uint64(100_000))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(50))},
	})
	start(t, g, "hog", "32")
	start(t, g, "spin", "60")
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for what, is := range map[string]bool{
		"cpu":         s.CPU.Usage.Total > 60e6 && s.CPU.Usage.User+s.CPU.Usage.Kernel > 0 && s.CPU.Usage.User+s.CPU.Usage.Kernel < 60e9,
		"throttled":   s.CPU.Throttling.Periods > 0 && s.CPU.Throttling.ThrottledPeriods > 0 && s.CPU.Throttling.ThrottledTime > 0,
		"memory":      s.Memory.Usage.Usage >= 32<<20 && s.Memory.Usage.Usage < 256<<20 && s.Memory.Usage.Limit == 256<<20,
		"memory.stat": s.Memory.Stats["pgfault"] > 0,
		"pids":        s.Pids.Current >= 2 && s.Pids.Limit == 50,
		"psi":         !g.Unified() || s.CPU.PSI != nil && s.Memory.PSI != nil && s.BlockIO.PSI != nil,
		"cpuset":      vmtest.Current() != "" || s.CPUSet != nil && len(s.CPUSet.CPUs) > 0 && len(s.CPUSet.Mems) > 0,
	} {
		if !is {
			t.Errorf("%s: %+v", what, *s)
		}
	}
	if e := nsinit.NewEvent("x", s, nil); e.Data.Memory.Usage.Usage != s.Memory.Usage.Usage || e.Data.Pids.Limit != 50 {
		t.Errorf("the event is %+v", e.Data)
	}
	gone, err := Load(map[string]string{"": "/sys/fs/cgroup/berth-test-none/x"})
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	if _, err := gone.Stats(); err == nil {
		t.Error("a group that does not exist has statistics")
	}
	if pids, err := gone.Pids(); err != nil || len(pids) > 0 {
		t.Errorf("a group that does not exist has the processes %v, %v", pids, err)
	}
	if err := errors.Join(gone.Kill(), gone.Thaw(), gone.Remove(), gone.WaitEmpty(deadline(t))); err != nil {
		t.Error(err)
	}
}

// A further process enters the group, groups nested in it, or, where the group
// has handed its controllers down, that of the first process.
func TestOpenExec(t *testing.T) {
	g := create(t, nil)
	for _, dir := range g.Paths() {
		if err := os.MkdirAll(dir+"/init/deep", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if cpus, err := g.group.Read("cpuset", "cpuset.cpus"); err == nil && cpus != "" { // v1: empty sets take nobody
		for _, dir := range []string{"/init", "/init/deep"} {
			for _, file := range []string{"/cpuset.cpus", "/cpuset.mems"} {
				text, err := os.ReadFile(g.Paths()["cpuset"] + file)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(g.Paths()["cpuset"]+dir+file, text, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	in := func(p *exec.Cmd, controller string) string {
		t.Helper()
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.SplitN(strings.TrimSpace(line), ":", 3); fields[1] == controller {
				return strings.TrimPrefix(fields[2], g.Path())
			}
		}
		return "none"
	}
	main := startWith(t, g, func() (*cgroup.Handles, error) { return g.OpenExec([]string{"init"}, 0) }, "wait")
	for _, c := range []struct {
		groups  []string
		memory  string // where a process is then found in v1's hierarchy of it
		unified string // and on v2
	}{
		{nil, "", ""},
		{[]string{"/init/deep"}, "/init/deep", "/init/deep"},
		{[]string{"memory:init"}, "/init", ""},
	} {
		handles, err := g.OpenExec(c.groups, main.Process.Pid)
		if v, _ := g.group.Version("memory"); v != 1 && len(c.groups) == 1 && strings.Contains(c.groups[0], ":") {
			if err == nil {
				t.Errorf("%v was taken on v2", c.groups)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		handles.Close()
		p := startWith(t, g, func() (*cgroup.Handles, error) { return g.OpenExec(c.groups, main.Process.Pid) }, "wait")
		if v, _ := g.group.Version("memory"); v == 1 && in(p, "memory") != c.memory {
			t.Errorf("with %v a process is in %q", c.groups, in(p, "memory"))
		}
		if g.Unified() && in(p, "") != c.unified {
			t.Errorf("with %v a process is in %q of v2", c.groups, in(p, ""))
		}
		_ = p.Process.Kill()
		_ = p.Wait()
	}
	for _, bad := range []string{"nothing", "nothing:init", "..", "init/../..", "memory:.."} {
		if h, err := g.OpenExec([]string{bad}, 0); err == nil {
			h.Close()
			t.Errorf("%q was taken", bad)
		}
	}
	if v, _ := g.group.Version("memory"); v != 2 {
		return
	}
	if err := g.group.Write("", "cgroup.subtree_control", "+memory"); err != nil {
		t.Fatal(err)
	}
	p := startWith(t, g, func() (*cgroup.Handles, error) { return g.OpenExec(nil, main.Process.Pid) }, "wait")
	if in(p, "") != "/init" {
		t.Errorf("beside a first process in /init, a process is in %q", in(p, ""))
	}
}

// On v2 a group is handed to a user with the files that the kernel names, and no
// others.
func TestChown(t *testing.T) {
	g := create(t, nil)
	if !g.Unified() {
		if err := g.Chown(1000, -1); err == nil {
			t.Error("a v1 group was handed over")
		}
		return
	}
	if err := g.Chown(1000, -1); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]uint32{".": 1000, "cgroup.procs": 1000, "cgroup.subtree_control": 1000, "cgroup.threads": 1000, "cgroup.max.depth": 0, "cgroup.freeze": 0} {
		var st unix.Stat_t
		if err := unix.Stat(g.Paths()[""]+"/"+file, &st); err != nil || st.Uid != want || st.Gid != 0 {
			t.Errorf("%s belongs to %d:%d and not to %d: %v", file, st.Uid, st.Gid, want, err)
		}
	}
}

// Groups that the container has nested are removed too.
func TestRemoveNested(t *testing.T) {
	g := create(t, nil)
	for _, dir := range g.Paths() {
		if err := os.MkdirAll(dir+"/a/b", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	if g.Exists() {
		t.Error("it still exists")
	}
	if err := g.Remove(); err != nil {
		t.Errorf("the second Remove: %v", err)
	}
}

// Without privileges a container goes without groups, if nothing is to be
// limited; the rest of its life goes on as if it had one.
func TestRootless(t *testing.T) {
	needRoot(t)
	if os.Getenv("BERTH_OCIGROUP_ROOTLESS") == "" {
		c := exec.Command("/proc/self/exe", "-test.v", "-test.run", "TestRootless$")
		c.Env = append(os.Environ(), "BERTH_OCIGROUP_ROOTLESS=1", legacyEnv+"=")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	for _, drop := range []func() error{func() error { return unix.Setgroups(nil) }, func() error { return unix.Setresgid(65534, 65534, 65534) }, func() error { return unix.Setresuid(65534, 65534, 65534) }} {
		if err := drop(); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []Options{{ID: newID(), Rootless: true}, {ID: "x", Path: "/" + newID(), Rootless: true}} {
		limited, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer limited.Close()
		if err := limited.Create(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(5))}}); err == nil || !strings.Contains(err.Error(), "Delegate=yes") {
			t.Errorf("a limit without privileges: %v", err)
		}
		g, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		if err := g.Create(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}}); err != nil || !g.None() {
			t.Fatalf("no limit: %v, without a group: %v", err, g.None())
		}
		again, err := Load(g.Paths())
		if err != nil || !again.None() {
			t.Fatalf("Load gives %v, without a group: %v", err, again.None())
		}
		h, err := again.Open()
		if err != nil || h.Dir != nil || len(h.Procs) > 0 {
			t.Errorf("Open gives %+v, %v", h, err)
		}
		if err := errors.Join(again.Kill(), again.Thaw(), again.Remove(), again.WaitEmpty(deadline(t)), again.Set(&specs.LinuxResources{})); err != nil {
			t.Error(err)
		}
		if err := again.Freeze(deadline(t)); err == nil {
			t.Error("a container without a group was frozen")
		}
	}
}

func BenchmarkCreateRemove(b *testing.B) {
	needRoot(b)
	r := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(64 << 20))},
		CPU:    &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(50_000)), Period: ptr(uint64(100_000))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(100))},
	}
	id := newID()
	for b.Loop() {
		g, err := New(Options{ID: id})
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Create(r); err != nil {
			b.Fatal(err)
		}
		h, err := g.Open()
		if err != nil {
			b.Fatal(err)
		}
		h.Close()
		if err := g.Remove(); err != nil {
			b.Fatal(err)
		}
		g.Close()
	}
}
