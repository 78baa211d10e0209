package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/supervisor/core"
)

const replaces = "[restart]\nmode = \"replace\"\n"

// TestReplace: the new instance starts beside the old one, each in a group and
// with a writable layer of its own; those that require the unit do not notice, and
// of the old one nothing is left.
func TestReplace(t *testing.T) {
	d := start(t, map[string]string{
		"web.toml": sh("echo $$ >/mine; trap 'sleep 0.2; exit 0' TERM; while :; do sleep 0.05; done",
			"writable = \"ephemeral\"", replaces),
		"app.toml": sh("exec sleep 1000", "[unit]\nrequires = [\"web\"]"),
	})
	d.wait("app", core.Running)
	app, web := d.status("app"), d.status("web")
	events := d.record()
	if out := d.ok("restart", "web"); !strings.HasPrefix(out, "web: replaced") {
		t.Errorf("berth restart says %q", out)
	}
	next := d.status("web")
	if next.Phase != core.Running || next.MainPID == web.MainPID || next.Beside != nil || next.Restarts != 0 {
		t.Errorf("after the replace: %+v", next)
	}
	if alive(web.MainPID) {
		t.Errorf("the old instance %d is still there", web.MainPID)
	}
	if filepath.Base(web.Cgroup) != "web.service" || filepath.Base(next.Cgroup) != "web:2.service" {
		t.Errorf("the groups are %s and %s", web.Cgroup, next.Cgroup)
	}
	if _, err := os.Stat(web.Cgroup); err == nil {
		t.Errorf("the group %s is left", web.Cgroup)
	}
	if now := d.status("app"); now.MainPID != app.MainPID || now.Incarnation != app.Incarnation {
		t.Errorf("app was restarted: %+v", now)
	}
	if got := events.of("app"); len(got) != 0 {
		t.Errorf("app noticed: %v", got)
	}
	// Its own: starting, running, then the old one: stopping, cleaning, gone.
	want := []core.Phase{core.Starting, core.Running, core.Running, core.Stopping, core.Cleaning, core.Inactive}
	if got := events.of("web"); !slices.Equal(got, want) {
		t.Errorf("web went through %v, want %v", got, want)
	}
	d.ok("restart", "web")
	if third := d.status("web"); third.Cgroup != web.Cgroup {
		t.Errorf("the third instance is in %s, the first was in %s", third.Cgroup, web.Cgroup)
	}
}

// TestReplaceOfAChange: a changed file replaces the unit; a version that does not
// become ready leaves the old one as it is, and is not tried again.
func TestReplaceOfAChange(t *testing.T) {
	good := func(n int) string { return sh(fmt.Sprintf("echo version %d; exec sleep 1000", n), replaces) }
	d := start(t, map[string]string{"web.toml": good(1), "app.toml": sh("exec sleep 1000", "[unit]\nrequires = [\"web\"]")})
	d.wait("app", core.Running)
	first, app := d.status("web"), d.status("app")
	d.change(func() { d.write("web.toml", good(2)) })
	d.eventually("web is replaced", func() bool {
		st := d.status("web")
		return st.MainPID != first.MainPID && st.Beside == nil
	})
	second := d.status("web")
	d.change(func() {
		d.write("web.toml", "[service]\ncommand = [\"/no/such/program\"]\n[rootfs]\nhost = true\n"+replaces)
	})
	d.eventually("the change is rejected", func() bool {
		st := d.status("web")
		return strings.Contains(st.Reason, "the old one stays") && st.Beside == nil
	})
	if st := d.status("web"); st.MainPID != second.MainPID || st.Phase != core.Running {
		t.Errorf("after the bad version: %+v", st)
	}
	if out := d.ok("restart", "web"); !strings.HasPrefix(out, "web: replaced") {
		t.Errorf("berth restart says %q", out)
	}
	if lines := d.logs("web"); lines[len(lines)-1] != "version 2" {
		t.Errorf("the log is %q", lines)
	}
	d.change(func() { d.write("web.toml", good(3)) })
	d.eventually("version 3 runs", func() bool {
		lines := d.logs("web")
		return lines[len(lines)-1] == "version 3" && d.status("web").Beside == nil
	})
	if st := d.status("web"); st.Reason != "" {
		t.Errorf("the reason is still %q", st.Reason)
	}
	if now := d.status("app"); now.MainPID != app.MainPID {
		t.Errorf("app was restarted")
	}
}

// TestReplaceFails: what berth restart and berth status say when the new instance
// cannot start, and while it starts; and a stop gives it up.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	d := start(t, map[string]string{"web.toml": `[service]
command = ["/bin/sleep", "1000"]
pre-start = [["/bin/sh", "-c", "test ! -e /run/flag/bad && while test -e /run/flag/slow; do sleep 0.05; done"]]
[rootfs]
host = true
[[mount]]
source = "` + dir + `"
target = "/run/flag"
` + replaces})
	flag := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d.wait("web", core.Running)
	before := d.status("web")
	flag("bad")
	_, errs, code := d.berth("restart", "web")
	if code != 1 || !strings.Contains(errs, "the old one stays") || !strings.Contains(errs, "pre-start") {
		t.Errorf("berth restart ends with %d and says %q", code, errs)
	}
	if st := d.status("web"); st.MainPID != before.MainPID || st.Phase != core.Running || !strings.Contains(st.Reason, "the old one stays") {
		t.Errorf("afterwards: %+v", st)
	}
	if err := os.Remove(filepath.Join(dir, "bad")); err != nil {
		t.Fatal(err)
	}
	flag("slow")
	d.ok("restart", "--no-block", "web")
	d.eventually("the new instance starts", func() bool {
		b := d.status("web").Beside
		return b != nil && b.Phase == core.Starting
	})
	if out := d.ok("status", "web"); !strings.Contains(out, "New instance: starting (restarted)") {
		t.Errorf("berth status shows\n%s", out)
	}
	d.ok("stop", "web")
	if st := d.status("web"); st.Phase != core.Inactive || st.Beside != nil {
		t.Errorf("after the stop: %+v", st)
	}
}

// TestReplaceTakenOver: a supervisor that is lost while two instances are there
// loses neither, and the replace goes on.
func TestReplaceTakenOver(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "slow"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	d := start(t, map[string]string{"web.toml": sh(`echo up; trap 'echo asked; while test -e /run/flag/slow; do sleep 0.05; done; exit 0' TERM; while :; do sleep 0.05; done`,
		"[stop]\ntimeout = \"1h\"", replaces, "[[mount]]\nsource = \""+dir+"\"\ntarget = \"/run/flag\"")})
	first := d.wait("web", core.Running)
	d.eventually("it traps", func() bool { return len(d.logs("web")) > 0 })
	d.ok("restart", "--no-block", "web")
	d.eventually("the old one is asked to end", func() bool { return slices.Contains(d.logs("web"), "asked") })
	before := d.status("web")
	if b := before.Beside; b == nil || !b.Old || b.MainPID != first.MainPID || b.Phase != core.Stopping {
		t.Fatalf("during the replace: %+v", before.Beside)
	}
	d.killSupervisor(func() {})
	after := d.status("web")
	if after.MainPID != before.MainPID || after.Beside == nil || after.Beside.MainPID != first.MainPID {
		t.Errorf("the next supervisor has %d beside %+v, it was %d beside %d", after.MainPID, after.Beside, before.MainPID, first.MainPID)
	}
	for _, pid := range []int{before.MainPID, first.MainPID} {
		if !alive(pid) {
			t.Errorf("%d is gone", pid)
		}
	}
	if err := os.Remove(filepath.Join(dir, "slow")); err != nil {
		t.Fatal(err)
	}
	d.eventually("the old one is gone", func() bool { return d.status("web").Beside == nil })
	if st := d.status("web"); st.MainPID != before.MainPID || st.Phase != core.Running {
		t.Errorf("afterwards: %+v", st)
	}
	if _, err := os.Stat(first.Cgroup); err == nil {
		t.Errorf("the group %s is left", first.Cgroup)
	}
}

// TestReplaceNotReady: a new version that runs and does not become ready in its
// time is stopped again; and when the old one ends meanwhile, the new one goes on
// as an ordinary start and is given up by the same time, for the last good one.
func TestReplaceNotReady(t *testing.T) {
	unit := func(text, before string) string {
		return sh(fmt.Sprintf("echo %s; %s touch /run/up; exec sleep 1000", text, before), replaces, "[ready]\nfile = '/run/up'\ntimeout = '1s'")
	}
	d := start(t, map[string]string{"web.toml": unit("first", "")})
	first := d.wait("web", core.Running)
	d.eventually("web is ready", func() bool { return d.status("web").Told.Ready })
	d.change(func() { d.write("web.toml", unit("second", "sleep 1000;")) })
	d.eventually("the second version runs", func() bool { return slices.Contains(d.logs("web"), "second") })
	d.eventually("it is given up", func() bool {
		st := d.status("web")
		return strings.Contains(st.Reason, "not ready after 1") && strings.Contains(st.Reason, "the old one stays") && st.Beside == nil
	})
	if st := d.status("web"); st.MainPID != first.MainPID || st.Phase != core.Running {
		t.Errorf("afterwards: %+v", st)
	}
	d.change(func() { d.write("web.toml", unit("third", "sleep 1000;")) })
	d.eventually("the third version runs", func() bool { return slices.Contains(d.logs("web"), "third") })
	d.ok("kill", "-s", "KILL", "web")
	d.eventually("the first version is back", func() bool {
		st := d.status("web")
		lines := d.logs("web")
		return st.Phase == core.Running && st.Beside == nil && strings.Contains(st.Reason, "back to the last good one") && lines[len(lines)-1] == "first"
	})
}
