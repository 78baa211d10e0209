package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// disks gives up to two whole disks of this machine.
func disks(t *testing.T) []string {
	t.Helper()
	var out []string
	blocks, err := filepath.Glob("/sys/block/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		node := "/dev/" + filepath.Base(b)
		if _, err := wholeDisk(node); err == nil {
			out = append(out, node)
		}
	}
	return out[:min(2, len(out))]
}

// controls gives what all files of the group's controllers hold, but those that
// count what happens.
func controls(t *testing.T, g *Group) map[string]string {
	t.Helper()
	names := map[string][]string{
		"memory": {"memory.min", "memory.low", "memory.high", "memory.max", "memory.swap.max", "memory.oom.group",
			"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes"},
		"cpu":     {"cpu.max", "cpu.weight", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares"},
		"cpuset":  {"cpuset.cpus", "cpuset.mems"},
		"pids":    {"pids.max"},
		"io":      {"io.max", "io.weight", "io.bfq.weight"},
		"blkio":   {"blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device", "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device", "blkio.bfq.weight"},
		"hugetlb": nil,
	}
	for _, size := range g.tree.hugePageSizes() {
		names["hugetlb"] = append(names["hugetlb"], "hugetlb."+size+".max", "hugetlb."+size+".limit_in_bytes")
	}
	out := map[string]string{}
	for controller, files := range names {
		h := g.tree.by[controller]
		if h == nil || !existsAt(h.slice, g.name) {
			continue
		}
		dir, err := g.dir(h)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if existsAt(dir, file) {
				text, err := readAt(dir, file)
				if err != nil {
					t.Error(err)
				}
				if text == "9223372036854771712" { // what a counter of pages has before its first limit
					text = "max"
				}
				lines := strings.Split(text, "\n") // of disks, in the order in which they came
				slices.Sort(lines)
				out[file] = strings.Join(lines, "\n")
			}
		}
		dir.Close()
	}
	return out
}

func sameControls(t *testing.T, got, want map[string]string) {
	t.Helper()
	for file, value := range want {
		if got[file] != value {
			t.Errorf("%s is %q, not %q", file, got[file], value)
		}
	}
}

// TestSet changes a group to limits from others that it is not told, and holds
// it to be as one that was made with them.
func TestSet(t *testing.T) {
	nodes := disks(t)
	eachView(t, "", func(t *testing.T, tree *Tree) {
		io := func(values ...int64) []IOMax {
			var out []IOMax
			for i, v := range values {
				if v > 0 && i < len(nodes) {
					out = append(out, IOMax{Device: nodes[i], ReadBPS: ptr(v), WriteIOPS: ptr(v / 1024)})
				}
			}
			return out
		}
		huge := map[string]int64{}
		if sizes := tree.hugePageSizes(); len(sizes) > 0 {
			huge[sizes[0]] = 64 << 20
		}
		sets := []Limits{
			{MemoryMax: ptr(int64(64 << 20)), MemorySwapMax: ptr(int64(8 << 20)), MemoryLow: ptr(int64(1 << 20)), OOMGroup: true,
				CPUMax: ptr(int64(5)), CPUWeight: ptr(300), PidsMax: ptr(int64(40)), CpusetCPUs: "0", IOWeight: ptr(300), IOMax: io(1<<20, 1<<20), HugetlbMax: huge},
			{},
			{MemoryMax: ptr(int64(256 << 20)), MemoryHigh: ptr(int64(128 << 20)), MemorySwapMax: ptr(int64(1 << 20)), IOMax: io(0, 2<<20)},
			{MemoryMax: ptr(int64(32 << 20)), PidsMax: ptr(int64(30)), CPUMax: ptr(int64(1500)), IOMax: io(4 << 20)},
			{MemoryMax: ptr(int64(512 << 20))},
		}
		for i := range sets {
			var err error
			if sets[i], _, err = tree.Supported(sets[i]); err != nil {
				t.Fatal(err)
			}
		}
		for i, from := range sets {
			for j, to := range sets {
				model := newGroup(t, tree, "model.service", to)
				g := newGroup(t, tree, "set.service", from)
				start(t, g, "wait")
				if err := g.Set(to); err != nil {
					t.Errorf("from set %d to %d: %v", i, j, err)
				}
				want := controls(t, model)
				for file, value := range want {
					if value == "" && strings.HasPrefix(file, "cpuset.") {
						delete(want, file) // v2: empty is what a group has that never had a set, and all after
					}
				}
				if got := controls(t, g); !t.Failed() {
					sameControls(t, got, want)
				}
				if t.Failed() {
					t.Fatalf("from set %d to %d", i, j)
				}
				if h := tree.by["cpuset"]; h != nil && h.onDemand && from.CpusetCPUs == "" && to.CpusetCPUs == "" && existsAt(h.slice, g.name) {
					t.Error("a group was made that no limit needs")
				}
				end(t, g)
				end(t, model)
			}
		}
	})
}

// TestSetMoves finishes a move into a group on demand that was cut short.
func TestSetMoves(t *testing.T) {
	tree := openTree(t, viewHost)
	h := tree.by["cpuset"]
	if h == nil || !h.onDemand {
		t.Skip("groups on demand are those of cgroup v1, which this host has not for cpuset")
	}
	g := newGroup(t, tree, "half.service", Limits{})
	p := start(t, g, "wait")
	if err := g.makeIn(h); err != nil {
		t.Fatal(err)
	}
	if err := g.Set(Limits{CpusetCPUs: "0"}); err != nil {
		t.Fatal(err)
	}
	dir, err := g.dir(h)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if pids, err := pidsAt(dir); err != nil || !slices.Contains(pids, p.Process.Pid) {
		t.Errorf("process %d is not among %v, %v", p.Process.Pid, pids, err)
	}
}

// TestSetFails holds that a limit which the kernel refuses is told, and keeps no
// other from being set.
func TestSetFails(t *testing.T) {
	eachView(t, "cpuset", func(t *testing.T, tree *Tree) {
		g := newGroup(t, tree, "live.service", Limits{PidsMax: ptr(int64(10)), CpusetCPUs: "0"})
		start(t, g, "wait")
		err := g.Set(Limits{PidsMax: ptr(int64(20)), CpusetCPUs: "4000"})
		var limit *LimitError
		if !errors.As(err, &limit) || limit.Key != "cpuset-cpus" {
			t.Errorf("the error is %v", err)
		}
		if got := value(t, g, "pids", "pids.max"); got != "20" {
			t.Errorf("pids.max is %s", got)
		}
		if err := g.Set(Limits{MemoryMax: ptr(int64(-5))}); err == nil {
			t.Error("a negative limit was taken")
		}
		if got := value(t, g, "pids", "pids.max"); got != "20" {
			t.Errorf("pids.max is %s after limits that are not valid", got)
		}
		gone, err := tree.Group("gone.service")
		if err != nil {
			t.Fatal(err)
		}
		if err := gone.Set(Limits{}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a group that is not there: %v", err)
		}
	})
}
