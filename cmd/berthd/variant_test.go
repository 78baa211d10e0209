package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"berth/isolate/vmtest"
)

// variant builds a berthd of which some files differ, as another version's would:
// edits gives, by file below the module's directory, pairs of a text and what
// stands in its place. A text that is not there fails the test.
func variant(t testing.TB, version string, edits map[string][]string) string {
	t.Helper()
	needRoot(t)
	if vmtest.Current() != "" {
		t.Skip("there is no compiler in the virtual machine")
	}
	module, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, pairs := range edits {
		path := filepath.Join(module, name)
		text := readFile(t, path)
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(text, pairs[i]) {
				t.Fatalf("%s has no %q", name, pairs[i])
			}
			text = strings.Replace(text, pairs[i], pairs[i+1], 1)
		}
		changed := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(changed, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[path] = changed
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "berthd")
	build := exec.Command("go", "build", "-trimpath", "-overlay", filepath.Join(dir, "overlay.json"),
		"-ldflags=-s -w -X main.version="+version, "-o", program, "berth/cmd/berthd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the variant %s: %v\n%s", version, err, out)
	}
	return program
}

// install puts a program at a path, as a package manager does: under a new inode.
func install(t testing.TB, program, path string, mode os.FileMode) {
	t.Helper()
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", text, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
