package config

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// thousand writes 1,000 unit files as an application's are: with an image's
// root, limits, environment, and each ordered after the one before.
func thousand(b *testing.B, dir string) {
	b.Helper()
	for i := range 1000 {
		text := fmt.Sprintf(`[unit]
description = "worker %[1]d"
after = ["worker%04[2]d"]

[service]
command = ["/usr/bin/worker", "--number", "%[1]d"]
user = "worker"
environment = { LANG = "C.UTF-8", NUMBER = "%[1]d", HOME = "/srv" }

[rootfs]
host = true

[[mount]]
source = "/srv/worker%[1]d"
target = "/srv"

[cgroup]
memory-max = "64M"
pids-max = 100

[restart]
policy = "always"
delay = "1s"
`, i, max(i-1, 0))
		if i == 0 {
			text = "[service]\ncommand = [\"/bin/true\"]\n[rootfs]\nhost = true\n"
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("worker%04d.toml", i)), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPlanOneKeyOf1000Units reads, checks and compares 1,000 units of which
// one has changed in one key, as the daemon does when a file was saved.
func BenchmarkPlanOneKeyOf1000Units(b *testing.B) {
	dir := b.TempDir()
	thousand(b, dir)
	old, err := Load(Options{Dirs: []string{dir}})
	if err != nil || !old.Valid() {
		b.Fatal(err, old)
	}
	path := filepath.Join(dir, "worker0500.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, "jitter = 0.5\n"...), 0o644); err != nil {
		b.Fatal(err)
	}
	for name, known := range map[string]*Set{"running": old, "cold": nil} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				set, err := Load(Options{Dirs: []string{dir}, Known: known})
				if err != nil || !set.Valid() {
					b.Fatal(err, set.Diagnostics)
				}
				if plan := DiffUnits(old.Units, set.Units).Changed(); len(plan) != 1 {
					b.Fatal("the plan is", plan)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/plan")
		})
	}
}
