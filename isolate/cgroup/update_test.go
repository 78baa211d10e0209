package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// value reads what the kernel holds for one of the group's files.
func value(t *testing.T, g *Group, controller, file string) string {
	t.Helper()
	dir, err := g.dir(g.tree.by[controller])
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	text, err := readAt(dir, file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// pick gives a file's name by the version of the controller.
func pick(tree *Tree, controller, v2, v1 string) string {
	if tree.by[controller].unified {
		return v2
	}
	return v1
}

func TestUpdateMemory(t *testing.T) {
	eachView(t, "memory", func(t *testing.T, tree *Tree) {
		file := pick(tree, "memory", "memory.max", "memory.limit_in_bytes")
		old := Limits{MemoryMax: ptr(int64(64 << 20)), MemorySwapMax: ptr(int64(16 << 20))}
		swap := tree.Describe().Swap
		if !swap {
			old.MemorySwapMax = nil
		}
		g := newGroup(t, tree, "live.service", old)
		start(t, g, "wait")
		for _, step := range []struct {
			max, swap int64
			want      string
		}{
			{128 << 20, 0, "134217728"},
			{32 << 20, 64 << 20, "33554432"},
			{256 << 20, 1 << 20, "268435456"},
			{-1, -1, "max"},
			{64 << 20, 0, "67108864"},
		} {
			next := Limits{MemoryMax: ptr(step.max)}
			if swap {
				next.MemorySwapMax = ptr(step.swap)
			}
			if err := g.Update(old, next); err != nil {
				t.Fatalf("to %+v: %v", step, err)
			}
			old = next
			want := step.want
			if want == "max" && !tree.by["memory"].unified {
				want = "9223372036854771712"
			}
			if got := value(t, g, "memory", file); got != want {
				t.Errorf("%s is %s, not %s", file, got, want)
			}
		}
		if err := g.Update(old, Limits{}); err != nil {
			t.Fatal(err)
		}
		if got := value(t, g, "memory", file); got != "max" && got != "9223372036854771712" {
			t.Errorf("without a limit %s is %s", file, got)
		}
	})
}

func TestUpdateOthers(t *testing.T) {
	eachView(t, "cpu", func(t *testing.T, tree *Tree) {
		old := Limits{CPUMax: ptr(int64(500)), CPUWeight: ptr(200), PidsMax: ptr(int64(10)), CpusetCPUs: "0"}
		g := newGroup(t, tree, "live.service", old)
		start(t, g, "wait")
		check := func(controller, v2file, v2, v1file, v1 string) {
			t.Helper()
			file := pick(tree, controller, v2file, v1file)
			want := pick(tree, controller, v2, v1)
			if got := value(t, g, controller, file); got != want {
				t.Errorf("%s is %q, not %q", file, got, want)
			}
		}
		check("cpu", "cpu.max", "50000 100000", "cpu.cfs_quota_us", "50000")
		check("cpu", "cpu.weight", "200", "cpu.shares", "2048")
		check("pids", "pids.max", "10", "pids.max", "10")
		check("cpuset", "cpuset.cpus", "0", "cpuset.cpus", "0")
		next := Limits{CPUMax: ptr(int64(5))} // below what the usual period can hold
		if err := g.Update(old, next); err != nil {
			t.Fatal(err)
		}
		check("cpu", "cpu.max", "5000 1000000", "cpu.cfs_period_us", "1000000")
		check("cpu", "cpu.weight", "100", "cpu.shares", "1024")
		check("pids", "pids.max", "max", "pids.max", "max")
		whole, err := readAt(tree.by["cpuset"].slice, pick(tree, "cpuset", "cpuset.cpus.effective", "cpuset.cpus"))
		if err != nil {
			t.Fatal(err)
		}
		check("cpuset", "cpuset.cpus", whole, "cpuset.cpus", whole)
		if err := g.Update(next, Limits{}); err != nil {
			t.Fatal(err)
		}
		check("cpu", "cpu.max", "max 100000", "cpu.cfs_quota_us", "-1")
	})
}

// A container that gets its first limit of processors when it runs already is
// moved, with all of its processes and also those that are about to enter.
func TestUpdateOnDemand(t *testing.T) {
	eachView(t, "cpuset", func(t *testing.T, tree *Tree) {
		g := newGroup(t, tree, "later.service", Limits{})
		processes := []*exec.Cmd{start(t, g, "wait"), start(t, g, "wait")}
		late := command(t, g, "wait") // has its handles open already
		limits := Limits{CpusetCPUs: "0"}
		if !tree.by["cpuset"].unified && existsAt(tree.by["cpuset"].slice, g.name) {
			t.Error("a group was made that no limit needs")
		}
		if err := g.Update(Limits{}, limits); err != nil {
			t.Fatal(err)
		}
		if err := late.Start(); err != nil {
			t.Fatal(err)
		}
		processes = append(processes, late)
		defer func() { _ = late.Process.Kill(); _ = late.Wait() }()
		if !tree.by["cpuset"].unified {
			handles := &Handles{group: g, without: []*hierarchy{tree.by["cpuset"]}}
			ctx := deadline(t)
			for pids := []int(nil); len(pids) < len(processes); { // v1: it enters by itself
				var err error
				if pids, err = g.Pids(); err != nil {
					t.Fatal(err)
				}
				if ctx.Err() != nil {
					t.Fatalf("%d processes are in the group, and not %d", len(pids), len(processes))
				}
			}
			handles.Close()
		}
		processes = append(processes, start(t, g, "wait"))
		for i, p := range processes {
			var set unix.CPUSet
			if err := unix.SchedGetaffinity(p.Process.Pid, &set); err != nil {
				t.Fatal(err)
			}
			if set.Count() != 1 || !set.IsSet(0) {
				t.Errorf("process %d may run on %d processors", i, set.Count())
			}
		}
		// A further change is an ordinary one, and a group without processes can be left.
		if err := g.Update(limits, Limits{}); err != nil {
			t.Fatal(err)
		}
	})
}

// When the first limit is refused, the container is where it was.
func TestUpdateOnDemandFails(t *testing.T) {
	eachView(t, "cpuset", func(t *testing.T, tree *Tree) {
		g := newGroup(t, tree, "later.service", Limits{})
		p := start(t, g, "wait")
		if err := g.Update(Limits{}, Limits{CpusetCPUs: "0", PidsMax: ptr(int64(50)), HugetlbMax: nil, CpusetMems: "63"}); err == nil {
			t.Error("a memory node that is not there was taken")
		}
		if h := tree.by["cpuset"]; !h.unified && existsAt(h.slice, g.name) {
			t.Error("the group is still there")
		}
		if err := p.Process.Signal(syscall.Signal(0)); err != nil {
			t.Error(err)
		}
	})
}

// A change that the kernel refuses leaves everything as it was.
func TestUpdateFails(t *testing.T) {
	eachView(t, "cpuset", func(t *testing.T, tree *Tree) {
		old := Limits{CPUMax: ptr(int64(500)), PidsMax: ptr(int64(10))}
		g := newGroup(t, tree, "live.service", old)
		start(t, g, "wait")
		err := g.Update(old, Limits{CPUMax: ptr(int64(700)), PidsMax: ptr(int64(20)), CpusetCPUs: "4000"})
		var limit *LimitError
		if !errors.As(err, &limit) || limit.Key != "cpuset-cpus" {
			t.Errorf("the error is %v", err)
		}
		file := pick(tree, "cpu", "cpu.max", "cpu.cfs_quota_us")
		if got := value(t, g, "cpu", file); !strings.HasPrefix(got, "50000") {
			t.Errorf("%s is %s after a failed change", file, got)
		}
		if got := value(t, g, "pids", "pids.max"); got != "10" {
			t.Errorf("pids.max is %s after a failed change", got)
		}
	})
}

func TestCPULimit(t *testing.T) {
	eachView(t, "cpu", func(t *testing.T, tree *Tree) {
		g := newGroup(t, tree, "slow.service", Limits{CPUMax: ptr(int64(100))})
		if out, err := run(t, g, "spin", "60"); err != nil {
			t.Fatal(err, out)
		}
		stats, err := g.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if stats.CPU.Throttled == 0 || stats.CPU.ThrottledUsec == 0 || stats.CPU.Periods == 0 {
			t.Errorf("a tenth of a processor did not hold it: %+v", stats.CPU)
		}
		if stats.CPU.UsageUsec < 50_000 || stats.CPU.UsageUsec > 30_000_000 {
			t.Errorf("%d µs are counted for 60 ms of work", stats.CPU.UsageUsec)
		}
	})
}

func TestUnsupported(t *testing.T) {
	tree := openTree(t, viewV1)
	if tree == nil {
		t.Skip("this host has no cgroup v1")
	}
	l := Limits{MemoryHigh: ptr(int64(1 << 20)), MemoryMin: ptr(int64(1 << 20)), MemoryMax: ptr(int64(1 << 30)), PidsMax: ptr(int64(5))}
	g, err := tree.Group("x.service")
	if err != nil {
		t.Fatal(err)
	}
	err = g.Create(l)
	var unsupported *UnsupportedError
	if !errors.As(err, &unsupported) || !unsupported.Soft || g.Exists() {
		t.Errorf("the error is %v", err)
	}
	rest, list, err := tree.Supported(l)
	if err != nil || len(list) != 2 || rest.MemoryHigh != nil || rest.MemoryMin != nil || rest.MemoryMax == nil {
		t.Errorf("supported is %+v, %v, %v", rest, list, err)
	}
	if err := g.Create(rest); err != nil {
		t.Error(err)
	}
	if err := g.Chown(1, 1); !errors.As(err, &unsupported) {
		t.Errorf("delegating a v1 group gives %v", err)
	}
}

func TestChown(t *testing.T) {
	tree := openTree(t, viewHost)
	if !tree.Unified() {
		t.Skip("this host has no cgroup v2")
	}
	g := newGroup(t, tree, "mine.service", Limits{})
	if err := g.Chown(12345, 12346); err != nil {
		t.Fatal(err)
	}
	dir := tree.unified().slice.Name() + "/" + g.Name()
	for file, mine := range map[string]bool{"": true, "/cgroup.procs": true, "/cgroup.subtree_control": true, "/cgroup.kill": false, "/cgroup.freeze": false} {
		info, err := os.Stat(dir + file)
		if err != nil {
			t.Fatal(err)
		}
		if owner := ownerOf(info); (owner == 12345) != mine {
			t.Errorf("%s%s belongs to %d", dir, file, owner)
		}
	}
}
