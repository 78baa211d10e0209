package cgroup

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files under testdata")

// allFiles are the control files that decide about a translation.
var allFiles = map[bool][]string{
	true:  {"memory.swap.max", "io.max", "io.weight", "hugetlb.2MB.max"},
	false: {"memory.memsw.limit_in_bytes", "cpu.cfs_quota_us", "blkio.throttle.read_bps_device", "blkio.bfq.weight", "hugetlb.2MB.limit_in_bytes", "cpuset.cpus", "cpuset.mems"},
}

// fakeTree is a tree whose directories are plain ones with the control files of
// a host that has everything.
func fakeTree(t *testing.T, unified bool) *Tree {
	t.Helper()
	dir := t.TempDir()
	for _, file := range allFiles[unified] {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("0-3\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	slice, err := openDir(unix.AT_FDCWD, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slice.Close() })
	controllers := unifiedControllers
	if !unified {
		controllers = legacyControllers
	}
	h := &hierarchy{unified: unified, slice: slice, controllers: controllers}
	tree := &Tree{hierarchies: []*hierarchy{h}, by: make(map[string]*hierarchy), missing: make(map[string]string)}
	for _, c := range controllers {
		tree.by[c] = h
	}
	return tree
}

// How limits are written on v2 and v1, as a golden text.
func TestTranslation(t *testing.T) {
	needRoot(t) // for a block device's node
	disk := node(t, unix.S_IFBLK, 7, 3)
	full := Limits{
		MemoryMax: ptr(int64(256 << 20)), MemoryHigh: ptr(int64(200 << 20)), MemoryLow: ptr(int64(64 << 20)),
		MemoryMin: ptr(int64(32 << 20)), MemorySwapMax: ptr(int64(0)), OOMGroup: true,
		CPUMax: ptr(int64(1500)), CPUWeight: ptr(250), CpusetCPUs: "0-1,3", CpusetMems: "0", PidsMax: ptr(int64(512)),
		IOWeight: ptr(1000), IOMax: []IOMax{{Device: disk, ReadBPS: ptr(int64(10 << 20)), WriteIOPS: ptr(int64(500))}},
		HugetlbMax: map[string]int64{"2MB": 64 << 20},
	}
	unlimited := Limits{
		MemoryMax: ptr(int64(-1)), MemoryHigh: ptr(int64(-1)), MemoryLow: ptr(int64(0)), MemoryMin: ptr(int64(0)), MemorySwapMax: ptr(int64(-1)),
		CPUMax: ptr(int64(-1)), CPUWeight: ptr(100), PidsMax: ptr(int64(-1)), IOWeight: ptr(100),
		IOMax: []IOMax{{Device: disk, ReadBPS: ptr(int64(-1))}}, HugetlbMax: map[string]int64{"2MB": -1},
	}
	small := Limits{CPUMax: ptr(int64(1)), CPUWeight: ptr(1), IOWeight: ptr(1), MemorySwapMax: ptr(int64(1 << 20))}
	for _, unified := range []bool{true, false} {
		var b strings.Builder
		tree := fakeTree(t, unified)
		for _, c := range []struct {
			name   string
			limits Limits
			reset  bool
		}{{"everything", full, false}, {"nothing", Limits{}, false}, {"nothing, after something", Limits{}, true}, {"no limits", unlimited, false}, {"the least", small, false}} {
			fmt.Fprintf(&b, "# %s\n", c.name)
			s, err := tree.settingsFor(&c.limits, c.reset)
			if err != nil {
				t.Fatal(err)
			}
			for _, setting := range s.settings {
				for _, w := range setting.writes {
					fmt.Fprintf(&b, "%-16s %s: %s = %q\n", setting.key, setting.controller, w.file, w.value)
				}
			}
			for _, e := range s.unsupported {
				fmt.Fprintf(&b, "%v\n", e)
			}
		}
		golden := filepath.Join("testdata", fmt.Sprintf("translation-v%d.txt", map[bool]int{true: 2, false: 1}[unified]))
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s (-golden +got):\n%s", golden, diff)
		}
	}
}

// A change writes only what differs, and has a way back for each step.
func TestChanged(t *testing.T) {
	tree := fakeTree(t, false)
	old := Limits{MemoryMax: ptr(int64(100)), MemorySwapMax: ptr(int64(50)), PidsMax: ptr(int64(5)), CPUWeight: ptr(100)}
	next := Limits{MemoryMax: ptr(int64(200)), MemorySwapMax: ptr(int64(50)), PidsMax: ptr(int64(5))}
	before, after := withDefaults(old, next), withDefaults(next, old)
	from, err := tree.settingsFor(&before, true)
	if err != nil {
		t.Fatal(err)
	}
	to, err := tree.settingsFor(&after, true)
	if err != nil {
		t.Fatal(err)
	}
	there := changed(to.settings, from.settings)
	reverseMemory(there)
	var files []string
	for _, s := range there {
		files = append(files, s.writes[0].file+"="+s.writes[0].value)
		if !slices.ContainsFunc(changed(from.settings, to.settings), s.same) {
			t.Errorf("there is no way back for %s", s.key)
		}
	}
	want := []string{"memory.memsw.limit_in_bytes=250", "memory.limit_in_bytes=200"}
	if !slices.Equal(files, want) {
		t.Errorf("the change writes %v, not %v", files, want)
	}
}

func TestValidate(t *testing.T) {
	for name, l := range map[string]Limits{
		"memory":       {MemoryMax: ptr(int64(-2))},
		"cpu zero":     {CPUMax: ptr(int64(0))},
		"cpu overflow": {CPUMax: ptr(int64(1 << 62))},
		"weight":       {CPUWeight: ptr(0)},
		"io weight":    {IOWeight: ptr(10001)},
		"cpuset":       {CpusetCPUs: "0-1\nx"},
		"no device":    {IOMax: []IOMax{{}}},
		"io zero":      {IOMax: []IOMax{{Device: "/dev/x", ReadBPS: ptr(int64(0))}}},
		"page size":    {HugetlbMax: map[string]int64{"../2MB": 1}},
		"page unit":    {HugetlbMax: map[string]int64{"MB": 1}},
		"rule type":    {Devices: []DeviceRule{{Type: 'x', Read: true}}},
		"rule number":  {Devices: []DeviceRule{{Type: 'c', Major: -2, Read: true}}},
		"rule nothing": {Devices: []DeviceRule{{Type: 'c'}}},
	} {
		if err := l.Validate(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := (&Limits{}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestIOMaxNotADisk(t *testing.T) {
	tree := fakeTree(t, true)
	for _, path := range []string{"/dev/null", "/no/such/disk"} {
		if _, err := tree.settingsFor(&Limits{IOMax: []IOMax{{Device: path, ReadBPS: ptr(int64(1))}}}, false); err == nil {
			t.Errorf("%s is taken for a disk", path)
		}
	}
}
