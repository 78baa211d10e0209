package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/supervisor/core"
)

// TestPaths restarts, reloads and starts units when files of the host change, in
// all the ways in which they do.
func TestPaths(t *testing.T) {
	dir := t.TempDir()
	at := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write(at("conf"), "1")
	must(os.Mkdir(at("in"), 0o755))
	must(os.Mkdir(at("v1"), 0o755))
	must(os.Mkdir(at("v2"), 0o755))
	write(at("v1", "key"), "1")
	write(at("v2", "key"), "2")
	must(os.Symlink("v1", at("current")))
	path := func(action string, paths ...string) string {
		return fmt.Sprintf("[path]\nchanged = ['%s']\naction = '%s'", strings.Join(paths, "', '"), action)
	}
	d := start(t, map[string]string{
		"web.toml": sh(sleeper, path("restart", at("conf"), at("later", "conf"))),
		"db.toml": with(sh("trap 'echo reloaded' HUP; echo up; while :; do sleep 0.05; done", path("reload", at("current", "key"))),
			"reload = { signal = 'HUP' }"),
		"job.toml": task("echo run", path("start", at("in"))),
	})
	pid := d.wait("web", core.Running).MainPID
	d.eventuallyLogs("db", "up")
	if st := d.status("job"); st.Phase != core.Inactive {
		t.Errorf("job: %s", st.Phase)
	}

	// Written in place, replaced by another, and made with its directory.
	write(at("conf"), "2")
	pid = d.renewed("web", pid)
	if st := d.wait("web", core.Running); st.Restarts != 0 {
		t.Errorf("web: %+v", st)
	}
	write(at("new"), "3")
	must(os.Rename(at("new"), at("conf")))
	pid = d.renewed("web", pid)
	must(os.Mkdir(at("later"), 0o755))
	write(at("later", "conf"), "1")
	pid = d.renewed("web", pid)
	must(os.RemoveAll(at("later")))
	d.renewed("web", pid)

	// A link on the way that is pointed elsewhere.
	must(os.Symlink("v2", at("next")))
	must(os.Rename(at("next"), at("current")))
	d.eventuallyLogs("db", "up", "reloaded")
	write(at("v1", "key"), "3") // nobody's any more
	write(at("v2", "key"), "3")
	d.eventuallyLogs("db", "up", "reloaded", "reloaded")

	// Many changes in a short time are one start, or two.
	for i := range 20 {
		write(at("in", fmt.Sprint(i)), "x")
	}
	d.eventually("job has run", func() bool { return len(d.logs("job")) > 0 })
	d.killSupervisor(func() {})
	n := len(d.logs("job"))
	must(os.Remove(at("in", "0")))
	d.eventually("job has run again", func() bool { return len(d.logs("job")) > n })
	if n := len(d.logs("job")); n > 4 {
		t.Errorf("job ran %d times", n)
	}
	if out := d.ok("why", "job"); !strings.Contains(out, "because "+at("in")+" changed") {
		t.Errorf("berth why:\n%s", out)
	}

	// Stopped, it is left alone.
	d.ok("stop", "web")
	write(at("conf"), "4")
	write(at("in", "1"), "y")
	had := len(d.logs("job"))
	d.eventually("others go on", func() bool { return len(d.logs("job")) > had })
	if st := d.status("web"); st.Phase != core.Inactive {
		t.Errorf("web: %s", st.Phase)
	}
	// A change of what is watched takes no restart.
	d.ok("start", "web")
	pid = d.wait("web", core.Running).MainPID
	d.change(func() { d.write("web.toml", sh(sleeper, path("restart", at("other")))) })
	if d.status("web").MainPID != pid {
		t.Error("web was restarted for another path")
	}
	write(at("other"), "1")
	d.renewed("web", pid)
}
