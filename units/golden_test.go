package units

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestScreens holds what a user sees of faulty files: testdata/diagnostics has
// single files (*.toml) and sets of files (*.txtar).
func TestScreens(t *testing.T) {
	files, err := filepath.Glob("testdata/diagnostics/*.t*")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		ext := filepath.Ext(file)
		if ext != ".toml" && ext != ".txtar" {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ext), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			set := []txtar.File{{Name: "web.toml", Data: text}}
			if ext == ".txtar" {
				set = txtar.Parse(text).Files
			}
			ds, sources := decodeSet(set)
			checkPlaces(t, sources, ds)
			var out bytes.Buffer
			if err := ds.Format(&out, false); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ext)+".golden", out.Bytes())
		})
	}
}

// decodeSet decodes files and checks them as a set. NAME.toml.d/… are drop-ins,
// NAME@INSTANCE.toml that is empty is an instance of the template before it.
func decodeSet(files []txtar.File) (Diagnostics, []Source) {
	origins, set := make(Origins), make(map[string]*Unit)
	var order []string
	var sources []Source
	for _, f := range files {
		s := Source{Path: f.Name, Text: f.Data}
		name, _, _ := strings.Cut(f.Name, ".toml")
		prefix, instance := SplitName(name)
		if instance != "" && len(f.Data) == 0 {
			origins[name] = origins[prefix+"@"]
			order = append(order, name)
			continue
		}
		if origins[name] == nil {
			order = append(order, name)
		}
		origins[name] = append(origins[name], s)
		sources = append(sources, s)
	}
	var all Diagnostics
	for _, name := range order {
		u, ds := Decode(name, origins[name])
		all = append(all, ds...)
		if ValidName(name) {
			set[name] = u
		}
	}
	return append(all, Check(set, origins)...).Sorted(), sources
}

func TestDiagnosticsAsJSON(t *testing.T) {
	_, ds := decodeText(t, "web", "[service]\ncommand = 3\n[rootfs]\nhost = true\n")
	data, err := json.Marshal(ds)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"code":"U006","severity":"error","path":"web.toml","line":2,"column":11,"end_column":12,` +
		`"message":"a command is to be a string or an array of strings, this is an integer","source_line":"command = 3"}]`
	if string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
	if err := ds.Err(); err == nil || err.Error() != "web.toml:2:11: error[U006]: a command is to be a string or an array of strings, this is an integer" {
		t.Errorf("Err() = %v", err)
	}
	if (Diagnostics{{Severity: Warning}}).Err() != nil {
		t.Error("a warning alone is an error")
	}
}

func TestColours(t *testing.T) {
	var out bytes.Buffer
	ds := Diagnostics{{Code: "U001", Severity: Error, Path: "a\x1b[2J.toml", Line: 1, Column: 2, EndColumn: 3, Message: "bad", Hint: "do", SourceLine: "x\x1by\u202e"}}
	if err := ds.Format(&out, true); err != nil {
		t.Fatal(err)
	}
	const want = "\x1b[1ma\ufffd[2J.toml:1:2:\x1b[0m \x1b[1;31merror[U001]:\x1b[0m \x1b[1mbad\x1b[0m\n  | x\ufffdy\ufffd\n  |  \x1b[1;31m^\x1b[0m\n  \x1b[1;36mhelp:\x1b[0m do\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}
