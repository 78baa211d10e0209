package history

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/config"
	"berth/units"

	"github.com/google/go-cmp/cmp"
)

func decodeUnit(t testing.TB, name, text string) *units.Unit {
	t.Helper()
	u, d := units.Decode(name, []units.Source{{Path: name, Text: []byte(text)}})
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	return u
}

func some(t testing.TB, command string) map[string]*units.Unit {
	return map[string]*units.Unit{
		"web": decodeUnit(t, "web", "[service]\ncommand = [\"/bin/sh\", \"-c\", '''"+command+"''']\nenvironment = { A = \"-- x.toml --\\n-- y.toml --\" }\n[rootfs]\nhost = true\n"),
		"db":  decodeUnit(t, "db", "[unit]\ndescription = \"100 %% 50\"\n[service]\ncommand = [\"/x\"]\n[rootfs]\nhost = true\n"),
	}
}

func open(t testing.TB, dir string, keep, faults int) *Store {
	t.Helper()
	s, told, err := Open(dir, keep)
	if err != nil || len(told) != faults {
		t.Fatal(err, told)
	}
	return s
}

func add(t testing.TB, s *Store, state State, all map[string]*units.Unit) uint64 {
	t.Helper()
	n := s.Next(0)
	err := s.Add(Record{Generation: n, Time: time.Unix(int64(n), 0).UTC(), Author: Author{Kind: KindFiles}, Units: len(all), Outcome: Outcome{State: state}, Directories: []string{"/etc/x"}}, all)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// numbers gives the generations and what became of them.
func numbers(s *Store) string {
	var out []string
	for _, r := range s.Records() {
		out = append(out, fmt.Sprint(r.Generation, " ", r.Outcome.State))
	}
	return strings.Join(out, ", ")
}

func files(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "generations")
	s := open(t, dir, 3, 0)
	if _, ok := s.Last(); ok || s.Next(7) != 8 {
		t.Error("an empty history has something")
	}
	first := add(t, s, Applied, some(t, "one"))
	add(t, s, Invalid, nil)
	if n := add(t, s, Invalid, nil); numbers(s) != "1 applied, 2 invalid" || n != 3 {
		t.Errorf("two invalid ones: %s", numbers(s))
	}
	second := add(t, s, Applying, some(t, "two"))
	if err := s.Update(second, func(r *Record) {
		r.Outcome = Outcome{State: Applied, Rejected: map[string]string{"web": "bad"}}
	}); err != nil {
		t.Fatal(err)
	}
	third := add(t, s, Applied, some(t, "three"))
	if r, ok := s.Before(third); !ok || r.Generation != first {
		t.Errorf("before %d comes %+v: the one between had a version that was rejected", third, r)
	}

	s = open(t, dir, 3, 0)
	if got, want := numbers(s), fmt.Sprintf("1 applied, 2 invalid, %d applied, %d applied", second, third); got != want {
		t.Errorf("read again: %s, want %s", got, want)
	}
	for n, command := range map[uint64]string{first: "one", second: "two", third: "three"} {
		all, err := s.Units(n)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(some(t, command), all, cmp.AllowUnexported(units.Unit{})); diff != "" {
			t.Errorf("generation %d (-written +read):\n%s", n, diff)
		}
	}
	if r, _ := s.Record(second); r.Outcome.Rejected["web"] != "bad" || r.Good() || r.Units != 2 || r.Directories[0] != "/etc/x" {
		t.Errorf("the record read again is %+v", r)
	}
	if _, err := s.Units(2); err == nil || !strings.Contains(err.Error(), "invalid") {
		t.Errorf("units of an invalid generation: %v", err)
	}
	if _, err := s.Units(99); err == nil {
		t.Error("there is a generation 99")
	}

	// The oldest goes, and the invalid one after it.
	add(t, s, Applied, some(t, "four"))
	if got := files(t, dir); strings.Contains(got, "1.") || strings.Contains(got, "2.json") || len(s.Records()) != 3 {
		t.Errorf("after a fourth: %s (%s)", numbers(s), got)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
}

func TestDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "generations")
	s := open(t, dir, 10, 0)
	for _, command := range []string{"one", "two", "three", "four"} {
		add(t, s, Applied, some(t, command))
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "2.units"))
	if err != nil {
		t.Fatal(err)
	}
	write("1.json", "{")
	write("2.units", strings.Replace(string(text), "two", "toe", 1))
	if err := os.Remove(filepath.Join(dir, "3.units")); err != nil {
		t.Fatal(err)
	}
	write("9.json.new", "cut short")
	write("notes", "somebody's")
	write("7.json", `{"generation": 6}`)
	s, faults, err := Open(dir, 10)
	if err != nil || len(faults) != 2 {
		t.Fatalf("%v %v", faults, err)
	}
	if got := numbers(s); got != "2 applied, 3 applied, 4 applied" {
		t.Errorf("there is %s", got)
	}
	for n, want := range map[uint64]string{2: "damaged", 3: "no such file"} {
		if _, err := s.Units(n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("units of %d: %v", n, err)
		}
	}
	if _, err := s.Units(4); err != nil {
		t.Error(err)
	}
	if n := s.Next(0); n != 8 {
		t.Errorf("the next is %d: the number of a damaged one must not be given again", n)
	}
	if got := files(t, dir); strings.Contains(got, ".new") || !strings.Contains(got, "notes") {
		t.Errorf("the directory holds %s", got)
	}
}

// Where there can be no directory, everything else works.
func TestNoDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, make := range map[string]func(string) error{
		"a file":        func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"a link":        func(p string) error { return os.Symlink(dir, p) },
		"below nothing": func(string) error { return nil },
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if name == "below nothing" {
			path = filepath.Join(dir, "x", "y")
		}
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		s, _, err := Open(path, 3)
		if err == nil {
			t.Errorf("%s: taken", name)
		}
		if err := s.Add(Record{Generation: s.Next(0), Outcome: Outcome{State: Applied}}, some(t, "x")); err == nil {
			t.Errorf("%s: written", name)
		}
		if r, ok := s.Last(); !ok || r.Generation != 1 {
			t.Errorf("%s: the generation is not known: %+v", name, r)
		}
		if err := s.Update(1, func(r *Record) { r.Outcome.State = Superseded }); err != nil {
			t.Error(err)
		}
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(open, 3); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(open); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a directory that was open to others: %v %v", info, err)
	}
}

// What is kept of a generation that changes everything is bounded, and holds no
// secrets.
func TestBound(t *testing.T) {
	r := Record{Files: make([]string, 1000), Author: Author{Command: strings.Repeat("x", 5000)}}
	for i := range 1000 {
		r.Changes = append(r.Changes, config.Step{Unit: fmt.Sprint(i), Action: config.ActionRestart, Keys: []units.KeyChange{{Key: "service.environment.X", Old: "hunter1", New: "hunter2"}}})
	}
	r.bound()
	if len(r.Changes) != maxSteps || r.More != 500 || len(r.Files) != maxFiles || len(r.Author.Command) > maxText+3 {
		t.Errorf("%d steps, %d more, %d files, %d bytes", len(r.Changes), r.More, len(r.Files), len(r.Author.Command))
	}
	if slices.ContainsFunc(r.Changes, func(s config.Step) bool { return s.Keys[0].New != "" || len(s.Hidden) != 1 }) {
		t.Error("a secret is kept")
	}
}

// Every unit of the examples comes out as it went in.
func TestExamples(t *testing.T) {
	set, err := config.Load(config.Options{Dirs: []string{"../../examples", "../../examples/demo", "../../examples/web"}})
	if err != nil || len(set.Units) < 2 {
		t.Fatal(err, set)
	}
	all, d := decode(1, encode(set.Units))
	if d.HasErrors() {
		t.Fatal(d.Error())
	}
	if plan := config.DiffUnits(set.Units, all); !plan.Empty() {
		t.Errorf("the plan is %+v", plan.Changed())
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("-- web.toml --\n[service]\ncommand = [\"/x\"]\n-- ")
	f.Add("x\n-- .toml --\n-- a\n\n-- b.toml --")
	f.Fuzz(func(t *testing.T, text string) {
		all, _ := decode(1, []byte(text))
		for name, u := range all {
			if name == "" || u == nil {
				t.Fatal("a unit of nothing")
			}
		}
	})
}
