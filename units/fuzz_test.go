package units

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

// FuzzDecode holds for any text: no panic, every place inside the file, what a
// strict TOML library refuses is refused, and a valid unit reads back from its
// own text and JSON.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, e := range explanations() {
		f.Add([]byte(e.Wrong))
		f.Add([]byte(e.Right))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		sources := []Source{{Path: "web.toml", Text: text}}
		u, ds := Decode("web", sources)
		set := map[string]*Unit{"web": u}
		checkPlaces(t, sources, ds)
		checkPlaces(t, sources, Check(set, Origins{"web": sources}))
		Decode("web@eu", []Source{{Path: "web@.toml", Text: text}, {Path: "10.toml", Text: text}})
		if !ds.HasErrors() {
			var any map[string]any
			if _, err := toml.Decode(string(text), &any); err != nil {
				t.Errorf("a strict library refuses what Decode takes: %v", err)
			}
			checkReadsBack(t, u)
		}
	})
}

// checkPlaces holds every diagnostic to a place inside its file.
func checkPlaces(t *testing.T, sources []Source, ds Diagnostics) {
	t.Helper()
	texts := make(map[string][]string)
	for _, s := range sources {
		text := strings.TrimPrefix(string(s.Text), "\xef\xbb\xbf")
		texts[s.Path] = strings.Split(text, "\n")
	}
	inside := func(path string, line, column int) bool {
		lines, ok := texts[path]
		return ok && line >= 1 && line <= len(lines) && column >= 1 && column <= utf8.RuneCountInString(lines[line-1])+1
	}
	for _, d := range ds {
		if !inside(d.Path, d.Line, d.Column) || d.EndColumn <= d.Column {
			t.Errorf("outside of the file: %v to %d", d, d.EndColumn)
		}
		for _, p := range d.Related {
			if !inside(p.Path, p.Line, p.Column) {
				t.Errorf("%v: related place outside of the file: %+v", d, p)
			}
		}
		if d.Message == "" || d.Code == "" || d.Severity != Error && d.Severity != Warning {
			t.Errorf("incomplete: %+v", d)
		}
		if d.SourceLine != "" && !utf8.ValidString(d.SourceLine) {
			t.Errorf("%v: the line is not UTF-8", d)
		}
	}
	for _, color := range []bool{false, true} {
		var out bytes.Buffer
		if err := ds.Format(&out, color); err != nil {
			t.Error(err)
		}
		if !color && strings.ContainsRune(out.String(), '\x1b') {
			t.Errorf("an escape character gets through: %q", out.String())
		}
	}
}

// checkReadsBack holds Format and JSON to the unit.
func checkReadsBack(t *testing.T, u *Unit) {
	t.Helper()
	text := Format(u)
	again, ds := Decode(u.Name, []Source{{Path: "web.toml", Text: text}})
	if ds.HasErrors() {
		t.Fatalf("Format is refused: %v\n%s", ds, text)
	}
	if !reflect.DeepEqual(u, again) {
		t.Errorf("Format reads back otherwise (-was +is):\n%s\n%s", cmp.Diff(u, again), text)
	}
	data, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	back := &Unit{}
	if err := json.Unmarshal(data, back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(u, back) {
		t.Errorf("JSON reads back otherwise (-was +is):\n%s", cmp.Diff(u, back))
	}
}
