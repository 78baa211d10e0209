package examples

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/config"
)

// TestUnitsAreValid checks every example as `berth check` does.
func TestUnitsAreValid(t *testing.T) {
	want := map[string]string{
		"nginx":      "nginx",
		"redis":      "redis",
		"haproxy":    "haproxy",
		"postgres":   "postgres postgres-init",
		"web":        "web@one web@two",
		"tasks":      "gather publish report",
		"crash-loop": "alert flaky",
		"demo":       "flaky inspect prepare ticker",
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "appliance" { // which is a program, and has tests of its own
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			set, err := config.Load(config.Options{Dirs: []string{e.Name()}})
			if err != nil {
				t.Fatal(err)
			}
			if len(set.Diagnostics) > 0 {
				t.Errorf("diagnostics:\n%s", set.Diagnostics.Error())
			}
			var names []string
			for name, u := range set.Units {
				names = append(names, name)
				if len(u.Capabilities.Keep) > 0 || u.Security.Seccomp != "default" || u.Service.User == "" {
					t.Errorf("%s: an example keeps to the defaults of security and names a user", name)
				}
				for _, m := range u.Mounts {
					if m.Type == "bind" {
						beside(t, m.Source)
					}
				}
				for _, f := range u.Service.EnvironmentFiles {
					beside(t, f)
				}
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != want[e.Name()] {
				t.Errorf("units %q, want %q", got, want[e.Name()])
			}
		})
	}
}

// beside wants a file of the example itself.
func beside(t *testing.T, path string) {
	t.Helper()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(path, here+"/") {
		t.Errorf("%s is not a file of the example", path)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
