package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"berth/supervisor/api"
	"berth/supervisor/core"
	"berth/supervisor/history"
)

// settings writes the daemon's settings, before it is started.
func settings(t testing.TB, text string) func(*daemon) {
	return func(d *daemon) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(d.dir, "berthd.toml"), []byte("[daemon]\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// history gives the generations, by the API.
func (d *daemon) history() []history.Record {
	d.t.Helper()
	list, err := d.api.History(context.Background())
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

func (d *daemon) about() *api.Daemon {
	d.t.Helper()
	st, err := d.api.Daemon(context.Background())
	if err != nil {
		d.t.Fatal(err)
	}
	return st
}

// outcome waits until it is clear what became of a generation.
func (d *daemon) outcome(generation uint64) history.Record {
	d.t.Helper()
	var r history.Record
	d.eventually(fmt.Sprintf("the outcome of generation %d", generation), func() bool {
		i := slices.IndexFunc(d.history(), func(r history.Record) bool { return r.Generation == generation })
		if i >= 0 {
			r = d.history()[i]
		}
		return i >= 0 && r.Outcome.State != history.Applying
	}, func() string { return fmt.Sprintf("%+v", d.history()) })
	return r
}

// again ends the daemon and starts it anew, as a reboot does.
func (d *daemon) again(flags ...string) {
	d.t.Helper()
	d.stop()
	d.fresh()
	d.run(flags...)
}

func numbered(n int) string { return sh(fmt.Sprintf("echo version %d; %s", n, sleeper)) }

// runs waits until a unit runs the command of a version.
func (d *daemon) runs(unit string, n int) {
	d.t.Helper()
	d.eventually(fmt.Sprintf("%s runs version %d", unit, n), func() bool {
		st := d.status(unit)
		return st.Phase == core.Running && len(st.Command) == 3 && strings.HasPrefix(st.Command[2], fmt.Sprintf("echo version %d;", n))
	}, func() string { st := d.status(unit); return fmt.Sprint(st.Phase, " ", st.Reason, st.Command) })
}

// TestManualReload changes files of a daemon that waits for berth apply.
func TestManualReload(t *testing.T) {
	d := startSet(t, "reload = 'manual'\n", map[string]string{"web.toml": numbered(1), "db.toml": sh(sleeper)})
	d.runs("web", 1)
	d.wait("db", core.Running)
	first := d.generation()
	r := d.record()

	d.write("web.toml", numbered(2))
	d.eventually("the change is seen as pending", func() bool { return d.about().Pending != nil })
	if p := d.about().Pending; p.Units != 1 || p.Held != "manual" {
		t.Errorf("pending is %+v", p)
	}
	if out := d.ok("status"); !strings.Contains(out, "berth apply") || !strings.Contains(out, "a change of 1 unit since") {
		t.Errorf("status does not tell it:\n%s", out)
	}
	if out := d.ok("plan"); !strings.Contains(out, "~ web") || !strings.Contains(out, "restart") || !strings.Contains(out, "version 2") {
		t.Errorf("the plan is\n%s", out)
	}
	if out := d.ok("reload"); !strings.Contains(out, "until berth apply") {
		t.Errorf("berth reload says\n%s", out)
	}
	d.eventually("an event tells it", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.ContainsFunc(r.events, func(e api.Event) bool { return e.Change == api.ChangePending })
	})
	if d.generation() != first || d.status("web").Command[2] == numbered(2) || len(r.of("web")) > 0 {
		t.Error("it was applied")
	}

	// What waits outlives a restart, and the machine starts with what was applied.
	d.again()
	d.runs("web", 1)
	if d.generation() != first || d.about().Pending == nil {
		t.Errorf("after a restart: %+v", d.about())
	}

	// Files that are not valid do not take the place of what waits for ever.
	d.write("db.toml", "[service]\ncomand = []\n")
	d.eventually("the fault is told", func() bool { return len(d.about().Invalid) > 0 })
	if _, _, code := d.berth("apply"); code != 5 {
		t.Errorf("apply of invalid files: exit code %d", code)
	}
	d.write("db.toml", sh(sleeper))
	d.eventually("it is healed", func() bool { return len(d.about().Invalid) == 0 })

	if out := d.ok("apply"); !strings.Contains(out, "generation") || !strings.Contains(out, "~ web") {
		t.Errorf("berth apply says\n%s", out)
	}
	d.runs("web", 2)
	if d.about().Pending != nil {
		t.Error("something waits still")
	}
	rec := d.outcome(d.generation())
	if rec.Author.Kind != history.KindUser || *rec.Author.UID != os.Getuid() || rec.Author.PID == 0 || !strings.Contains(rec.Author.Command, "berth apply") {
		t.Errorf("the author is %+v", rec.Author)
	}
	if len(rec.Files) != 1 || filepath.Base(rec.Files[0]) != "web.toml" || rec.Outcome.State != history.Applied {
		t.Errorf("the record is %+v", rec)
	}
	if out := d.ok("apply"); !strings.Contains(out, "nothing changes") {
		t.Errorf("a second apply says\n%s", out)
	}
}

// startSet is start with settings.
func startSet(t testing.TB, text string, files map[string]string, flags ...string) *daemon {
	t.Helper()
	needRoot(t)
	return startWith(t, nil, files, settings(t, text), flags...)
}

// TestHistory follows generations through changes, faults, a version that does
// not become ready, a rollback, a crash of the supervisor and a reboot.
func TestHistory(t *testing.T) {
	d := startSet(t, "history = 6\n", map[string]string{"web.toml": numbered(1), "db.toml": sh(sleeper)})
	d.runs("web", 1)
	db := d.wait("db", core.Running).MainPID
	first := d.outcome(d.generation())
	if first.Author.Kind != history.KindBoot || first.Units != 2 || !first.Good() {
		t.Errorf("the first generation is %+v", first)
	}

	d.change(func() { d.write("web.toml", numbered(2)) })
	second := d.outcome(d.generation())
	if second.Author.Kind != history.KindFiles || len(second.Files) != 1 || filepath.Base(second.Files[0]) != "web.toml" || !second.Good() {
		t.Errorf("the second generation is %+v", second)
	}

	// A version that does not become ready.
	d.change(func() { d.write("web.toml", "[service]\ncommand = ['/no/such/program']\n[rootfs]\nhost = true\n") })
	third := d.outcome(d.generation())
	if !strings.Contains(third.Outcome.Rejected["web"], "did not become ready") || third.Good() {
		t.Errorf("the third generation is %+v", third)
	}
	d.runs("web", 2)
	if out := d.ok("history"); !strings.Contains(out, "rejected: web") || !strings.Contains(out, "web.toml") {
		t.Errorf("history shows\n%s", out)
	}
	if out := d.ok("history", fmt.Sprint(third.Generation)); !strings.Contains(out, "/no/such/program") || !strings.Contains(out, "did not become ready") {
		t.Errorf("history of one shows\n%s", out)
	}

	// Files that are not valid, twice: one entry.
	for _, text := range []string{"[servce]\n", "[servcie]\n"} {
		d.write("web.toml", text)
		d.eventually("the fault is told", func() bool {
			list := d.history()
			return list[len(list)-1].Outcome.State == history.Invalid && strings.Contains(list[len(list)-1].Diagnostics.Error(), strings.Trim(text, "[]\n"))
		}, func() string { return fmt.Sprintf("%+v", d.history()) })
	}
	if list := d.history(); len(list) != 4 {
		t.Errorf("there are %d generations", len(list))
	}

	d.change(func() { d.write("web.toml", numbered(4)) })
	d.runs("web", 4)
	fourth := d.outcome(d.generation())

	// By default the rollback goes to the last that was without fault: the second.
	if out := d.ok("rollback"); !strings.Contains(out, "held back") || !strings.Contains(out, "~ web") {
		t.Errorf("berth rollback says\n%s", out)
	}
	d.runs("web", 2)
	back := d.outcome(d.generation())
	if back.Of != second.Generation || back.Author.Kind != history.KindUser || !strings.Contains(back.Author.Command, "rollback") {
		t.Errorf("the rollback is %+v", back)
	}
	if r := d.outcome(fourth.Generation); r.Outcome.State != history.RolledBack || r.Outcome.By != back.Generation {
		t.Errorf("what was rolled back is %+v", r)
	}

	// Nothing falls forward again: not by a change of something else, not by a
	// crash of the supervisor, not by a reboot.
	d.write("other.toml", sh(sleeper))
	d.eventually("the change of something else waits", func() bool { p := d.about().Pending; return p != nil && p.Units == 2 && p.Held == "rollback" },
		func() string { return fmt.Sprintf("%+v", d.about().Pending) })
	pid := d.about().PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.eventually("another supervisor answers", func() bool {
		st, err := d.api.Daemon(context.Background())
		return err == nil && st.PID != pid && st.Pending != nil
	})
	d.runs("web", 2)
	if d.generation() != back.Generation || d.wait("db", core.Running).MainPID != db {
		t.Errorf("after a crash: %+v", d.about())
	}
	d.again()
	d.runs("web", 2)
	if st := d.about(); st.Generation != back.Generation || st.RolledBackTo != second.Generation || st.Pending == nil {
		t.Errorf("after a reboot: %+v", st)
	}
	if out := d.ok("plan"); !strings.Contains(out, "+ other") || !strings.Contains(out, "version 4") || !strings.Contains(out, "held back") {
		t.Errorf("the plan is\n%s", out)
	}

	// A change of what was rolled back is taken up, with everything else.
	d.change(func() { d.write("web.toml", numbered(5)) })
	d.runs("web", 5)
	d.wait("other", core.Running)
	if st := d.about(); st.RolledBackTo != 0 || st.Pending != nil {
		t.Errorf("after the change: %+v", st)
	}

	// Back by number, and forward again by berth apply.
	d.ok("rollback", fmt.Sprint(fourth.Generation))
	d.runs("web", 4)
	d.ok("apply")
	d.runs("web", 5)
	d.outcome(d.generation())

	if list := d.history(); len(list) > 7 || list[len(list)-1].Generation != d.generation() {
		t.Errorf("%d generations are kept", len(list))
	}
	for _, args := range [][]string{{"rollback", "1000"}, {"rollback", fmt.Sprint(d.generation())}} {
		if _, errs, code := d.berth(args...); code != 1 || !strings.Contains(errs, "berth history") {
			t.Errorf("%v: exit code %d, %s", args, code, errs)
		}
	}
	info, err := os.Stat(filepath.Join(d.dir, "state", "generations"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory of the history: %v %v", info, err)
	}
}

// TestBootWithFaults starts with files that are not valid, or that say something
// which does not come up: what ran last runs.
func TestBootWithFaults(t *testing.T) {
	d := start(t, map[string]string{"web.toml": numbered(1), "db.toml": sh(sleeper)})
	d.runs("web", 1)
	d.wait("db", core.Running)
	d.outcome(d.generation())
	generation := d.generation()

	d.stop()
	d.write("web.toml", "[service]\ncomand = ['/x']\n")
	d.again()
	d.runs("web", 1)
	d.wait("db", core.Running)
	if st := d.about(); st.Generation != generation || len(st.Invalid) == 0 {
		t.Errorf("with invalid files: %+v", st)
	}
	if _, _, code := d.berth("status"); code != 5 {
		t.Errorf("status: exit code %d", code)
	}

	d.stop()
	d.write("web.toml", "[service]\ncommand = ['/no/such/program']\n[rootfs]\nhost = true\n")
	d.again()
	d.runs("web", 1)
	if r := d.outcome(d.generation()); r.Outcome.Rejected["web"] == "" || r.Generation == generation {
		t.Errorf("with a version that does not start: %+v", r)
	}
	generation = d.generation()
	d.again() // and once more, though the files are as they were
	d.runs("web", 1)
	if d.generation() != generation {
		t.Errorf("a start with the same files gave generation %d after %d", d.generation(), generation)
	}
}

// TestNotReadyInTime changes a unit to a version that runs and does not become
// ready: it goes back, and so it does after a reboot.
func TestNotReadyInTime(t *testing.T) {
	ready := func(n int, file string) string {
		return numbered(n) + "[ready]\ntimeout = '2s'\nexec = ['/usr/bin/test', '-e', '" + file + "']\n"
	}
	d := start(t, map[string]string{"web.toml": ready(1, "/bin/sh")})
	d.runs("web", 1)
	d.outcome(d.generation())
	d.change(func() { d.write("web.toml", ready(2, "/no/such/file")) })
	r := d.outcome(d.generation())
	if why := r.Outcome.Rejected["web"]; !strings.Contains(why, "not ready after 2") {
		t.Errorf("the outcome is %+v", r.Outcome)
	}
	d.runs("web", 1)
	if out := d.ok("plan"); !strings.Contains(out, "tried again: the changed version") || !strings.Contains(out, "or by berth apply") {
		t.Errorf("the plan is\n%s", out)
	}
	d.again()
	d.eventually("it goes back once more", func() bool {
		st := d.status("web")
		return st.Phase == core.Running && strings.Contains(st.Reason, "back to the last good one")
	}, func() string { st := d.status("web"); return fmt.Sprint(st.Phase, st.Reason) })
	d.runs("web", 1)
}

// TestSecrets: who may only look sees no values of environment variables.
func TestSecrets(t *testing.T) {
	needRoot(t)
	secret := func(s string) string { return sh(sleeper, "[service.environment]\nPASSWORD = '"+s+"'") }
	d := startSet(t, "reload = 'manual'\nread-group = '4321'\n", map[string]string{"web.toml": secret("hunter1")})
	d.wait("web", core.Running)
	d.write("web.toml", secret("hunter2"))
	d.eventually("it waits", func() bool { return d.about().Pending != nil })
	if out := d.ok("plan"); !strings.Contains(out, "hunter1") || !strings.Contains(out, "hunter2") {
		t.Errorf("root's plan:\n%s", out)
	}
	if out := d.ok("spec", "web"); !strings.Contains(out, "hunter1") {
		t.Errorf("root's spec:\n%s", out)
	}
	as := func(args ...string) string {
		cmd := exec.Command(binary(t, "berth"), args...)
		cmd.Env = append(os.Environ(), "BERTH_SOCKET="+d.socket())
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4321, Gid: 4321}}
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if err != nil && args[0] != "apply" && args[0] != "rollback" {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if err := os.Chmod(filepath.Dir(binary(t, "berth")), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"plan"}, {"plan", "-o", "json"}, {"spec", "web"}, {"spec", "--oci", "web"}, {"history"}} {
		if out := as(args...); strings.Contains(out, "hunter") {
			t.Errorf("%v shows who may only look:\n%s", args, out)
		}
	}
	for _, args := range [][]string{{"apply"}, {"rollback"}} {
		if out := as(args...); !strings.Contains(out, "operate") {
			t.Errorf("%v by who may only look:\n%s", args, out)
		}
	}
	d.ok("apply")
	list, err := os.ReadFile(filepath.Join(d.dir, "state", "generations", fmt.Sprint(d.generation())+".json"))
	if err != nil || strings.Contains(string(list), "hunter") {
		t.Errorf("the record: %v\n%s", err, list)
	}
}

// TestApplyTells: berth apply ends with what became of it.
func TestApplyTells(t *testing.T) {
	d := startSet(t, "reload = 'manual'\n", map[string]string{"web.toml": numbered(1)})
	d.runs("web", 1)
	d.write("web.toml", "[service]\ncommand = ['/no/such/program']\n[rootfs]\nhost = true\n")
	d.write("new.toml", "[service]\ncommand = ['/no/such/program']\n[rootfs]\nhost = true\n[restart]\npolicy = 'never'\n")
	out, errs, code := d.berth("apply")
	if code != 1 || !strings.Contains(out, "~ web") || !strings.Contains(out, "+ new") ||
		!strings.Contains(errs, "web: the changed version did not become ready") || !strings.Contains(errs, "new did not come up:") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if out, _, code := d.berth("rollback", "1"); code != 0 || !strings.Contains(out, "- new") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	d.runs("web", 1)
	if _, errs, code := d.berth("apply", "--no-block"); code != 0 {
		t.Errorf("exit code %d\n%s", code, errs)
	}
}
