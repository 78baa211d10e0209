package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"berth/isolate/vmtest"
)

const placeTests = "TestPlace|TestReopen|TestMemoryLimit|TestUpdate|TestPidsAndUnitOf"

// stages are the places in which the tests run in the virtual machine.
var stages = []vmtest.Stage{
	{Name: "root", Skip: "TestTranslation"}, // its golden files are not there
	{Name: "delegated", Group: "system.slice/berthd.service", Tests: placeTests},
	{Name: "shell", Group: "user.slice/session.scope", Others: true, Tests: placeTests},
	{Name: "container", Group: "machine.slice/container", Others: true, Namespace: true, Tests: placeTests},
}

// bases is where the sub-tree is expected, as /proc/self/cgroup shows it.
var bases = map[string]string{"root": "/", "delegated": "/system.slice/berthd.service", "shell": "/", "container": "/"}

// TestVM runs this package's tests on a kernel with nothing but cgroup v2: once
// in the root group, and then from each kind of place that a daemon is started in.
func TestVM(t *testing.T) { vmtest.Run(t, vmtest.Machine{Stages: stages}) }

// Where the daemon is started decides where its sub-tree is, and that it has
// every controller there.
func TestPlace(t *testing.T) {
	stage := vmtest.Current()
	if stage == "" {
		t.Log("is a part of TestVM, which runs it")
		return
	}
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("open", func(t *testing.T) {
		tree := openTree(t, viewHost)
		d := tree.Describe()
		if base := bases[stage]; d.Path != filepath.Join(base, tree.sliceName) {
			t.Errorf("the sub-tree is at %s and not below %s", d.Path, base)
		}
		if d.Version != "v2" || len(d.Missing) != 0 || !d.OOMGroup || !d.Swap {
			t.Errorf("the description is %+v", d)
		}
		for _, c := range unifiedControllers {
			if tree.by[c] == nil {
				t.Errorf("%s is missing: %s", c, tree.whyMissing(c))
			}
		}
		t.Log(d)
	})
	after, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if stage != "shell" && string(before) != string(after) {
		t.Errorf("this process was in %s and is in %s after Remove", before, after)
	}
}

// A new supervisor finds the same sub-tree and what is in it.
func TestReopen(t *testing.T) {
	tree := openTree(t, viewHost)
	g := newGroup(t, tree, "kept.service", Limits{})
	start(t, g, "wait")
	again, err := Open(Options{Slice: tree.sliceName})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if a, b := tree.Describe().String(), again.Describe().String(); a != b {
		t.Errorf("first %s, then %s", a, b)
	}
	if names, err := again.List(); err != nil || len(names) != 1 || names[0] != g.Name() {
		t.Errorf("List gives %v, %v", names, err)
	}
	same, err := again.Group(g.Name())
	if err != nil {
		t.Fatal(err)
	}
	if pids, err := same.Pids(); err != nil || len(pids) != 1 {
		t.Errorf("Pids gives %v, %v", pids, err)
	}
}

// A group that has to wait for a processor has pressure; the host's v2 groups may
// have no processor limit to wait for.
func TestPressure(t *testing.T) {
	if vmtest.Current() == "" {
		t.Log("is a part of TestVM, which runs it")
		return
	}
	tree := openTree(t, viewHost)
	g := newGroup(t, tree, "waits.service", Limits{CPUMax: ptr(int64(100))})
	if out, err := run(t, g, "spin", "60"); err != nil {
		t.Fatal(err, out)
	}
	stats, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if p := stats.CPU.Pressure; p == nil || p.Some.Total == 0 {
		t.Errorf("the pressure is %+v after it was throttled for %d µs", p, stats.CPU.ThrottledUsec)
	}
	if stats.Memory.Pressure == nil || stats.IOPressure == nil {
		t.Error("there is no pressure of memory or input and output")
	}
}
