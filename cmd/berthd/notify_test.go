package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/isolate/vmtest"
	"berth/supervisor/core"

	// What testdata/notify imports, which is no package to the go command.
	_ "github.com/coreos/go-systemd/v22/activation"
	_ "github.com/coreos/go-systemd/v22/daemon"
)

var buildNotifier = sync.OnceValues(func() (string, error) {
	dir, err := programs() // removed with it
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "notify")
	if vmtest.Current() != "" {
		return path, nil // it was built with the machine
	}
	build := exec.Command("go", "build", "-trimpath", "-o", path, "berth/cmd/berthd/testdata/notify")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the notifier: %w\n%s", err, out)
	}
	return path, nil
})

// notifier gives the path of the program in testdata/notify, which speaks
// sd_notify(3).
func notifier(t testing.TB) string {
	t.Helper()
	path, err := buildNotifier()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// notifying is a unit file that runs testdata/notify on the host's root, with a
// directory /run/go of the test's (see release).
func notifying(t testing.TB, service string, steps []string, more ...string) string {
	t.Helper()
	path := notifier(t)
	return command(append([]string{"/run/notifier"}, steps...), service) +
		fmt.Sprintf("[rootfs]\nhost = true\n[[mount]]\nsource = '%s'\ntarget = '/run/notifier'\noptions = ['ro']\n[[mount]]\ntype = 'volume'\nsource = 'go'\ntarget = '/run/go'\n", path) +
		strings.Join(more, "\n") + "\n"
}

// release lets units go on that await /run/go/NAME.
func (d *daemon) release(name string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, "state/volumes/go", name), nil, 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// says waits until the unit's log has a line with the text.
func (d *daemon) says(unit, text string) {
	d.t.Helper()
	d.eventually(unit+" says "+text, func() bool {
		return slices.ContainsFunc(d.logs(unit), func(l string) bool { return strings.Contains(l, text) })
	}, func() string { return strings.Join(d.logs(unit), "\n") + "\n" + d.ok("status", "-n0", unit) })
}

// loseSupervisor kills it and waits until another answers.
func (d *daemon) loseSupervisor(pid int) {
	d.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	d.answers(pid)
}

// answers waits until a supervisor other than that answers.
func (d *daemon) answers(pid int) {
	d.t.Helper()
	d.eventually("another supervisor answers", func() bool {
		st, err := d.api.Daemon(context.Background())
		return err == nil && st.PID != pid
	})
}

// ready waits until the unit is.
func (d *daemon) ready(unit string) {
	d.t.Helper()
	d.eventually(unit+" is ready", func() bool { st := d.status(unit); return st.Told != nil && st.Told.Ready },
		func() string { return strings.Join(d.logs(unit), "\n") + fmt.Sprintf("\n%+v", d.status(unit)) })
}

func onHost(t *testing.T) {
	t.Helper()
	if vmtest.Current() != "" {
		t.Skip("the programs are not in the virtual machine")
	}
}

// TestNotify drives readiness with systemd-notify, and what waits for it.
func TestNotify(t *testing.T) {
	onHost(t)
	d := start(t, map[string]string{
		"db.toml": "[service]\nnotify-access = 'all'\nuser = 'nobody'\n" + strings.TrimPrefix(sh(
			`set -e; systemd-notify --status='starting up'; while [ ! -e /run/go/now ]; do sleep 0.02; done; systemd-notify --ready --status='serving 7'; exec sleep 1000`,
			"[ready]\nnotify = true", "[[mount]]\ntype = 'volume'\nsource = 'go'\ntarget = '/run/go'"), "[service]\n"),
		"web.toml":   sh(`exec sleep 1000`, "[unit]\nrequires = ['db']"),
		"early.toml": sh(`exec sleep 1000`, "[unit]\nafter = [{ unit = 'db', is = 'started' }]"),
	})
	d.eventually("its status is known", func() bool { st := d.status("db"); return st.Told != nil && st.Told.NotReady == "starting up" },
		func() string { return strings.Join(d.logs("db"), "\n") + d.ok("status", "db") })
	d.wait("early", core.Running)
	if st := d.status("web"); st.Phase != core.Waiting {
		t.Errorf("web is %s before db is ready", st.Phase)
	}
	if text, _, _ := d.berth("status", "db"); !strings.Contains(text, "not ready: starting up") {
		t.Errorf("berth status says:\n%s", text)
	}
	started := make(chan string, 1)
	go func() {
		_, text, _ := d.berth("start", "db")
		started <- text
	}()
	d.release("now")
	if text := <-started; text != "" {
		t.Errorf("berth start: %s", text)
	}
	d.wait("web", core.Running)
	if st := d.status("db"); !st.Told.Ready || st.Told.Status != "serving 7" || st.Told.Since == nil {
		t.Errorf("db tells %+v", st.Told)
	}
}

// TestNotifyRoots sends from containers of other kinds: an empty read-only root,
// a user namespace, an init above the program, the host's PID namespace.
func TestNotifyRoots(t *testing.T) {
	steps := []string{"watchdog", "send=STATUS=up|READY=1", "barrier", "send=STATUS=later", "stay"}
	watchdog := "[ready]\nnotify = true\n[watchdog]\ninterval = '1h'"
	root := t.TempDir()
	for _, dir := range []string{"dev", "proc", "sys", "run"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(notifier(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "notifier"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"empty.toml": command(append([]string{"/notifier"}, steps...), "") + "[rootfs]\npath = '" + root + "'\n" + watchdog,
		"user.toml":  notifying(t, "", steps, watchdog, "[namespaces]\nuser = 'new'"),
		"init.toml":  notifying(t, "init = true", steps, watchdog),
		"host.toml":  notifying(t, "", steps, watchdog, "[namespaces]\npid = 'host'\nnetwork = 'new'"),
		"task.toml":  notifying(t, "type = 'task'\nnotify-access = 'main'", []string{"send=STATUS=working", "barrier", "stay"}),
		"child.toml": notifying(t, "notify-access = 'all'", []string{"child=send=READY=1,barrier", "stay"}, watchdog), // one that ends at once may not be known
	}
	if vmtest.Current() != "" {
		delete(files, "user.toml") // its root, a tmpfs, cannot be shown with mapped ids before Linux 6.3
	}
	d := start(t, files)
	for name := range files {
		unit := strings.TrimSuffix(name, ".toml")
		if unit == "task" {
			d.eventually("task works", func() bool { st := d.status("task"); return st.Told != nil && st.Told.Status == "working" })
			continue
		}
		d.ready(unit)
		if unit != "child" {
			d.says(unit, "barrier <nil>")
			d.says(unit, "watchdog 1h0m0s <nil>")
			d.eventually(unit+" says more", func() bool { return d.status(unit).Told.Status == "later" })
		}
	}
	// A program that is sent in has the socket too; it is none of the main ones.
	out := d.ok("exec", "child", "--", "/run/notifier", "send=STATUS=from exec", "barrier")
	if !strings.Contains(out, "sent true <nil>") || d.status("child").Told.Status != "from exec" {
		t.Errorf("exec: %s, %+v", out, d.status("child").Told)
	}
	if left, err := filepath.Glob(filepath.Join(d.dir, "run/notify/*")); len(left) > 0 || err != nil {
		t.Errorf("files of sockets are left: %v %v", left, err)
	}
}

// TestNotifyAccess tells who is heard: with "main" only the main process, at most
// those of the unit, and never anybody else who got hold of the socket.
func TestNotifyAccess(t *testing.T) {
	d := start(t, map[string]string{
		"main.toml":  notifying(t, "", []string{"child=send=READY=1|STATUS=child", "barrier", "send=READY=1|STATUS=main", "stay"}, "[ready]\nnotify = true"),
		"less.toml":  notifying(t, "notify-access = 'all'", []string{"send=READY=1|NOTIFYACCESS=main", "child=send=STATUS=child,barrier", "stay"}, "[ready]\nnotify = true"),
		"more.toml":  notifying(t, "notify-access = 'main'", []string{"send=NOTIFYACCESS=all", "child=send=STATUS=child,barrier", "send=READY=1", "stay"}, "[ready]\nnotify = true"),
		"other.toml": notifying(t, "", []string{"send=READY=1", "stay"}, "[ready]\nnotify = true"),
		"mute.toml":  notifying(t, "notify-access = 'none'", []string{"send=READY=1", "stay"}),
	})
	for unit, status := range map[string]string{"main": "main", "less": "", "more": ""} {
		d.ready(unit)
		if unit != "main" {
			d.says(unit, "barrier")
		}
		if st := d.status(unit); st.Told.Status != status {
			t.Errorf("%s: status %q, want %q", unit, st.Told.Status, status)
		}
	}
	d.says("mute", "sent false <nil>")
	d.ready("other")

	// Root on the host, and a process of another unit that is given the socket.
	pid := d.status("other").MainPID
	attack := func(what string, send func(socket string) error) {
		if err := send(fmt.Sprintf("/proc/%d/root/dev/notify", pid)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	attack("host", func(socket string) error {
		conn, err := net.Dial("unixgram", socket)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("STATUS=taken over\nMAINPID=1\nSTOPPING=1"))
		return err
	})
	d.eventually("the attack is told", func() bool { return strings.Contains(d.log.String(), "is none of the unit's") })
	d.ok("exec", "other", "--", "/run/notifier", "send=STATUS=exec", "barrier")
	if st := d.status("other"); st.Told.Status != "" || st.Told.Stopping || st.MainPID != pid {
		t.Errorf("what others said counts: %+v", st.Told)
	}
	if n := strings.Count(d.log.String(), "does not count"); n < 3 || n > 4 {
		t.Errorf("told %d times", n)
	}
}

// TestNotifyFlood has a program send as fast as it can: its neighbour, and the
// daemon, do not suffer.
func TestNotifyFlood(t *testing.T) {
	d := start(t, map[string]string{
		"flood.toml": notifying(t, "", []string{"send=READY=1", "large", "flood"}, "[ready]\nnotify = true"),
		"calm.toml":  notifying(t, "", []string{"await=/run/go/now", "send=READY=1|STATUS=calm", "stay"}, "[ready]\nnotify = true"),
	})
	d.says("flood", "flooding")
	d.ready("flood")
	cpu := func() time.Duration { return processorTime(t, d.child("supervisor")) }
	before, begin := cpu(), time.Now()
	d.release("now")
	d.ready("calm")
	first, _ := strconv.Atoi(d.status("flood").Told.Status)
	d.eventually("the flood goes on, in measure", func() bool {
		n, _ := strconv.Atoi(d.status("flood").Told.Status)
		return n > first+300
	})
	used, took := cpu()-before, time.Since(begin)
	t.Logf("the supervisor used %v of %v", used, took)
	if used > took/2+200*time.Millisecond {
		t.Errorf("the supervisor used %v of %v", used, took)
	}
	d.ok("stop", "flood")
}

// TestMainPID hands the main process over: in the host's PID namespace to one
// that outlives the first, in its own to one that the first waits for.
func TestMainPID(t *testing.T) {
	hand := func(how string) []string {
		return []string{"fork=say=new,await=/run/go/end,exit=7", how, "barrier", "send=READY=1", "await=/run/go/leave", "exit=0"}
	}
	more := "[ready]\nnotify = true\n[restart]\npolicy = 'never'"
	d := start(t, map[string]string{
		"host.toml":  notifying(t, "", hand("main"), more, "[namespaces]\npid = 'host'"),
		"fd.toml":    notifying(t, "", hand("mainfd"), more, "[namespaces]\npid = 'host'"),
		"quick.toml": notifying(t, "", []string{"fork=await=/run/go/end,exit=7", "send=READY=1", "main", "exit=0"}, more, "[namespaces]\npid = 'host'"),
		"own.toml":   notifying(t, "", []string{"fork=await=/run/go/end,exit=7", "main", "barrier", "send=READY=1", "stay"}, more),
		"lie.toml":   notifying(t, "", []string{"send=MAINPID=1", "send=READY=1", "stay"}, more, "[namespaces]\npid = 'host'"),
	})
	main := map[string]int{}
	for _, unit := range []string{"host", "fd", "quick", "own"} {
		d.eventually(unit+" has another main process", func() bool {
			st := d.status(unit)
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", st.MainPID))
			main[unit] = st.MainPID
			return st.Phase == core.Running && st.Told.Ready && strings.Contains(string(text), "await=/run/go/end\x00exit=7") && !strings.Contains(string(text), "fork=")
		}, func() string { return fmt.Sprintf("%+v\n%s", d.status(unit), strings.Join(d.logs(unit), "\n")) })
	}
	d.ready("lie")
	if pid := d.status("lie").MainPID; pid == 1 || !strings.Contains(d.log.String(), "process 1 is none of the unit's") {
		t.Errorf("process 1 is a unit's: %d", pid)
	}
	// The first leaves; also while there is no supervisor.
	d.release("leave")
	d.eventually("the first has left", func() bool { return strings.Contains(d.log.String(), "a former main process of the unit has ended") })
	d.loseSupervisor(d.child("supervisor"))
	for unit, pid := range main {
		if st := d.status(unit); st.Phase != core.Running || st.MainPID != pid {
			t.Errorf("%s: %s (%s), pid %d, want %d", unit, st.Phase, st.Reason, st.MainPID, pid)
		}
	}
	d.release("end")
	for unit := range main {
		st := d.wait(unit, core.Failed)
		if st.LastExit == nil || st.LastExit.Code != 7 {
			t.Errorf("%s ended with %+v (%s)", unit, st.LastExit, st.Reason)
		}
	}
}

// TestFDStore keeps descriptors over a restart of the unit, and over the end of
// the supervisor, and no longer.
func TestFDStore(t *testing.T) {
	d := start(t, map[string]string{
		"keeper.toml": notifying(t, "fd-store-max = 3", []string{"stored", "send=READY=1", "await=/run/go/now",
			"store=one,first text", "store=two,second text", "store=gone,x", "store=many,too many", "store-file=/proc/self/status", "send=FDSTOREREMOVE=1|FDNAME=gone", "barrier", "say=kept", "stay"}, "[ready]\nnotify = true"),
	})
	d.ready("keeper")
	d.release("now")
	d.says("keeper", "kept")
	kept := func() string { return strings.Join(d.status("keeper").Told.Kept, " ") }
	if got := kept(); got != "one two" {
		t.Errorf("kept: %q", got)
	}
	if !strings.Contains(d.log.String(), "not all descriptors are kept") || !strings.Contains(d.log.String(), "a descriptor is not kept") {
		t.Errorf("nothing told of what was not kept")
	}
	if err := os.Remove(filepath.Join(d.dir, "state/volumes/go/now")); err != nil {
		t.Fatal(err)
	}
	d.loseSupervisor(d.child("supervisor"))
	if got := kept(); got != "one two" {
		t.Errorf("kept by another supervisor: %q", got)
	}
	d.ok("restart", "keeper")
	d.ready("keeper")
	lines := strings.Join(d.logs("keeper"), "\n")
	for _, want := range []string{"stored one first text <nil>", "stored two second text <nil>"} {
		if !strings.Contains(lines, want) {
			t.Errorf("the next life has no %q:\n%s", want, lines)
		}
	}
	d.ok("stop", "keeper")
	d.ok("start", "keeper")
	if got := kept(); got != "" {
		t.Errorf("kept over a stop: %q", got)
	}
}

// TestNotifyWithoutSupervisor: what is said while there is no supervisor is
// heard by the next.
func TestNotifyWithoutSupervisor(t *testing.T) {
	d := start(t, map[string]string{
		"late.toml": notifying(t, "", []string{"say=waits", "await=/run/go/now", "send=READY=1|STATUS=said to nobody", "say=said", "stay"}, "[ready]\nnotify = true"),
		"fd.toml":   sh(`while [ ! -e /run/go/now ]; do sleep 0.02; done; echo up >&3; exec 3>&-; exec sleep 1000`, "[ready]\nfd = 3", "[[mount]]\ntype = 'volume'\nsource = 'go'\ntarget = '/run/go'"),
		"log.toml":  sh(`while [ ! -e /run/go/now ]; do sleep 0.02; done; echo listening on port 7; exec sleep 1000`, "[ready]\nlog = 'on port \\d+$'", "[[mount]]\ntype = 'volume'\nsource = 'go'\ntarget = '/run/go'"),
	}, "--max-restart-delay", "3s")
	d.says("late", "waits")
	for _, unit := range []string{"late", "fd", "log"} {
		if st := d.wait(unit, core.Running); st.Told.Ready {
			t.Errorf("%s is ready at once", unit)
		}
	}
	// Twice in a row: the reaper waits before it starts the next.
	supervisor := d.child("supervisor")
	for range 2 {
		if err := syscall.Kill(supervisor, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		last := supervisor
		d.eventually("there is another supervisor", func() bool { supervisor = d.child("supervisor"); return supervisor > 0 && supervisor != last })
	}
	if err := syscall.Kill(supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.release("now")
	d.answers(supervisor)
	for _, unit := range []string{"late", "fd", "log"} {
		d.ready(unit)
	}
	if st := d.status("late"); st.Told.Status != "said to nobody" {
		t.Errorf("late says %q", st.Told.Status)
	}
}

// TestReadyNever: a unit that does not become ready in its time fails with what
// it said last, and asks for time in vain no longer than it says so.
func TestReadyNever(t *testing.T) {
	d := start(t, map[string]string{
		"never.toml": notifying(t, "", []string{"send=STATUS=recovering", "stay"}, "[ready]\nnotify = true\ntimeout = '1s'\n[restart]\npolicy = 'never'"),
		"slow.toml":  notifying(t, "", []string{"send=EXTEND_TIMEOUT_USEC=30000000", "await=/run/go/now", "send=READY=1", "stay"}, "[ready]\nnotify = true\ntimeout = '500ms'\n[restart]\npolicy = 'never'"),
		"shut.toml":  sh("exec 3>&-; exec sleep 1000", "[ready]\nfd = 3\ntimeout = '1s'\n[restart]\npolicy = 'never'"),
		"ends.toml":  notifying(t, "", []string{"send=STATUS=cannot bind|ERRNO=98", "exit=0"}, "[ready]\nnotify = true\n[restart]\npolicy = 'never'"),
	})
	for unit, why := range map[string]string{"never": ": recovering", "shut": "without a line", "ends": "before it was ready"} {
		if st := d.wait(unit, core.Failed); !strings.Contains(st.Reason, why) {
			t.Errorf("%s: %s", unit, st.Reason)
		}
	}
	if st := d.status("slow"); st.Phase != core.Running {
		t.Errorf("slow: %s (%s)", st.Phase, st.Reason)
	}
	d.release("now")
	d.ready("slow")
	// The same for a stop.
	d.write("slow.toml", notifying(t, "", []string{"send=READY=1", "on=TERM", "send=EXTEND_TIMEOUT_USEC=30000000|STOPPING=1", "await=/run/go/stop", "exit=0"},
		"[ready]\nnotify = true\ntimeout = '30s'\n[stop]\ntimeout = '500ms'\n[restart]\npolicy = 'never'"))
	d.ok("reload")
	d.says("slow", "waiting for TERM")
	stopped := make(chan struct{})
	go func() { defer close(stopped); d.berth("stop", "slow") }()
	d.eventually("it says that it stops", func() bool { st := d.status("slow"); return st.Told != nil && st.Told.Stopping })
	select {
	case <-stopped:
		t.Error("it was killed")
	case <-time.After(time.Second): // longer than stop.timeout: that is what it asked for
	}
	d.release("stop")
	<-stopped
	if st := d.status("slow"); st.LastExit == nil || st.LastExit.Signal != 0 {
		t.Errorf("slow ended with %+v", st.LastExit)
	}
}

// TestWatchdog: a unit that is not heard of is ended by ABRT and restarted, one
// that pings is not, whatever becomes of the supervisor.
func TestWatchdog(t *testing.T) {
	d := start(t, map[string]string{
		"alive.toml": notifying(t, "", []string{"send=READY=1", "ping=100000,200ms"}, "[ready]\nnotify = true\n[watchdog]\ninterval = '2s'"),
		"hangs.toml": notifying(t, "", []string{"send=READY=1", "ping=3,50ms", "stay"}, "[ready]\nnotify = true\n[watchdog]\ninterval = '500ms'\n[restart]\npolicy = 'never'\ndelay = '10ms'"),
		"sick.toml":  notifying(t, "", []string{"send=READY=1", "send=WATCHDOG=trigger", "stay"}, "[ready]\nnotify = true\n[watchdog]\ninterval = '1h'\non-failure = 'stop'"),
		"told.toml":  notifying(t, "", []string{"send=WATCHDOG_USEC=300000", "stay"}, "[watchdog]\ninterval = '1h'\non-failure = 'none'"),
	})
	d.ready("alive")
	pid := d.status("alive").MainPID
	d.eventually("it is restarted", func() bool { return d.status("hangs").Restarts >= 2 })
	if st := d.status("hangs"); st.LastExit == nil || syscall.Signal(st.LastExit.Signal) != syscall.SIGABRT && st.LastExit.Code != 2 {
		t.Errorf("it ended with %+v", st.LastExit)
	}
	if st := d.wait("sick", core.Failed); !strings.Contains(st.Reason, "not well") {
		t.Errorf("sick: %s", st.Reason)
	}
	d.eventually("it is told", func() bool { return strings.Contains(d.log.String(), "watchdog: not heard of for 3") })
	if st := d.status("told"); st.Phase != core.Running || st.Restarts != 0 {
		t.Errorf("told: %s (%s)", st.Phase, st.Reason)
	}
	if text, _, _ := d.berth("status", "alive"); !strings.Contains(text, "to be heard of every 2s, last heard of") {
		t.Errorf("berth status says:\n%s", text)
	}
	d.loseSupervisor(d.child("supervisor"))
	begin := time.Now()
	d.eventually("it is heard of for long", func() bool {
		st := d.status("alive")
		return time.Since(begin) > 5*time.Second && st.Told != nil && st.Told.Watchdog.Heard != nil
	})
	if st := d.status("alive"); st.MainPID != pid || st.Restarts != 0 {
		t.Errorf("alive: %+v (%s)", st, st.Reason)
	}
}

// TestReloadNotify: a reload is over when the program says so.
func TestReloadNotify(t *testing.T) {
	d := start(t, map[string]string{
		"web.toml":  notifying(t, "reload = { signal = 'HUP', notify = true }", []string{"send=READY=1", "on=HUP", "reloading", "await=/run/go/now", "send=READY=1|STATUS=reloaded"}, "[ready]\nnotify = true"),
		"mute.toml": notifying(t, "reload = { command = ['/bin/false'], notify = true }", []string{"stay"}),
	})
	d.says("web", "waiting for HUP")
	done := make(chan string, 1)
	go func() {
		_, text, code := d.berth("reload", "web")
		done <- fmt.Sprint(code, text)
	}()
	d.eventually("it says that it reloads", func() bool { return d.status("web").Told.Reloading })
	select {
	case text := <-done:
		t.Errorf("the reload is over before the program says so: %s", text)
	default:
	}
	d.release("now")
	if text := <-done; text != "0" {
		t.Errorf("berth reload: %s", text)
	}
	if st := d.status("web"); st.Told.Status != "reloaded" || st.Told.Reloading {
		t.Errorf("it tells %+v", st.Told)
	}
	if _, text, code := d.berth("reload", "mute"); code == 0 || !strings.Contains(text, "exited with status 1") {
		t.Errorf("a command that fails: %d, %s", code, text)
	}
}

// TestJournaldNotifies runs systemd-journald, which tells that it is ready, pings
// its watchdog and stores descriptors, and finds them after a restart.
func TestJournaldNotifies(t *testing.T) {
	onHost(t)
	const program = "/lib/systemd/systemd-journald"
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip("needs systemd-journald")
	}
	conf := filepath.Join(t.TempDir(), "journald.conf")
	if err := os.WriteFile(conf, []byte("[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := start(t, map[string]string{
		"journald.toml": command([]string{program}, "pre-start = [['/bin/mkdir', '-p', '/run/systemd/journal', '/run/log/journal']]\nfd-store-max = 64") + `
[rootfs]
host = true
[[mount]]
source = '` + conf + `'
target = '/etc/systemd/journald.conf'
[ready]
notify = true
[watchdog]
interval = '2s'
[capabilities]
keep = ['SYS_ADMIN', 'SYS_PTRACE', 'DAC_OVERRIDE', 'CHOWN', 'FOWNER', 'SETUID', 'SETGID', 'DAC_READ_SEARCH', 'MAC_OVERRIDE', 'AUDIT_READ']
`,
	})
	d.ready("journald")
	d.eventually("its watchdog is heard of", func() bool { return d.status("journald").Told.Watchdog.Heard != nil })
	// A stream to it is what it stores.
	d.ok("exec", "journald", "--", "/bin/sh", "-c", "systemd-cat --identifier=test sleep 1000 </dev/null >/dev/null 2>&1 &")
	d.eventually("it stores a stream", func() bool { return len(d.status("journald").Told.Kept) > 0 },
		func() string { return d.ok("status", "journald") })
	t.Logf("%+v", d.status("journald").Told)
	d.ok("restart", "journald")
	d.ready("journald")
}
