package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// recorder keeps the events of a daemon from when it was made.
type recorder struct {
	mu     sync.Mutex
	events []api.Event
}

// record begins to keep the daemon's events.
func (d *daemon) record() *recorder {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	events, err := d.api.Events(ctx)
	if err != nil {
		cancel()
		d.t.Fatal(err)
	}
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range events {
			if err != nil {
				return
			}
			r.mu.Lock()
			r.events = append(r.events, e)
			r.mu.Unlock()
		}
	}()
	d.t.Cleanup(func() { cancel(); <-done })
	return r
}

// of gives the phases that a unit came to, in order.
func (r *recorder) of(unit string) []core.Phase {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []core.Phase
	for _, e := range r.events {
		if e.Unit == unit {
			out = append(out, e.To)
		}
	}
	return out
}

// order gives "UNIT PHASE" for the phases named, as they came.
func (r *recorder) order(phases ...core.Phase) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		if slices.Contains(phases, e.To) {
			out = append(out, e.Unit+" "+string(e.To))
		}
	}
	return out
}

func (d *daemon) generation() uint64 {
	d.t.Helper()
	st, err := d.api.Daemon(context.Background())
	if err != nil {
		d.t.Fatal(err)
	}
	return st.Generation
}

// change does something to the unit files and waits until it was taken up.
func (d *daemon) change(what func()) {
	d.t.Helper()
	before := d.generation()
	what()
	d.eventually("the change is taken up", func() bool { return d.generation() > before })
}

// remove removes unit files.
func (d *daemon) remove(names ...string) {
	d.t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(d.units, name)); err != nil {
			d.t.Fatal(err)
		}
	}
}

// pids gives the main processes of all units that have one.
func (d *daemon) pids() map[string]int {
	d.t.Helper()
	list, err := d.api.List(context.Background())
	if err != nil {
		d.t.Fatal(err)
	}
	out := map[string]int{}
	for _, u := range list {
		if u.MainPID != 0 {
			out[u.Name] = u.MainPID
		}
	}
	return out
}

// renewed waits until a unit runs with another main process than before.
func (d *daemon) renewed(unit string, before int) int {
	d.t.Helper()
	pid := 0
	d.eventually(unit+" runs anew", func() bool {
		st := d.status(unit)
		pid = st.MainPID
		return st.Phase == core.Running && pid != 0 && pid != before
	}, func() string { st := d.status(unit); return fmt.Sprint(st.Phase, " ", st.Reason) })
	return pid
}

func (d *daemon) names() []string {
	d.t.Helper()
	list, err := d.api.List(context.Background())
	if err != nil {
		d.t.Fatal(err)
	}
	var out []string
	for _, u := range list {
		out = append(out, u.Name)
	}
	return out
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// groupFile reads a file of a process's control group, by its name on v1 and on v2.
func groupFile(t testing.TB, pid int, controller, v1, v2 string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	unified := ""
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if slices.Contains(strings.Split(f[1], ","), controller) {
			return readFile(t, filepath.Join("/sys/fs/cgroup", controller, f[2], v1))
		}
		if f[0] == "0" {
			unified = f[2]
		}
	}
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
			return readFile(t, filepath.Join(root, unified, v2))
		}
	}
	t.Fatal("no cgroup hierarchy for " + controller)
	return ""
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// readFileOr gives "" for a file that is not there.
func readFileOr(path string) string {
	text, _ := os.ReadFile(path) // it may have gone
	return string(text)
}

const sleeper = "exec sleep 1000"

// TestReloadByKey changes one key after the other: each does to the unit what
// its class says, and nothing to any other unit.
func TestReloadByKey(t *testing.T) {
	unit := func(description, memory, command, env string) string {
		return fmt.Sprintf("[unit]\ndescription = '%s'\n", description) +
			sh(command, "[cgroup]\nmemory-max = '"+memory+"'", "[service.environment]\nWHO = '"+env+"'")
	}
	d := start(t, map[string]string{
		"web.toml":  unit("one", "64M", "echo first $WHO; "+sleeper, "me"),
		"db.toml":   sh(sleeper),
		"tail.toml": "[unit]\nrequires = ['web']\n" + sh(sleeper),
	})
	for _, name := range []string{"web", "db", "tail"} {
		d.wait(name, core.Running)
	}
	first := d.pids()
	r := d.record()
	same := func(what string, names ...string) {
		t.Helper()
		now := d.pids()
		for _, name := range names {
			if now[name] != first[name] {
				t.Errorf("%s: %s has pid %d, had %d", what, name, now[name], first[name])
			}
			if got := r.of(name); len(got) > 0 {
				t.Errorf("%s: %s went through %v", what, name, got)
			}
		}
	}

	d.change(func() { d.write("web.toml", unit("two", "64M", "echo first $WHO; "+sleeper, "me")) })
	same("a changed description", "web", "db", "tail")
	if got := d.status("web").Description; got != "two" {
		t.Errorf("the description is %q", got)
	}

	limit := func() string {
		return groupFile(t, first["web"], "memory", "memory.limit_in_bytes", "memory.max")
	}
	if got := limit(); got != strconv.Itoa(64<<20) {
		t.Errorf("memory-max 64M is %s in the group", got)
	}
	d.change(func() { d.write("web.toml", unit("two", "96M", "echo first $WHO; "+sleeper, "me")) })
	d.eventually("memory-max is written live", func() bool { return limit() == strconv.Itoa(96<<20) }, limit)
	same("a changed memory-max", "web", "db", "tail")

	d.change(func() { d.write("web.toml", unit("two", "96M", "echo second $WHO; "+sleeper, "me")) })
	second := d.renewed("web", first["web"])
	if alive(first["web"]) {
		t.Error("the process of the former command is still there")
	}
	same("a changed command of web", "db", "tail")

	d.change(func() { d.write("web.toml", unit("two", "96M", "echo second $WHO; "+sleeper, "you")) })
	d.renewed("web", second)
	same("a changed environment of web", "db", "tail")
	d.eventually("all three versions have logged", func() bool {
		return strings.Join(d.logs("web"), "|") == "first me|second me|second you"
	}, func() string { return strings.Join(d.logs("web"), "|") })
}

// TestReloadFiles adds and removes files, drop-ins and instances.
func TestReloadFiles(t *testing.T) {
	d := start(t, map[string]string{
		"db.toml":      sh(sleeper),
		"worker@.toml": "[unit]\ninstances = ['a']\n" + sh("echo instance %i; "+sleeper),
	})
	db := d.wait("db", core.Running).MainPID
	a := d.wait("worker@a", core.Running).MainPID

	d.change(func() {
		d.write("new.toml", sh(sleeper))
		d.write("later.toml", "[unit]\nstart = 'demand'\n"+sh(sleeper))
	})
	fresh := d.wait("new", core.Running).MainPID
	if st := d.status("later"); st.Phase != core.Inactive {
		t.Errorf("a new unit with start = demand is %s", st.Phase)
	}

	d.change(func() { d.remove("new.toml") })
	d.eventually("the removed unit vanishes", func() bool { return !slices.Contains(d.names(), "new") })
	if alive(fresh) {
		t.Error("the removed unit's process is still there")
	}
	if _, _, code := d.berth("status", "new"); code != 4 {
		t.Errorf("status of a removed unit: exit code %d, want 4", code)
	}

	// A drop-in is merged over the unit, and its absence undoes that.
	d.change(func() {
		d.write("db.toml.d/10-env.toml", "[service.environment]\nA = '1'\n")
	})
	second := d.renewed("db", db)
	// (A program is there a moment before its environment can be read.)
	d.eventually("the drop-in's variable is there", func() bool {
		return strings.Contains(readFile(t, fmt.Sprintf("/proc/%d/environ", second)), "A=1\x00")
	})
	if out := d.ok("status", "db"); !strings.Contains(out, "10-env.toml") {
		t.Errorf("status does not name the drop-in:\n%s", out)
	}
	d.change(func() { d.remove("db.toml.d") })
	third := d.renewed("db", second)
	if env := readFile(t, fmt.Sprintf("/proc/%d/environ", third)); strings.Contains(env, "A=1\x00") {
		t.Errorf("the removed drop-in's variable is in %q", env)
	}

	d.change(func() {
		d.write("worker@.toml", "[unit]\ninstances = ['a', 'b']\n"+sh("echo instance %i; "+sleeper))
	})
	b := d.wait("worker@b", core.Running).MainPID
	if got := d.status("worker@a").MainPID; got != a {
		t.Errorf("a second instance gave the first pid %d, had %d", got, a)
	}
	d.eventually("the instance has logged its name", func() bool { return slices.Equal(d.logs("worker@b"), []string{"instance b"}) })
	d.change(func() {
		d.write("worker@.toml", "[unit]\ninstances = ['b']\n"+sh("echo instance %i; "+sleeper))
	})
	d.eventually("the instance that was taken out vanishes", func() bool { return !slices.Contains(d.names(), "worker@a") })
	if got := d.status("worker@b").MainPID; got != b {
		t.Errorf("the instance that stays has pid %d, had %d", got, b)
	}
}

// TestReloadInvalid breaks a file: nothing changes, everybody is told, and the
// next good version heals it.
func TestReloadInvalid(t *testing.T) {
	d := start(t, map[string]string{"web.toml": sh(sleeper), "db.toml": sh(sleeper)})
	d.wait("web", core.Running)
	d.wait("db", core.Running)
	before, generation := d.pids(), d.generation()
	r := d.record()

	// The other changes of an invalid generation are not taken up either.
	d.write("db.toml", sh("true; "+sleeper))
	d.write("web.toml", sh(sleeper)+"[cgroup]\nmemory-maxx = '1G'\n")
	d.eventually("berth status tells it", func() bool { _, _, code := d.berth("status"); return code == 5 })
	out, _, _ := d.berth("status")
	for _, want := range []string{"web.toml:", "memory-maxx", "^", "memory-max"} {
		if !strings.Contains(out, want) {
			t.Errorf("berth status does not show %q:\n%s", want, out)
		}
	}
	out, errs, code := d.berth("reload")
	if code != 5 || !strings.Contains(out+errs, "memory-maxx") {
		t.Errorf("berth reload: exit code %d, want 5\n%s%s", code, out, errs)
	}
	if log := d.log.String(); !strings.Contains(log, "memory-maxx") {
		t.Error("the daemon's log does not tell it")
	}
	if out, errs, code = d.berth("plan"); code != 5 {
		t.Errorf("berth plan: exit code %d, want 5\n%s%s", code, out, errs)
	}
	// Units can still be handled, as they were.
	d.ok("restart", "web")
	web := d.status("web").MainPID
	if got := d.pids()["db"]; got != before["db"] {
		t.Errorf("db has pid %d, had %d", got, before["db"])
	}
	if got := d.generation(); got != generation {
		t.Errorf("generation %d, was %d", got, generation)
	}
	if got := r.of("db"); len(got) > 0 {
		t.Errorf("db went through %v", got)
	}

	d.change(func() { d.write("web.toml", sh(sleeper)) })
	d.renewed("db", before["db"]) // its change counts now
	if got := d.status("web").MainPID; got != web {
		t.Errorf("healing gave web pid %d, had %d", got, web)
	}
	if out, _, code := d.berth("status"); code != 0 || strings.Contains(out, "memory-maxx") {
		t.Errorf("berth status after healing: exit code %d\n%s", code, out)
	}
	d.ok("reload")
}

// TestReloadBack gives a unit a version that cannot start.
func TestReloadBack(t *testing.T) {
	post := func(script string) string {
		return strings.Replace(sh(sleeper), "[rootfs]", "post-start = [['/bin/sh', '-c', '"+script+"']]\n[rootfs]", 1)
	}
	d := start(t, map[string]string{"web.toml": sh(sleeper), "late.toml": post("true")})
	web, late := d.wait("web", core.Running).MainPID, d.wait("late", core.Running).MainPID

	d.change(func() { d.write("web.toml", "[service]\ncommand = ['/no/such/program']\n[rootfs]\nhost = true\n") })
	d.renewed("web", web)
	second := d.status("web").MainPID
	d.change(func() { d.write("late.toml", post("exit 7")) })
	d.renewed("late", late)
	if got := d.status("web").MainPID; got != second {
		t.Errorf("a change of another unit had web try its bad version again: pid %d, had %d", got, second)
	}

	for _, name := range []string{"web", "late"} {
		// It may be seen while it runs the bad version, until its post-start fails.
		d.eventually(name+" runs its last good version and says so", func() bool {
			st := d.status(name)
			return st.Phase == core.Running && strings.Contains(st.Reason, "back to the last good") &&
				len(st.Command) == 3 && st.Command[2] == sleeper
		}, func() string { st := d.status(name); return fmt.Sprint(st.Phase, " ", st.Reason, st.Command) })
	}
	// The next good version is taken up.
	d.change(func() { d.write("web.toml", sh("echo good; "+sleeper)) })
	d.renewed("web", second)
	d.eventually("the good version runs", func() bool { return slices.Contains(d.logs("web"), "good") })
	if st := d.status("web"); st.Reason != "" {
		t.Errorf("web runs what was asked for; the reason is %q", st.Reason)
	}
	// Putting back what runs is no reason to restart it.
	late = d.status("late").MainPID
	d.write("late.toml", post("true"))
	d.eventually("late is itself again", func() bool { return d.status("late").Reason == "" })
	if got := d.status("late").MainPID; got != late {
		t.Errorf("putting back what runs gave late pid %d, had %d", got, late)
	}
}

// TestReloadSettles makes two edits in a row, and looks at the plan before they
// are taken up.
func TestReloadSettles(t *testing.T) {
	d := start(t, map[string]string{"web.toml": sh("echo 0; " + sleeper)})
	pid := d.wait("web", core.Running).MainPID
	r := d.record()
	generation := d.generation()
	d.change(func() {
		d.write("web.toml", sh("echo 1; "+sleeper))
		d.write("web.toml", sh("echo 2; "+sleeper))
	})
	pid = d.renewed("web", pid)
	if got := d.generation(); got != generation+1 {
		t.Errorf("two edits gave %d generations", got-generation)
	}
	if got := r.order(core.Starting); len(got) != 1 {
		t.Errorf("two edits gave the starts %v", got)
	}
	d.eventually("only the last version has run", func() bool { return slices.Equal(d.logs("web"), []string{"0", "2"}) })

	// A plan has to be quicker than the settling: edit until it was.
	for i := 3; ; i++ {
		if i > 30 {
			t.Fatal("no plan shows the edit")
		}
		text := ""
		d.change(func() {
			d.write("web.toml", sh(fmt.Sprintf("echo %d; %s", i, sleeper)))
			text = d.ok("plan")
		})
		pid = d.renewed("web", pid)
		if strings.Contains(text, "web") {
			if !strings.Contains(text, "restart") || !strings.Contains(text, "service.command") {
				t.Errorf("the plan is\n%s", text)
			}
			break
		}
	}
	if out := d.ok("plan"); strings.Contains(out, "web") {
		t.Errorf("after it was taken up the plan is\n%s", out)
	}
}
