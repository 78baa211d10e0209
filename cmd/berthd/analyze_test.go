package main

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
)

// TestGraphAndAnalyze draws a small machine that has come up.
func TestGraphAndAnalyze(t *testing.T) {
	needRoot(t)
	d := start(t, map[string]string{
		"migrate.toml": with(sh("sleep 0.3"), "type = 'task'"),
		"db.toml":      "[unit]\nafter = ['migrate']\n" + with(sh(sleeper), "post-start = ["+script("sleep 0.2")+"]"),
		"cache.toml":   sh(sleeper),
		"web.toml":     "[unit]\nrequires = ['db']\nwants = ['cache']\n" + sh(sleeper),
		"old.toml":     "[unit]\nstart = 'demand'\nconflicts = ['web']\n" + sh(sleeper),
	})
	d.wait("web", core.Running)
	d.wait("cache", core.Running)
	says := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !regexp.MustCompile(w).MatchString(out) {
				t.Errorf("there is no %q in\n%s", w, out)
			}
		}
	}
	says(d.ok("graph", "web"), "(?s)^● web running\n├─ ● db \\(requires\\) running\n│  └─ ● migrate \\(after ready\\) completed\n└─ ● cache \\(wants\\) running\n$")
	says(d.ok("graph", "migrate", "--reverse"), "(?s)^● migrate completed\n└─ ● db \\(after ready\\) running\n   └─ ● web \\(requires\\) running\n$")
	says(d.ok("graph"), "(?m)^● old inactive$")
	says(d.ok("graph", "--format", "dot"), `"web" -> "db" \[style = "solid"`, `"old" -> "web" .*conflicts`)
	if _, stderr, code := d.berth("graph", "wep"); code != 4 || !strings.Contains(stderr, `"web"`) {
		t.Errorf("an unknown unit: code %d, %s", code, stderr)
	}
	blame := d.ok("analyze", "blame")
	says(blame, `(?m)^TOOK +WAITED +UNIT$`, `(?m)^[\d.]+m?s +[\d.]+m?s +migrate$`)
	last := time.Hour
	for line := range strings.Lines(strings.SplitAfterN(blame, "\n", 2)[1]) {
		took, err := time.ParseDuration(strings.Fields(line)[0])
		if err != nil || took > last {
			t.Errorf("the slowest are not first, %v:\n%s", err, blame)
		}
		last = took
	}
	says(d.ok("analyze", "critical-chain"), `(?s)^web @\S+ \+\S+\n└─ db @\S+ \+\S+\n  └─ migrate @\S+ \+\S+\n$`)
	if _, _, code := d.berth("analyze", "critical-chain", "old"); code != 1 {
		t.Errorf("a unit that has not come up: code %d", code)
	}
	for _, args := range [][]string{{"graph", "--format", "svg"}, {"analyze", "plot"}} {
		out := d.ok(args...)
		x := xml.NewDecoder(strings.NewReader(out))
		for {
			_, err := x.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%v is no XML: %v\n%s", args, err, out)
			}
		}
		says(out, `^<svg `, `>web`, `>db`, `>migrate`)
		if dir := os.Getenv("BERTH_PICTURES"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, args[0]+".svg"), []byte(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	says(d.ok("analyze", "security", "--units", filepath.Join(d.dir, "units"), "web"), `^web: \d\.\d of 10`, `✗ +namespaces.user`)
}
