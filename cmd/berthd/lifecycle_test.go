package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"

	"github.com/creack/pty"
)

// with puts keys into the [service] table of a unit made by sh.
func with(unit string, keys ...string) string {
	return strings.Replace(unit, "[rootfs]", strings.Join(keys, "\n")+"\n[rootfs]", 1)
}

// script is a command that runs a shell script, as it is written in a list.
func script(text string) string { return "['/bin/sh', '-c', '" + text + "']" }

// eventuallyLogs waits until a unit's log is these lines.
func (d *daemon) eventuallyLogs(unit string, want ...string) {
	d.t.Helper()
	d.eventually(unit+" has logged "+strings.Join(want, ", "), func() bool { return slices.Equal(d.logs(unit), want) },
		func() string { return strings.Join(d.logs(unit), "\n") })
}

const never = "[restart]\npolicy = 'never'"

// TestHooks runs the commands around a main process.
func TestHooks(t *testing.T) {
	demand := "[unit]\nstart = 'demand'\n"
	d := start(t, map[string]string{
		"all.toml": demand + with(sh("echo main; trap 'echo term; exit 0' TERM; while :; do sleep 0.05; done"),
			"pre-start = ["+script("echo pre1")+", "+script("echo pre2")+"]",
			"post-start = ["+script("echo post-start")+"]",
			"post-stop = ["+script("echo post-stop1")+", "+script("echo post-stop2")+"]"),
		"badpre.toml": demand + with(sh("echo main"), "pre-start = ["+script("echo one; exit 4")+", "+script("echo two")+"]",
			"post-stop = ["+script("echo cleaned")+"]") + never,
		"badpost.toml": demand + with(sh("echo main; "+sleeper), "post-start = ["+script("exit 5")+"]",
			"post-stop = ["+script("echo cleaned")+"]") + never,
		"badstop.toml": demand + with(sh(sleeper), "post-stop = ["+script("exit 6")+"]"),
		"remain.toml":  demand + with(sh("echo done"), "type = 'task'", "remain = true", "post-stop = ["+script("echo undone")+"]"),
	})
	d.ok("start", "all")
	d.eventually("it has begun", func() bool {
		return slices.Contains(d.logs("all"), "main") && slices.Contains(d.logs("all"), "post-start")
	})
	lines := d.logs("all")
	if len(lines) != 4 || lines[0] != "pre1" || lines[1] != "pre2" {
		t.Errorf("the order is %v", lines)
	}
	d.ok("stop", "all")
	lines = d.logs("all")
	if len(lines) != 7 || strings.Join(lines[4:], " ") != "term post-stop1 post-stop2" {
		t.Errorf("the order at the stop is %v", lines)
	}

	if _, errs, code := d.berth("start", "badpre"); code != 1 || !strings.Contains(errs, "pre-start") {
		t.Errorf("a failing pre-start: exit code %d, %s", code, errs)
	}
	d.wait("badpre", core.Failed)
	d.eventuallyLogs("badpre", "one", "cleaned")
	if _, errs, code := d.berth("start", "badpost"); code != 1 || !strings.Contains(errs, "post-start") || !strings.Contains(errs, "status 5") {
		t.Errorf("a failing post-start: exit code %d, %s", code, errs)
	}
	d.wait("badpost", core.Failed)
	d.eventuallyLogs("badpost", "main", "cleaned")
	d.ok("start", "badstop")
	d.ok("stop", "badstop")
	if st := d.wait("badstop", core.Inactive); !strings.Contains(st.Reason, "post-stop failed") {
		t.Errorf("a failing post-stop leaves the reason %q", st.Reason)
	}

	d.ok("start", "remain")
	d.wait("remain", core.Completed)
	d.eventuallyLogs("remain", "done")
	d.ok("stop", "remain")
	d.wait("remain", core.Inactive)
	d.eventuallyLogs("remain", "done", "undone")
}

// TestReloadOfUnits has running units reload themselves.
func TestReloadOfUnits(t *testing.T) {
	d := start(t, map[string]string{
		"signal.toml":  with(sh("trap 'echo reloaded' HUP; echo ready; while :; do sleep 0.05; done"), "reload = { signal = 'HUP' }"),
		"command.toml": with(sh("echo ready; "+sleeper), "reload = { command = "+script("echo by $0 in; cat /proc/1/comm")+" }"),
		"bad.toml":     with(sh(sleeper), "reload = { command = "+script("exit 3")+" }"),
		"none.toml":    sh(sleeper),
	})
	pids := map[string]int{}
	for _, name := range []string{"signal", "command", "bad", "none"} {
		pids[name] = d.wait(name, core.Running).MainPID
	}
	for _, name := range []string{"signal", "command"} {
		d.eventuallyLogs(name, "ready")
		d.ok("reload", name)
	}
	d.eventuallyLogs("signal", "ready", "reloaded")
	d.eventuallyLogs("command", "ready", "by /bin/sh in", "sleep") // in the container of the main process
	if _, errs, code := d.berth("reload", "bad"); code != 1 || !strings.Contains(errs, "status 3") {
		t.Errorf("a failing reload: exit code %d, %s", code, errs)
	}
	if _, errs, code := d.berth("reload", "none"); code != 1 || !strings.Contains(errs, "reload") {
		t.Errorf("a reload of a unit that has none: exit code %d, %s", code, errs)
	}
	for name, pid := range pids {
		if got := d.status(name).MainPID; got != pid {
			t.Errorf("the reload gave %s pid %d, had %d", name, got, pid)
		}
	}
}

// TestOrder starts and stops a group with all that it pulls in.
func TestOrder(t *testing.T) {
	demand := "[unit]\nstart = 'demand'\n"
	d := start(t, map[string]string{
		"shop.toml":    demand + "requires = ['web', 'db']\nafter = ['web', 'db']\n[service]\ntype = 'group'\n",
		"web.toml":     demand + "requires = ['db']\nafter = ['db', { unit = 'migrate', is = 'completed' }]\nwants = ['migrate']\n" + sh(sleeper),
		"db.toml":      demand + sh(sleeper),
		"migrate.toml": demand + "requires = ['db']\n" + with(sh("sleep 0.2; echo migrated"), "type = 'task'"),
		"rival.toml":   demand + "conflicts = ['web']\n" + sh(sleeper),
	})
	r := d.record()
	d.ok("start", "shop")
	d.wait("shop", core.Running)
	before := func(events []string, first, second string) {
		t.Helper()
		a, b := slices.Index(events, first), slices.Index(events, second)
		if a < 0 || b < 0 || a > b {
			t.Errorf("%s comes not before %s in %v", first, second, events)
		}
	}
	var events []string
	d.eventually("the group's start is told", func() bool {
		events = r.order(core.Starting, core.Running, core.Completed)
		return slices.Contains(events, "shop running")
	})
	before(events, "db running", "migrate starting")
	before(events, "migrate completed", "web starting")
	before(events, "web running", "shop running")

	d.ok("stop", "db")
	d.eventually("all that needs db is down", func() bool {
		events = r.order(core.Stopping, core.Inactive)
		return slices.Contains(events, "db inactive")
	})
	before(events, "web inactive", "db stopping")
	for _, name := range []string{"web", "shop"} {
		if st := d.status(name); st.Phase != core.Inactive {
			t.Errorf("%s is %s after db was stopped", name, st.Phase)
		}
	}

	d.ok("start", "web")
	web := d.wait("web", core.Running).MainPID
	d.ok("start", "rival")
	d.wait("rival", core.Running)
	if st := d.status("web"); st.Phase != core.Inactive || alive(web) {
		t.Errorf("web is %s while its rival runs", st.Phase)
	}
	d.ok("start", "web")
	if st := d.status("rival"); st.Phase != core.Inactive {
		t.Errorf("rival is %s after web was started", st.Phase)
	}
}

// TestRestarts follows policies, the back-off, the limit and on-failure.
func TestRestarts(t *testing.T) {
	demand := "[unit]\nstart = 'demand'\n"
	quick := func(policy string, burst int) string {
		return fmt.Sprintf("[restart]\npolicy = '%s'\ndelay = '20ms'\nfactor = 2.0\njitter = 0.0\nmax-delay = '80ms'\nlimit = { burst = %d, within = '5m' }", policy, burst)
	}
	d := start(t, map[string]string{
		"crash.toml":   demand + "on-failure = ['alarm']\n" + sh("echo run; exit 3", quick("on-failure", 4)),
		"alarm.toml":   demand + with(sh("echo alarm"), "type = 'task'"),
		"clean.toml":   demand + sh("echo run; exit 0", quick("on-failure", 4)),
		"always.toml":  demand + sh("echo run; exit 0", quick("always", 2)),
		"success.toml": demand + sh("echo run; exit 1", quick("on-success", 2)),
		"killed.toml":  demand + sh(sleeper, quick("on-failure", 4)),
	})
	r := d.record()
	began := time.Now()
	d.ok("start", "crash")
	st := d.wait("crash", core.Failed)
	if took := time.Since(began); took < 20*time.Millisecond+40*time.Millisecond+80*time.Millisecond+80*time.Millisecond {
		t.Errorf("four restarts with back-off took %s only", took)
	}
	if st.Restarts != 4 || !strings.Contains(st.Reason, "limit") {
		t.Errorf("crash: %d restarts, the reason is %q", st.Restarts, st.Reason)
	}
	d.eventuallyLogs("crash", "run", "run", "run", "run", "run")
	d.wait("alarm", core.Completed)
	d.eventuallyLogs("alarm", "alarm")
	d.ok("reset-failed", "crash")
	if st := d.wait("crash", core.Inactive); st.Restarts != 0 {
		t.Errorf("after reset-failed: %d restarts", st.Restarts)
	}
	d.ok("start", "crash") // it may again
	d.eventually("it has failed again", func() bool { return len(d.logs("crash")) == 10 })

	d.ok("start", "clean")
	d.wait("clean", core.Inactive)
	d.eventuallyLogs("clean", "run")
	d.ok("start", "always")
	d.wait("always", core.Failed)
	d.eventuallyLogs("always", "run", "run", "run")
	d.ok("start", "success")
	if st := d.wait("success", core.Failed); st.Restarts != 0 {
		t.Errorf("success: %d restarts after a failure", st.Restarts)
	}

	d.ok("start", "killed")
	pid := d.wait("killed", core.Running).MainPID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.renewed("killed", pid)
	if got := r.of("killed"); !slices.Contains(got, core.Backoff) {
		t.Errorf("killed went through %v", got)
	}
	// A stop during the back-off is the end of it.
	d.change(func() {
		d.write("slow.toml", demand+sh("exit 1", "[restart]\npolicy = 'always'\ndelay = '1h'\nmax-delay = '1h'"))
	})
	d.ok("start", "slow")
	d.wait("slow", core.Backoff)
	d.ok("stop", "slow")
	d.wait("slow", core.Inactive)
}

// TestStop ends services that do not want to.
func TestStop(t *testing.T) {
	d := start(t, map[string]string{
		"steps.toml": sh("trap '' QUIT; trap 'echo term; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
			"[stop]\nsteps = [{ signal = 'QUIT', wait = '300ms' }, { signal = 'TERM', wait = '30s' }]"),
		"stubborn.toml": sh(`trap '' TERM; (trap '' TERM; (sleep 1000 & sleep 1000) &); echo ready; while :; do sleep 0.05; done`,
			"[stop]\ntimeout = '300ms'"),
		"plain.toml": "[service]\ncommand = ['/bin/sleep', '1000']\n[rootfs]\nhost = true\n",
		"init.toml":  with(sh("trap 'echo term; exit 0' TERM; echo ready; while :; do sleep 0.05; done"), "init = true"),
	})
	for _, name := range []string{"steps", "stubborn", "init"} {
		d.wait(name, core.Running)
		d.eventuallyLogs(name, "ready")
	}
	stop := func(name string) time.Duration {
		began := time.Now()
		d.ok("stop", name)
		return time.Since(began)
	}
	if took := stop("steps"); took < 300*time.Millisecond {
		t.Errorf("steps: stopped after %s, before the first step's wait was over", took)
	}
	d.eventuallyLogs("steps", "ready", "term")

	processes := d.status("stubborn").Processes
	if len(processes) < 3 {
		t.Errorf("stubborn has only the processes %v", processes)
	}
	if took := stop("stubborn"); took < 300*time.Millisecond {
		t.Errorf("stubborn: stopped after %s", took)
	}
	if st := d.status("stubborn"); st.LastExit == nil || st.LastExit.Signal != int(syscall.SIGKILL) {
		t.Errorf("stubborn: the last exit is %+v", st.LastExit)
	}
	for _, p := range processes {
		if !gone(p.PID) {
			t.Errorf("stubborn: process %d (%s) is there", p.PID, p.Command)
		}
	}
	// A program that is PID 1 without knowing it ends at once all the same.
	d.wait("plain", core.Running)
	if took := stop("plain"); took > 5*time.Second {
		t.Errorf("plain: stopped after %s", took)
	}
	// With init the program gets the signal, and time to act on it.
	stop("init")
	d.eventuallyLogs("init", "ready", "term")
}

// TestTerminal gives a console service a terminal for its input and output.
func TestTerminal(t *testing.T) {
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer tty.Close()
	d := start(t, map[string]string{
		"console.toml": with(sh(`tty <&0 >/dev/null && echo is a tty; read line; echo "got $line"; `+sleeper), "terminal = '"+tty.Name()+"'"),
	})
	d.wait("console", core.Running)
	if _, err := master.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	if err := master.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Logf("reads have no deadline: %v", err)
	}
	var text strings.Builder
	buf := make([]byte, 1024)
	for !strings.Contains(text.String(), "got hello") {
		n, err := master.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, text.String())
		}
		text.Write(buf[:n])
	}
	if fd, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/0", d.status("console").MainPID)); err != nil || !strings.Contains(fd, "pts") && fd != tty.Name() {
		t.Errorf("descriptor 0 is %q (%v)", fd, err)
	}
}

// TestContainerOptions looks at what units ask for from inside.
func TestContainerOptions(t *testing.T) {
	lower, upper := t.TempDir(), t.TempDir()
	env := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(env, []byte("# a comment\nFROM_FILE=yes\nBOTH=file\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(lower, "common"): "lower", filepath.Join(upper, "common"): "upper", filepath.Join(lower, "below"): "only below",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{lower, upper} {
		for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, dir := range []string{"usr", "bin", "lib", "lib64", "proc", "sys", "dev"} { // a root needs programs: those of the host
		if err := os.Mkdir(filepath.Join(lower, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	layers := func(writable, command string) string {
		text := fmt.Sprintf("[unit]\nstart = 'demand'\n[service]\ntype = 'task'\ncommand = ['/bin/sh', '-c', '''%s''']\n[rootfs]\nlayers = ['%s', '%s']\nwritable = '%s'\n", command, lower, upper, writable)
		for _, dir := range []string{"/usr", "/bin", "/lib", "/lib64"} {
			if _, err := os.Stat(dir); err == nil {
				text += fmt.Sprintf("[[mount]]\nsource = '%s'\ntarget = '%s'\noptions = ['ro']\n", dir, dir)
			}
		}
		return text
	}
	task := func(command string, keys ...string) string {
		return "[unit]\nstart = 'demand'\n" + with(sh(command), append(keys, "type = 'task'")...)
	}
	const writes = `cat /common /below; echo; n=$(cat /n 2>/dev/null || echo 0); echo $((n+1)) >/n && echo run $((n+1)) || echo read-only`
	d := start(t, map[string]string{
		"env.toml": task(`echo $FROM_FILE $BOTH`, "environment = { BOTH = 'unit' }",
			"environment-files = ['"+env+"', '-/no/such/file']"),
		"noenv.toml":      task(`echo ran`, "environment-files = ['/no/such/file']") + never,
		"who.toml":        task(`id -u; id -g; id -G`, "user = 'nobody'", "group = 'daemon'", "groups = ['games']"),
		"volume.toml":     task(`n=$(cat /run/v/n 2>/dev/null || echo 0); echo $((n+1)) >/run/v/n; echo run $((n+1))`) + "[[mount]]\ntype = 'volume'\nsource = 'kept'\ntarget = '/run/v'\n",
		"ephemeral.toml":  layers("ephemeral", writes),
		"persistent.toml": layers("persistent", writes),
		"none.toml":       layers("none", writes),
		"server.toml":     sh(sleeper),
		"joined.toml":     "[unit]\nrequires = ['server']\nafter = ['server']\n" + sh(sleeper) + "[namespaces]\nnetwork = 'unit:server'\n",
		"apart.toml":      sh(sleeper),
	})
	run := func(name string) {
		t.Helper()
		d.ok("start", name)
		d.wait(name, core.Completed)
	}
	run("env")
	d.eventuallyLogs("env", "yes unit")
	if _, errs, code := d.berth("start", "noenv"); code != 1 || !strings.Contains(errs, "/no/such/file") {
		t.Errorf("a missing environment file: exit code %d, %s", code, errs)
	}
	run("who")
	lines := d.logs("who")
	if len(lines) != 3 || lines[0] != "65534" || lines[1] != "1" || !slices.Contains(strings.Fields(lines[2]), "60") {
		t.Errorf("who: user, group and groups are %q", lines)
	}
	for range 2 {
		run("volume")
		run("ephemeral")
		run("persistent")
		run("none")
	}
	d.eventuallyLogs("volume", "run 1", "run 2")
	const seen = "upperonly below"
	d.eventuallyLogs("ephemeral", seen, "run 1", seen, "run 1")
	d.eventuallyLogs("persistent", seen, "run 1", seen, "run 2")
	d.eventually("the root without writable is read-only", func() bool {
		return strings.Count(strings.Join(d.logs("none"), "\n"), "read-only") >= 2
	}, func() string { return strings.Join(d.logs("none"), "\n") })
	for _, dir := range []string{lower, upper} {
		if _, err := os.Stat(filepath.Join(dir, "n")); err == nil {
			t.Errorf("the layer %s was written to", dir)
		}
	}

	network := func(name string) string {
		t.Helper()
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", d.wait(name, core.Running).MainPID))
		if err != nil {
			t.Fatal(err)
		}
		return ns
	}
	if network("joined") != network("server") {
		t.Error("network = unit:server is not the network of server")
	}
	if network("apart") == network("server") {
		t.Error("two units share a network that did not ask for it")
	}
}

// TestShutdown stops the daemon by SIGTERM: units go down in order, the daemon
// exits with 0, and nothing is left (which the harness looks at, too).
func TestShutdown(t *testing.T) {
	d := start(t, map[string]string{
		"db.toml":  sh("trap 'echo down; exit 0' TERM; while :; do sleep 0.05; done"),
		"web.toml": "[unit]\nrequires = ['db']\nafter = ['db']\n" + sh("trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done"),
	})
	var all []api.Process
	for _, name := range []string{"db", "web"} {
		d.wait(name, core.Running)
		all = append(all, d.status(name).Processes...)
	}
	children := []int{d.child("supervisor"), d.child("launcher")}
	d.stop()
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("berthd ended with %v", d.cmd.ProcessState)
	}
	log := d.log.String()
	web, db := strings.Index(log, `unit is inactive  {"unit": "web"`), strings.Index(log, `unit is stopping  {"unit": "db"`)
	if web < 0 || db < 0 || web > db {
		t.Errorf("db was stopped before web was down (%d, %d)", web, db)
	}
	for _, p := range all {
		if !gone(p.PID) {
			t.Errorf("process %d (%s) is left", p.PID, p.Command)
		}
	}
	for _, pid := range children {
		if !gone(pid) {
			t.Errorf("the daemon's process %d is left", pid)
		}
	}
}

// TestHangup has SIGHUP read the unit files again.
func TestHangup(t *testing.T) {
	d := start(t, map[string]string{"web.toml": sh(sleeper)})
	pid := d.wait("web", core.Running).MainPID
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.change(func() {
		d.write("web.toml", sh("echo new; "+sleeper))
		if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	})
	d.renewed("web", pid)
	if !strings.Contains(d.log.String(), "SIGHUP") {
		t.Error("the log does not tell of the SIGHUP")
	}
}
