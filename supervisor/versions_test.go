package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/supervisor/core"
)

// TestSnapshotVersions reads what versions before have written, which is never
// changed: testdata/versions/N/snapshot is of a daemon with a unit in each of
// many phases. The newest one is of this version.
func TestSnapshotVersions(t *testing.T) {
	files, err := filepath.Glob("testdata/versions/*/snapshot")
	if err != nil || len(files) != snapshotVersion+1 {
		t.Fatalf("there are %v for the versions 0 to %d; %v", files, snapshotVersion, err)
	}
	for n, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		state, version, err := decodeSnapshot(data)
		if err != nil || version != n {
			t.Errorf("%s: version %d, %v", file, version, err)
			continue
		}
		var got []string
		for _, name := range state.Names() {
			u, _ := state.Unit(name)
			got = append(got, fmt.Sprint(name, " ", u.Phase, " up=", u.Up, " ready=", u.Ready, " process=", u.MainPID > 0))
		}
		want := []string{
			"again backoff up=true ready=false process=false",
			"broken failed up=true ready=false process=false",
			"db running up=true ready=true process=true",
			"off inactive up=false ready=false process=false",
			"slow starting up=true ready=false process=false",
			"task completed up=true ready=false process=false",
			"timed completed up=false ready=false process=false",
			"web running up=true ready=true process=true",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s holds\n%s", file, strings.Join(got, "\n"))
		}
		if u := state.Units["again"]; u.RestartAt.IsZero() || len(u.Timers) == 0 {
			t.Errorf("%s: again is started when? %+v", file, u)
		}
		if state.Generation != 2 || state.Incarnation == 0 {
			t.Errorf("%s: %+v", file, state.Head)
		}
		if _, err := encodeRecord(record{Version: snapshotVersion, Head: &state.Head, Units: []*core.Unit{state.Units["web"]}}); err != nil {
			t.Error(err)
		}
		exercise(state)
	}
}
