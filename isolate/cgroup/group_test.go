package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMemoryLimit(t *testing.T) {
	eachView(t, "memory", func(t *testing.T, tree *Tree) {
		g := newGroup(t, tree, "hog.service", Limits{MemoryMax: ptr(int64(48 << 20)), AllDevices: true})
		told := make(chan error, 1)
		ctx := deadline(t)
		go func() {
			kills, err := g.WaitOOM(ctx, 0)
			if err == nil && kills == 0 {
				err = errors.New("no kills were counted")
			}
			told <- err
		}()
		out, err := run(t, g, "hog", "200")
		if killedBy(err) != syscall.SIGKILL {
			t.Fatalf("a process that uses more than memory-max ended with %v, %q", err, out)
		}
		kills, err := g.OOMKills()
		if err != nil || kills == 0 {
			t.Errorf("OOMKills gives %d, %v", kills, err)
		}
		if err := <-told; err != nil {
			t.Errorf("WaitOOM: %v", err)
		}
		stats, err := g.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if stats.Memory.Max == nil || *stats.Memory.Max != 48<<20 || stats.Memory.OOMKills != kills {
			t.Errorf("statistics: %+v", stats.Memory)
		}
		if stats.Memory.Peak != nil && *stats.Memory.Peak < 40<<20 {
			t.Errorf("peak is %d", *stats.Memory.Peak)
		}
	})
}

func TestPidsLimit(t *testing.T) {
	eachView(t, "pids", func(t *testing.T, tree *Tree) {
		g := newGroup(t, tree, "bomb.service", Limits{PidsMax: ptr(int64(60)), AllDevices: true})
		start(t, g, "bomb")
		stats, err := g.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if stats.Pids.Current == 0 || stats.Pids.Current > 60 || stats.Pids.Max == nil || *stats.Pids.Max != 60 {
			t.Errorf("statistics: %+v", stats.Pids)
		}
	})
}

// A group of processes that fork as fast as they can is killed as a whole, and
// also while it is frozen.
func TestKillForkBomb(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		t.Run(fmt.Sprintf("frozen=%v", frozen), func(t *testing.T) {
			eachView(t, "", func(t *testing.T, tree *Tree) {
				limits := Limits{AllDevices: true}
				if tree.by["pids"] != nil {
					limits.PidsMax = ptr(int64(120))
				}
				g := newGroup(t, tree, "bomb.service", limits)
				if limits.PidsMax == nil {
					for range 20 { // nothing would hold a bomb
						start(t, g, "wait")
					}
				} else {
					start(t, g, "bomb")
				}
				if frozen {
					if err := g.Freeze(deadline(t)); err != nil {
						t.Fatal(err)
					}
					if is, err := g.Frozen(); err != nil || !is {
						t.Fatalf("Frozen gives %v, %v after Freeze", is, err)
					}
				}
				end(t, g)
			})
		})
	}
}

// On v1 a container's processes may be frozen, also in a group nested in its
// own; they die all the same.
func TestKillFrozenLegacy(t *testing.T) {
	tree := openTree(t, viewV1)
	if tree == nil || tree.by["freezer"] == nil {
		t.Log("this host has no v1 freezer")
		return
	}
	h := tree.by["freezer"]
	g := newGroup(t, tree, "ice.service", Limits{})
	p := start(t, g, "wait")
	nested := h.slice.Name() + "/" + g.Name() + "/nested"
	if err := os.Mkdir(nested, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, value := range map[string]string{"cgroup.procs": fmt.Sprint(p.Process.Pid), "freezer.state": "FROZEN"} {
		if err := os.WriteFile(nested+"/"+file, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := g.WaitEmpty(deadline(t)); err != nil {
		t.Fatal(err)
	}
}

func TestFreezeThaw(t *testing.T) {
	eachView(t, "", func(t *testing.T, tree *Tree) {
		g := newGroup(t, tree, "ice.service", Limits{AllDevices: true})
		p := start(t, g, "wait")
		if err := g.Freeze(deadline(t)); err != nil {
			t.Fatal(err)
		}
		if err := g.Thaw(); err != nil {
			t.Fatal(err)
		}
		if is, err := g.Frozen(); err != nil || is {
			t.Errorf("Frozen gives %v, %v after Thaw", is, err)
		}
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(); killedBy(err) != syscall.SIGTERM {
			t.Errorf("the thawed process ended with %v", err)
		}
	})
}

func TestPidsAndUnitOf(t *testing.T) {
	eachView(t, "", func(t *testing.T, tree *Tree) {
		g := newGroup(t, tree, "some.service", Limits{AllDevices: true})
		p := start(t, g, "wait")
		pids, err := g.Pids()
		if err != nil || !slices.Equal(pids, []int{p.Process.Pid}) {
			t.Errorf("Pids gives %v, %v, not %d", pids, err, p.Process.Pid)
		}
		if name, err := tree.UnitOf(p.Process.Pid); err != nil || name != "some.service" {
			t.Errorf("UnitOf gives %q, %v", name, err)
		}
		if name, err := tree.UnitOf(os.Getpid()); err != nil || name != "" {
			t.Errorf("UnitOf this process gives %q, %v", name, err)
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(text), g.Name()); got != len(tree.hierarchies)-len(tree.Optional()) {
			t.Errorf("the process is in %d of %d hierarchies:\n%s", got, len(tree.hierarchies), text)
		}
		if !strings.Contains(string(text), g.Path()) {
			t.Errorf("Path gives %s, but the process is in\n%s", g.Path(), text)
		}
	})
}

func TestCreateTwice(t *testing.T) {
	tree := openTree(t, viewHost)
	g := newGroup(t, tree, "one.service", Limits{})
	if err := g.Create(Limits{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the second Create gives %v", err)
	}
	if !g.Exists() {
		t.Error("the second Create removed the first one's group")
	}
}

// A limit that the kernel refuses leaves nothing behind, and the error names
// key, file and value.
func TestCreateFails(t *testing.T) {
	tree := openTree(t, viewHost)
	if tree.by["cpuset"] == nil {
		t.Skip(tree.whyMissing("cpuset"))
	}
	g, err := tree.Group("bad.service")
	if err != nil {
		t.Fatal(err)
	}
	err = g.Create(Limits{CpusetCPUs: "4000-4001"})
	var limit *LimitError
	if !errors.As(err, &limit) || limit.Key != "cpuset-cpus" || limit.Value != "4000-4001" || !strings.HasSuffix(limit.File, "/cpuset.cpus") {
		t.Errorf("the error is %v", err)
	}
	if g.Exists() {
		t.Error("a group is left after a failed Create")
	}
}

func TestNames(t *testing.T) {
	tree := openTree(t, viewHost)
	for _, name := range []string{
		"", ".", "..", ".service", "..service", "web", "a/b.service", "../x.service", "x\n.service", "x y.service",
		"x\x00.service", "memory.max", "cgroup.procs", leafName, "ü.service", strings.Repeat("x", 250) + ".service",
	} {
		if _, err := tree.Group(name); err == nil {
			t.Errorf("the name %q is taken", name)
		}
	}
	for _, name := range []string{"web.service", "worker@eu.service", "a.b-c_d.service", "x.scope"} {
		if _, err := tree.Group(name); err != nil {
			t.Error(err)
		}
	}
}

func TestRemoveNested(t *testing.T) {
	eachView(t, "", func(t *testing.T, tree *Tree) {
		g := newGroup(t, tree, "nest.service", Limits{AllDevices: true})
		for _, h := range tree.hierarchies {
			for i := range 5 {
				p := fmt.Sprintf("%s/%s/sub%d/a/b/c", h.slice.Name(), g.Name(), i)
				if err := os.MkdirAll(p, 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := g.Remove(); err != nil {
			t.Fatal(err)
		}
		if g.Exists() {
			t.Error("the group is still there")
		}
		if err := g.Remove(); err != nil {
			t.Errorf("removing what is not there: %v", err)
		}
	})
}

func TestRemoveBusy(t *testing.T) {
	tree := openTree(t, viewHost)
	g := newGroup(t, tree, "busy.service", Limits{})
	p := start(t, g, "wait")
	err := g.Remove()
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), fmt.Sprint(p.Process.Pid)) {
		t.Errorf("removing a group in use gives %v", err)
	}
}

func TestConcurrent(t *testing.T) {
	eachView(t, "", func(t *testing.T, tree *Tree) {
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				for j := range 10 {
					g, err := tree.Group(fmt.Sprintf("unit%d-%d.service", i, j))
					if err != nil {
						t.Error(err)
						return
					}
					if err := g.Create(Limits{}); err != nil {
						t.Error(err)
						return
					}
					if _, err := g.Stats(); err != nil {
						t.Error(err)
					}
					if err := g.Remove(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wait.Wait()
		if names, err := tree.List(); err != nil || len(names) != 0 {
			t.Errorf("left behind: %v, %v", names, err)
		}
	})
}

func TestList(t *testing.T) {
	eachView(t, "", func(t *testing.T, tree *Tree) {
		newGroup(t, tree, "b.service", Limits{})
		newGroup(t, tree, "a.service", Limits{})
		names, err := tree.List()
		if err != nil || !slices.Equal(names, []string{"a.service", "b.service"}) {
			t.Errorf("List gives %v, %v", names, err)
		}
		if err := tree.Remove(); err == nil || !strings.Contains(err.Error(), "a.service, b.service") {
			t.Errorf("removing a tree in use gives %v", err)
		}
	})
}

// No descriptor stays open over the life of a group.
func TestDescriptors(t *testing.T) {
	tree := openTree(t, viewHost)
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	life := func() {
		g := newGroup(t, tree, "life.service", Limits{PidsMax: ptr(int64(10))})
		_, _ = g.Stats()
		_, _ = g.Pids()
		_, _ = g.OOMKills()
		_ = g.Freeze(deadline(t))
		_ = g.Thaw()
		handles, err := g.Open()
		if err != nil {
			t.Fatal(err)
		}
		handles.Close()
		end(t, g)
	}
	life()
	before := count()
	for range 5 {
		life()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

func TestNotThere(t *testing.T) {
	eachView(t, "", func(t *testing.T, tree *Tree) {
		g, err := tree.Group("none.service")
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Kill(); err != nil {
			t.Errorf("Kill: %v", err)
		}
		if err := g.WaitEmpty(deadline(t)); err != nil {
			t.Errorf("WaitEmpty: %v", err)
		}
		if pids, err := g.Pids(); err != nil || len(pids) != 0 {
			t.Errorf("Pids: %v, %v", pids, err)
		}
		if err := g.Remove(); err != nil {
			t.Errorf("Remove: %v", err)
		}
		if _, err := g.Stats(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stats: %v", err)
		}
	})
}
