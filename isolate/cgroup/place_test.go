package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// With Parent the sub-tree lies where it says, and nowhere else.
func TestParent(t *testing.T) {
	outer := openTree(t, viewHost)
	g := newGroup(t, outer, "outer.service", Limits{})
	inner, err := Open(Options{Parent: g.Path()})
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	if want := g.Path() + "/" + DefaultSlice; inner.Describe().Path != want {
		t.Errorf("the sub-tree is at %s, not %s", inner.Describe().Path, want)
	}
	newGroup(t, inner, "in.service", Limits{})
	if names, err := outer.List(); err != nil || len(names) != 1 {
		t.Errorf("outside there are %v, %v", names, err)
	}
	if _, err := Open(Options{Parent: g.Path() + "/none"}); err == nil {
		t.Error("a parent that does not exist is taken")
	}
	if _, err := Open(Options{Slice: "../x.slice"}); err == nil {
		t.Error("a slice outside is taken")
	}
}

// aDisk gives the path of a node of some block device that has a size.
func aDisk(t *testing.T) (path, number string) {
	t.Helper()
	devices, err := filepath.Glob("/sys/block/*/dev")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range devices {
		size, err := os.ReadFile(filepath.Join(filepath.Dir(file), "size"))
		if err != nil || strings.TrimSpace(string(size)) == "0" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(string(text), "%d:%d", &major, &minor); err != nil {
			t.Fatal(err)
		}
		return node(t, unix.S_IFBLK, major, minor), strings.TrimSpace(string(text))
	}
	return "", ""
}

func TestIOMax(t *testing.T) {
	tree := openTree(t, viewHost)
	disk, number := aDisk(t)
	controller := "io"
	if tree.by["blkio"] != nil {
		controller = "blkio"
	}
	if disk == "" || tree.by[controller] == nil {
		t.Log("this machine has no disk, or no io controller")
		return
	}
	old := Limits{IOMax: []IOMax{{Device: disk, ReadBPS: ptr(int64(1 << 20)), WriteIOPS: ptr(int64(100))}}}
	g := newGroup(t, tree, "io.service", old)
	file := pick(tree, controller, "io.max", "blkio.throttle.read_bps_device")
	if got := value(t, g, controller, file); !strings.Contains(got, number) || !strings.Contains(got, "1048576") {
		t.Errorf("%s is %q", file, got)
	}
	if err := g.Update(old, Limits{}); err != nil {
		t.Fatal(err)
	}
	if got := value(t, g, controller, file); got != "" {
		t.Errorf("%s is %q without a limit", file, got)
	}
}

func TestHugetlb(t *testing.T) {
	tree := openTree(t, viewHost)
	if tree.by["hugetlb"] == nil {
		t.Log(tree.whyMissing("hugetlb"))
		return
	}
	if h := tree.by["hugetlb"]; h.postponed {
		newGroup(t, tree, "other.service", Limits{PidsMax: ptr(int64(10))})
		if on, err := controllersAt(h.base, "cgroup.subtree_control"); err != nil || slices.Contains(on, "hugetlb") {
			t.Errorf("without a limit of huge pages, these are switched on: %v, %v", on, err)
		}
	}
	g := newGroup(t, tree, "huge.service", Limits{HugetlbMax: map[string]int64{"2MB": 64 << 20}})
	file := pick(tree, "hugetlb", "hugetlb.2MB.max", "hugetlb.2MB.limit_in_bytes")
	if got := value(t, g, "hugetlb", file); got != "67108864" {
		t.Errorf("%s is %s", file, got)
	}
}

// What a container costs in groups: made with limits and device rules, and removed.
func BenchmarkCreateRemove(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("making control groups needs root")
	}
	tree, err := Open(Options{Slice: fmt.Sprintf("berth-cgbench-%d.slice", os.Getpid())})
	if err != nil {
		b.Fatal(err)
	}
	defer tree.Close()
	defer tree.Remove()
	g, err := tree.Group("bench.service")
	if err != nil {
		b.Fatal(err)
	}
	var creating time.Duration
	for b.Loop() {
		start := time.Now()
		if err := g.Create(Limits{PidsMax: ptr(int64(100)), CPUWeight: ptr(100)}); err != nil {
			b.Fatal(err)
		}
		creating += time.Since(start)
		if err := g.Remove(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(creating.Nanoseconds())/float64(b.N), "ns/create")
}
