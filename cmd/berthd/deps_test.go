package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDependencies holds the direction of the design's arrows: units ← config ←
// supervisor/core ← supervisor → isolate, reaper; the last two know nothing of
// unit files or of the supervisor. units/calendar depends on nothing, and is
// there for all.
func TestDependencies(t *testing.T) {
	forbidden := map[string][]string{
		"berth/units/...":       {"berth/config", "berth/supervisor", "berth/isolate", "berth/reaper", "berth/cmd"},
		"berth/config":          {"berth/supervisor", "berth/isolate", "berth/reaper", "berth/cmd"},
		"berth/supervisor/core": {"berth/supervisor", "berth/isolate", "berth/reaper", "berth/cmd"},
		"berth/isolate/...":     {"berth/units", "berth/config", "berth/supervisor", "berth/reaper", "berth/cmd"},
		"berth/reaper/...":      {"berth/units", "berth/config", "berth/supervisor", "berth/cmd"},
		"berth/supervisor/...":  {"berth/cmd"},
	}
	for pattern, prefixes := range forbidden {
		out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Deps " "}}`, pattern).Output()
		if err != nil {
			t.Fatalf("go list %s: %v", pattern, err)
		}
		for line := range strings.Lines(string(out)) {
			pkg, deps, _ := strings.Cut(strings.TrimSpace(line), " ")
			for _, dep := range strings.Fields(deps) {
				if dep == "berth/units" && strings.HasPrefix(pkg, "berth/units/") {
					continue // what lies beside the model may look at it
				}
				for _, p := range prefixes {
					if strings.HasPrefix(dep, p) && dep != "berth/units/calendar" {
						t.Errorf("%s depends on %s", pkg, dep)
					}
				}
			}
		}
	}
}

// TestGeneratorsAreNotLinked: what only makes documents is in no program.
func TestGeneratorsAreNotLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "berth/cmd/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if strings.Contains(string(out), "invopop/jsonschema") {
		t.Error("a program is linked with invopop/jsonschema")
	}
}
