package cgroup

import (
	"errors"
	"os"
	"strings"
	"testing"
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
