package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/supervisor/core"

	"go.uber.org/zap"
)

// Panics are counted, and nothing else is; after some of them less of the state is
// taken over, and the whole is kept for who looks for the cause.
func TestRelapses(t *testing.T) {
	w := newWorld(t)
	w.load(2)
	w.must(core.Spawned{Unit: "u0", Incarnation: w.incarnation("u0"), PID: 100})
	store := map[string][]*os.File{}
	keep := func(name string, files ...*os.File) error { store[name] = files; return nil }
	r, err := takeRelapses(map[string][]*os.File{}, keep)
	if err != nil {
		t.Fatal(err)
	}
	// life is a supervisor, which the runtime ends with these words.
	life := func(said string) {
		t.Helper()
		if r, err = takeRelapses(map[string][]*os.File{relapsesName: store[relapsesName]}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := r.memory.WriteString(said); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	take := func() *core.State { return r.take(w.kept, dir, zap.NewNop()) }
	for n := range 8 {
		if r.count() != n {
			t.Errorf("%d panics are counted, want %d", r.count(), n)
		}
		state := take()
		switch {
		case n < salvageAfter:
			sameState(t, w.state, state)
		case n < anewAfter:
			u0, u1 := state.Units["u0"], state.Units["u1"]
			if u0.Phase != core.Running || u0.MainPID != 100 || u1.Phase != core.Waiting {
				t.Errorf("after %d: u0 is %s, process %d, u1 %s", n, u0.Phase, u0.MainPID, u1.Phase)
			}
		case state != nil:
			t.Errorf("after %d panics there is a state", n)
		}
		if st, err := os.Stat(filepath.Join(dir, crashSnapshot)); (err == nil) != (n >= salvageAfter) || err == nil && st.Size() != w.snap.size {
			t.Errorf("after %d: %v", n, err)
		}
		life("") // one that is killed, or ends in order
		life("SIGABRT: abort\nPC=0x1\n")
		life([]string{"panic: a panic of the core\n", "fatal error: concurrent map writes\n"}[n%2] + strings.Repeat("goroutine\n", 10000))
		life("")
		if len(r.report) != maxReport {
			t.Errorf("a report of %d bytes", len(r.report))
		}
	}
	r.set(0)
	sameState(t, w.state, take())
}
