package machine

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStateDir(t *testing.T) {
	run, state := t.TempDir(), filepath.Join(t.TempDir(), "lib", "berth")
	for range 2 {
		dir, why, err := StateDir(run, state)
		if dir != state || why != "" || err != nil {
			t.Fatalf("%q, %q, %v", dir, why, err)
		}
	}
	if info, err := os.Stat(state); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("%v, %v", info, err)
	}
	// /proc cannot be written by anybody.
	want := filepath.Join(run, "state")
	dir, why, err := StateDir(run, "/proc/berth")
	if dir != want || why == "" || err != nil {
		t.Fatalf("%q, %q, %v", dir, why, err)
	}
	// What was kept there is found again.
	if dir, why, err := StateDir(run, state); dir != want || why == "" || err != nil {
		t.Errorf("%q, %q, %v", dir, why, err)
	}
}
