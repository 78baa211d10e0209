package supervisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/reaper"
	"berth/supervisor/api"
	"berth/supervisor/core"
	"berth/supervisor/history"

	"go.uber.org/zap"
)

// life is a supervisor without a machine around it: it reads files, keeps the
// history, and gives the core generations of units that nobody starts.
type life struct {
	*Supervisor
	t   *testing.T
	dir string
}

// begins starts a supervisor, after a reboot or, with state, after a crash.
func begins(t *testing.T, dir string, manual bool, state *core.State) *life {
	t.Helper()
	s := &Supervisor{
		reaper: &reaper.Client{},
		cfg:    Config{Directories: []string{filepath.Join(dir, "units")}, StateDir: dir, Manual: manual, History: 20},
		log:    zap.NewNop(), state: core.New(), inbox: make(chan func()), done: make(chan struct{}),
	}
	if state != nil {
		s.state = state
	}
	s.generation = s.state.Generation
	var err error
	if s.snap, err = newSnapshot(func(*os.File) error { return nil }, s.state); err != nil {
		t.Fatal(err)
	}
	s.openHistory()
	s.begin(func(f func()) error { f(); return nil })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case f := <-s.inbox:
				f()
			case <-s.done:
				return
			}
		}
	}()
	l := &life{s, t, dir}
	t.Cleanup(func() {
		close(s.done)
		<-ended
		s.writing.drain()
		s.snap.file.Close()
	})
	return l
}

// writes replaces unit files by those given as name and command; "" removes.
func writes(t *testing.T, dir string, commands map[string]string) {
	t.Helper()
	for name, command := range commands {
		path := filepath.Join(dir, "units", name+".toml")
		if command == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		text := "[unit]\nstart = 'demand'\n[service]\ncommand = ['" + command + "']\n[rootfs]\nhost = true\n"
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func place(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "units"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// commands gives what the units are to run.
func (l *life) commands() string {
	l.t.Helper()
	var out []string
	if err := l.ask(context.Background(), func() {
		for _, name := range l.state.Names() {
			u, _ := l.state.Unit(name)
			out = append(out, name+"="+u.Config.Service.Command[0])
		}
	}); err != nil {
		l.t.Fatal(err)
	}
	return strings.Join(out, " ")
}

// runs looks at what the units are to run, and waits until the history is whole.
func (l *life) runs(want string) {
	l.t.Helper()
	defer l.writing.drain()
	if got := l.commands(); got != want {
		l.t.Errorf("it runs %s, want %s", got, want)
	}
}

func (l *life) follows() *api.Reload {
	l.t.Helper()
	out, err := l.reload(context.Background(), how{author: history.Author{Kind: history.KindFiles}, why: "test"})
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// TestWrittenBeforeDone: a supervisor that is lost between the writing of a
// generation and its core's taking it up is followed by one that does so.
func TestWrittenBeforeDone(t *testing.T) {
	dir := place(t)
	writes(t, dir, map[string]string{"a": "/1"})
	l := begins(t, dir, false, nil)
	before := clone(t, l.state)
	writes(t, dir, map[string]string{"a": "/2"})
	l.follows()
	good := clone(t, l.state)
	if _, err := l.rollback(context.Background(), 1, history.Author{Kind: history.KindUser}, "somebody"); err != nil {
		t.Fatal(err)
	}
	l.runs("a=/1")
	l.writing.drain()

	// The state is that before the rollback; the history knows of it.
	l = begins(t, dir, false, good)
	l.runs("a=/1")
	if l.generation != 3 || l.state.Generation != 3 {
		t.Errorf("generation %d", l.generation)
	}
	if out := l.follows(); out.Held != heldRollback || out.Applied {
		t.Errorf("the files are taken up again: %+v", out)
	}
	// And one that has lost two generations goes to the newest.
	l = begins(t, dir, false, before)
	l.runs("a=/1")
	if l.generation != 3 {
		t.Errorf("generation %d", l.generation)
	}
}

// TestDoneBeforeWritten: the first generation is taken up before it is written. A
// supervisor that is lost between the two is followed by one that writes it.
func TestDoneBeforeWritten(t *testing.T) {
	dir := place(t)
	writes(t, dir, map[string]string{"a": "/1"})
	l := begins(t, dir, false, nil)
	state := clone(t, l.state)
	l.writing.drain()
	if err := os.RemoveAll(historyDir(dir)); err != nil {
		t.Fatal(err)
	}

	l = begins(t, dir, false, state)
	l.runs("a=/1")
	if all := l.history.Records(); len(all) != 1 || all[0].Generation != 1 || all[0].Outcome.State != history.Applied || len(all[0].Changes) != 1 {
		t.Errorf("the history is %+v", all)
	}
	writes(t, dir, map[string]string{"a": "/2"})
	l.follows()
	l.runs("a=/2")
	if _, err := l.rollback(context.Background(), 0, history.Author{Kind: history.KindUser}, "somebody"); err != nil {
		t.Fatal(err)
	}
	l.runs("a=/1")
}

// TestHeld: what a rollback holds back is the units that it took back; a change
// of another waits with them, and one of theirs is taken up with everything.
func TestHeld(t *testing.T) {
	dir := place(t)
	writes(t, dir, map[string]string{"a": "/1", "b": "/1"})
	l := begins(t, dir, false, nil)
	writes(t, dir, map[string]string{"a": "/2", "c": "/1"})
	l.follows()
	out, err := l.rollback(context.Background(), 0, history.Author{Kind: history.KindUser}, "somebody")
	if err != nil || out.Held != heldRollback {
		t.Fatalf("%+v %v", out, err)
	}
	l.runs("a=/1 b=/1")
	writes(t, dir, map[string]string{"b": "/2"})
	if out := l.follows(); out.Held != heldRollback || len(out.Changes) != 3 {
		t.Errorf("after a change of b: %+v", out)
	}
	for range 2 { // a reboot, and another
		l = begins(t, dir, false, nil)
		l.runs("a=/1 b=/1")
		if l.pending == nil || l.pending.why != heldRollback || l.generation != 3 {
			t.Errorf("after a reboot: %+v", l.pending)
		}
	}
	writes(t, dir, map[string]string{"c": ""})
	if out := l.follows(); !out.Applied {
		t.Errorf("after the removal of c, which was rolled back: %+v", out)
	}
	l.runs("a=/2 b=/2")

	// Files that say what was gone back to let go of everything.
	if _, err = l.rollback(context.Background(), 1, history.Author{Kind: history.KindUser}, "somebody"); err != nil {
		t.Fatal(err)
	}
	writes(t, dir, map[string]string{"a": "/1", "b": "/1"})
	if out := l.follows(); out.Applied || out.Held != "" || len(out.Changes) != 0 {
		t.Errorf("files as they run: %+v", out)
	}
	writes(t, dir, map[string]string{"b": "/2"})
	l.follows()
	l.runs("a=/1 b=/2")

	// By order everything is taken up.
	if _, err = l.rollback(context.Background(), 1, history.Author{Kind: history.KindUser}, "somebody"); err != nil {
		t.Fatal(err)
	}
	if out, err := l.reload(context.Background(), how{apply: true, why: "test"}); err != nil || !out.Applied {
		t.Errorf("%+v %v", out, err)
	}
	l.runs("a=/1 b=/2")
}

// broken is a command that makes a file invalid.
const broken = "/x']\nnonsense = ['"

// TestBegin: what a machine starts with.
func TestBegin(t *testing.T) {
	for _, c := range []struct {
		name   string
		manual bool
		files  map[string]string
		spoil  func(dir string) error
		want   string
	}{
		{"files as they were", false, nil, nil, "a=/1"},
		{"changed files", false, map[string]string{"a": "/2"}, nil, "a=/2"},
		{"changed files, by hand", true, map[string]string{"a": "/2"}, nil, "a=/1"},
		{"changed files, by hand, and the history is lost", true, map[string]string{"a": "/2"}, func(dir string) error { return os.RemoveAll(filepath.Join(dir, "generations")) }, "a=/2"},
		{"changed files, by hand, and the generation is damaged", true, map[string]string{"a": "/2"}, func(dir string) error { return os.Truncate(filepath.Join(dir, "generations", "1.units"), 20) }, "a=/2"},
		{"changed files, by hand, and other directories", true, map[string]string{"a": "/2"}, func(dir string) error {
			path := filepath.Join(dir, "generations", "1.json")
			text, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, []byte(strings.Replace(string(text), dir, "/elsewhere", -1)), 0o600))
		}, "a=/2"},
		{"invalid files", false, map[string]string{"a": broken}, nil, "a=/1"},
		{"invalid files, and the generation is damaged", false, map[string]string{"a": broken}, func(dir string) error { return os.Truncate(filepath.Join(dir, "generations", "1.units"), 20) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := place(t)
			writes(t, dir, map[string]string{"a": "/1"})
			l := begins(t, dir, c.manual, nil)
			l.runs("a=/1")
			writes(t, dir, c.files)
			if c.spoil != nil {
				if err := c.spoil(dir); err != nil {
					t.Fatal(err)
				}
			}
			l = begins(t, dir, c.manual, nil)
			l.runs(c.want)
			if c.files["a"] == broken && !l.invalid.HasErrors() {
				t.Error("nobody is told that the files are not valid")
			}
			if waits := c.manual && c.want == "a=/1"; waits != (l.pending != nil) {
				t.Errorf("pending: %+v", l.pending)
			}
		})
	}
}

// TestNoHistory: where no generation can be written down, all but going back works.
func TestNoHistory(t *testing.T) {
	dir := place(t)
	if err := os.WriteFile(filepath.Join(dir, "generations"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	writes(t, dir, map[string]string{"a": "/1"})
	l := begins(t, dir, false, nil)
	writes(t, dir, map[string]string{"a": "/2"})
	out := l.follows()
	l.runs("a=/2")
	if !out.Applied || len(out.Diagnostics) != 1 || out.Diagnostics.HasErrors() {
		t.Errorf("%+v", out)
	}
	if _, err := l.rollback(context.Background(), 1, history.Author{}, "somebody"); err == nil || !strings.Contains(err.Error(), "not written down") {
		t.Errorf("a rollback: %v", err)
	}
}

// TestLastGood: at boot, versions to go back to come from the last generation
// in which they came up.
func TestLastGood(t *testing.T) {
	dir := place(t)
	writes(t, dir, map[string]string{"a": "/1", "b": "/1", "c": "/1"})
	l := begins(t, dir, false, nil)
	writes(t, dir, map[string]string{"a": "/2", "b": "/2"})
	l.follows()
	l.writing.drain()
	if err := l.history.Update(2, func(r *history.Record) {
		r.Outcome = history.Outcome{State: history.Applied, Time: time.Now(), Rejected: map[string]string{"b": "bad"}}
	}); err != nil {
		t.Fatal(err)
	}
	writes(t, dir, map[string]string{"a": "/3", "d": "/1"})
	set, err := l.readUnits()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for name, u := range l.lastGood(set.Units) {
		got = append(got, name+"="+u.Service.Command[0])
	}
	slices.Sort(got)
	if text := strings.Join(got, " "); text != "a=/2 b=/1" {
		t.Errorf("the versions to go back to are %s", text)
	}
}
