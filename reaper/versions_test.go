package reaper

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// TestStateVersions reads what reapers of each revision have left to their
// successor, which is never changed: what stateSample was at the time.
func TestStateVersions(t *testing.T) {
	files, err := filepath.Glob("testdata/versions/*/state")
	if err != nil || len(files) != revision {
		t.Fatalf("there are %v for the revisions 1 to %d; %v", files, revision, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r := &reaper{table: newTable(), retired: map[int]bool{}}
		if !r.loadState(data) {
			t.Errorf("%s cannot be read", file)
			continue
		}
		checkTable(t, r.table)
		if r.supervisor.pid != 60 || !maps.Equal(r.retired, map[int]bool{61: true, 70: true}) || !slices.Equal(r.signals, []syscall.Signal{15, 40}) {
			t.Errorf("%s: %+v", file, r)
		}
		b := r.table
		if b.byID[1].pidfd != 20 || b.byID[2].exit.Code != 3 || b.byID[2].exit.Rusage.Maxrss != 9 || b.seq != 1 ||
			!slices.Equal(b.store["a"], []int{22, 23}) || !slices.Equal(b.abandoned, []uint64{8, 9}) || b.orphans != 5 || b.supervisors != 6 || b.launchers != 7 {
			t.Errorf("%s: %+v", file, b)
		}
	}
}
