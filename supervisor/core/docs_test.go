package core

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares text with a file, or rewrites it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if string(want) != got {
		w, g := strings.Split(string(want), "\n"), strings.Split(got, "\n")
		for i := range max(len(w), len(g)) {
			a, b := "", ""
			if i < len(w) {
				a = w[i]
			}
			if i < len(g) {
				b = g[i]
			}
			if a != b {
				t.Fatalf("%s:%d differs (go test -update rewrites it)\n want %q\n  got %q", path, i+1, a, b)
			}
		}
	}
}

const statesHead = `# The states of a unit

This page is written by ` + "`go test ./supervisor/core -update`" + ` from the table that the tests hold
the state machine to; do not edit it by hand.

A unit is in one of nine phases. What it is *desired* to be, up or down, is kept apart from that:
a failed unit may still be desired up, and one that is running may have to go down as soon as those
that depend on it are down.

`

// TestStatesPage holds docs/states.md to the table of transitions.
func TestStatesPage(t *testing.T) {
	var b strings.Builder
	b.WriteString(statesHead)
	b.WriteString("```mermaid\n" + Diagram() + "```\n\n")
	b.WriteString("| From | To | Why |\n|---|---|---|\n")
	for _, e := range Transitions() {
		b.WriteString("| " + string(e.From) + " | " + string(e.To) + " | " + e.Why + " |\n")
	}
	golden(t, filepath.Join("..", "..", "docs", "states.md"), b.String())
}
