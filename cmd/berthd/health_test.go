package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"berth/isolate/vmtest"
	"berth/supervisor/api"
	"berth/supervisor/core"

	"golang.org/x/sys/unix"
)

// shared makes a directory that units see as /run/shared, and its mount.
func shared(t testing.TB) (dir, mount string) {
	t.Helper()
	dir = t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir, "[[mount]]\nsource = '" + dir + "'\ntarget = '/run/shared'\n"
}

func touch(t testing.TB, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// server is a unit that serves /up in a network namespace of its own while
// /run/shared/up exists.
func server(t testing.TB, more ...string) string {
	return probing(t, "", []string{"serve", "127.0.0.1:8080", "/run/shared/up"},
		append([]string{"[namespaces]\nnetwork = 'new'\n[restart]\ndelay = '50ms'\nlimit = { burst = 0 }"}, more...)...)
}

// health waits until a unit's check is in a state.
func (d *daemon) health(unit, check string, state core.HealthState) *api.Status {
	d.t.Helper()
	var st *api.Status
	d.eventually(fmt.Sprintf("check %s of %s is %s", check, unit, state), func() bool {
		st = d.status(unit)
		for _, c := range st.Checks {
			if c.Name == check && c.State == state {
				return st.Phase == core.Running
			}
		}
		return false
	}, func() string { return fmt.Sprintf("%+v", st) })
	return st
}

// TestHealth: a server that does not answer any more is restarted, until it does.
func TestHealth(t *testing.T) {
	dir, mount := shared(t)
	up := filepath.Join(dir, "up")
	touch(t, up)
	d := start(t, map[string]string{"web.toml": server(t, mount,
		"[ready]\ntcp = '127.0.0.1:8080'\n[health.page]\nhttp = 'http://127.0.0.1:8080/up'\ninterval = '100ms'\nretries = 2\n[health.port]\ntcp = 'localhost:8080'\ninterval = '100ms'")})
	events, err := d.api.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.ok("wait", "--is", "healthy", "web")
	if list := d.ok("list"); !strings.Contains(list, "running (healthy)") {
		t.Errorf("berth list does not tell the health:\n%s", list)
	}
	first := d.status("web").MainPID
	remove(t, up)
	d.eventually("it is restarted twice", func() bool { return d.status("web").Restarts >= 2 })
	touch(t, up)
	d.ok("wait", "--is", "healthy", "web")
	st := d.status("web")
	if st.MainPID == first || st.Health != core.Healthy {
		t.Errorf("its process is %d, was %d; it is %s", st.MainPID, first, st.Health)
	}
	text := d.ok("status", "web")
	for _, want := range []string{"running, healthy", "page healthy, last ", "this is 200 OK", "port healthy"} {
		if !strings.Contains(text, want) {
			t.Errorf("berth status has no %q:\n%s", want, text)
		}
	}
	if why := d.ok("why", "web"); !strings.Contains(why, "running, healthy") || !strings.Contains(why, "health check page failed 2 times, last at ") ||
		!strings.Contains(why, "this is 503 Service Unavailable") {
		t.Errorf("berth why does not tell of the check:\n%s", why)
	}
	seen := map[string]bool{}
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		if e.Check == "page" {
			seen[string(e.Health)+": "+e.Reason] = true
		}
		if e.To == core.Backoff && !strings.HasPrefix(e.Reason, "health check page failed 2 times: status 503") {
			t.Errorf("it is restarted for %q", e.Reason)
		}
		if len(seen) == 2 {
			break
		}
	}
	if !seen["healthy: health check page succeeds"] || !seen["unhealthy: health check page failed 2 times: status 503 Service Unavailable"] {
		t.Errorf("the events tell %v", seen)
	}
}

// TestHealthStartPeriod: failures do not count until a check has succeeded.
func TestHealthStartPeriod(t *testing.T) {
	dir, mount := shared(t)
	up := filepath.Join(dir, "up")
	d := start(t, map[string]string{
		"web.toml": server(t, mount, "[health.up]\nhttp = 'http://127.0.0.1:8080/up'\ninterval = '100ms'\nretries = 1\nstart-period = '1h'"),
		// The stranger is only there to count in the same time.
		"other.toml": server(t, mount, "[health.up]\nhttp = 'http://127.0.0.1:8080/up'\ninterval = '100ms'\nretries = 4"),
		"next.toml":  sh(sleeper, "[unit]\nafter = [{ unit = 'web', is = 'healthy' }]"),
	})
	d.eventually("the other one was restarted", func() bool { return d.status("other").Restarts >= 1 })
	st := d.status("web")
	if st.Restarts != 0 || st.Health != core.HealthStarting || d.status("next").Phase != core.Waiting {
		t.Errorf("in its start-period it is %s after %d restarts", st.Health, st.Restarts)
	}
	if why := d.ok("why", "next"); !strings.Contains(why, "waits for web, running, not healthy yet") || !strings.Contains(why, "status 503") {
		t.Errorf("berth why does not tell what is waited for:\n%s", why)
	}
	touch(t, up)
	d.wait("next", core.Running)
	d.health("web", "up", core.Healthy)
	remove(t, up)
	d.eventually("it is restarted after its first success", func() bool { return d.status("web").Restarts == 1 })
}

// TestHealthKinds: an exec and a file are looked at inside the container, and
// as its user.
func TestHealthKinds(t *testing.T) {
	dir, mount := shared(t)
	d := start(t, map[string]string{
		"web.toml": "[service]\ncommand = ['/bin/sh', '-c', 'touch /tmp/mine; exec sleep 1000']\nuser = 'nobody'\n[rootfs]\nhost = true\n" + mount +
			"[health.exec]\nexec = ['/bin/sh', '-c', 'test -e /tmp/mine && echo user $(id -u) of $$; echo more >&2; exit 0']\ninterval = '100ms'\non-failure = 'none'\n" +
			"[health.file]\nfile = '/tmp/mine'\ninterval = '100ms'\n" +
			"[health.failing]\nexec = ['/bin/sh', '-c', 'echo no luck; exit 3']\ninterval = '100ms'\nretries = 2\non-failure = 'none'\n" +
			"[health.missing]\nexec = ['/no/such/command']\ninterval = '100ms'\non-failure = 'none'\n" +
			"[health.outside]\nfile = '" + dir + "'\ninterval = '100ms'\non-failure = 'none'\n",
	})
	d.health("web", "file", core.Healthy)
	d.health("web", "exec", core.Healthy)
	d.health("web", "failing", core.Unhealthy)
	d.health("web", "missing", core.Unhealthy)
	st := d.health("web", "outside", core.Unhealthy) // the container's /tmp is its own
	for _, c := range st.Checks {
		switch want := map[string]string{"failing": "exited with status 3", "outside": dir + " does not exist", "exec": "", "file": ""}[c.Name]; {
		case c.Name == "missing":
			if !strings.Contains(c.Error, "/no/such/command") {
				t.Errorf("missing: %q", c.Error)
			}
		case c.Error != want:
			t.Errorf("%s: %q", c.Name, c.Error)
		}
		if c.Name == "failing" && c.Output != "no luck\n" || c.Name == "exec" && !(strings.HasPrefix(c.Output, "user 65534 of ") && strings.HasSuffix(c.Output, "more\n")) {
			t.Errorf("%s has seen %q", c.Name, c.Output)
		}
	}
	if st.Health != core.Unhealthy || st.Restarts != 0 {
		t.Errorf("in all it is %s, %d restarts", st.Health, st.Restarts)
	}
}

// TestHealthHostile: containers that do their worst to who looks at them cost
// neither the supervisor its life or memory nor the others their checks.
func TestHealthHostile(t *testing.T) {
	dir, mount := shared(t)
	touch(t, filepath.Join(dir, "up"))
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	fast := "\ninterval = '100ms'\ntimeout = '300ms'\nretries = 1\non-failure = 'none'\n"
	files := map[string]string{
		"good.toml": server(t, mount, "[ready]\ntcp = '127.0.0.1:8080'\n[health.up]\nhttp = 'http://127.0.0.1:8080/up'\ninterval = '100ms'\ntimeout = '30s'\nretries = 1\n"+
			"[health.fifo]\nfile = '/run/shared/fifo'\ninterval = '100ms'\ntimeout = '30s'\nretries = 1"),
		"bomb.toml": probing(t, "", []string{"serve", "127.0.0.1:8080", "/x"}, "[cgroup]\npids-max = 64\n[namespaces]\nnetwork = 'new'\n[health.bomb]\nexec = ['/bin/sh', '-c', 'f() { f & f; }; f']"+fast),
	}
	bad := 10
	if vmtest.Current() != "" { // which is ten times slower
		bad = 3
	}
	for i := range bad {
		files[fmt.Sprintf("bad%d.toml", i)] = server(t, mount,
			"[health.drip]\nhttp = 'http://127.0.0.1:8080/drip'"+fast, "[health.flood]\nhttp = 'http://127.0.0.1:8080/flood'"+fast, "[health.silent]\nhttp = 'http://127.0.0.1:8080/silent'"+fast,
			"[health.yes]\nexec = ['/bin/sh', '-c', 'yes']"+fast, "[health.hang]\nexec = ['/bin/sh', '-c', 'sleep 1000 & sleep 1000']"+fast,
			"[health.away]\nexec = ['/bin/sh', '-c', 'sleep 1000 & exit 1']"+fast, "[cgroup]\npids-max = 200")
	}
	d := start(t, files)
	d.health("good", "up", core.Healthy)
	d.health("good", "fifo", core.Healthy)
	supervisor := d.child("supervisor")
	// The others may not get to do their worst in their time where the machine is slow.
	want := map[string]string{"drip": "timed out", "silent": "timed out"}
	for i := range bad {
		name := fmt.Sprintf("bad%d", i)
		d.eventually(name+"'s checks have failed", func() bool {
			for _, c := range d.status(name).Checks {
				if c.Failed < 3 {
					return false
				}
			}
			return true
		}, func() string { return fmt.Sprintf("%+v", d.status(name).Checks) })
		for _, c := range d.status(name).Checks {
			if !strings.Contains(c.Error, want[c.Name]) {
				t.Errorf("%s of %s: %s", c.Name, name, c.Error)
			}
			if len(c.Output) > 4<<10 || len(c.Error) > 300 {
				t.Errorf("%s of %s keeps %d bytes of output, %d of the error", c.Name, name, len(c.Output), len(c.Error))
			}
		}
	}
	d.health("bomb", "bomb", core.Unhealthy)
	if st := d.status("good"); st.Restarts != 0 || st.Health != core.Healthy {
		t.Errorf("the good one is %s after %d restarts", st.Health, st.Restarts)
	}
	if now := d.child("supervisor"); now != supervisor {
		t.Errorf("the supervisor is %d, was %d", now, supervisor)
	}
	if kb := residentKB(t, supervisor); kb > 64<<10 {
		t.Errorf("the supervisor takes %d KiB", kb)
	}
}

// residentKB gives a process's resident memory, in KiB.
func residentKB(t testing.TB, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(strings.NewReader(string(text))); s.Scan(); {
		var kb int
		if n, _ := fmt.Sscanf(s.Text(), "Rss: %d kB", &kb); n == 1 {
			return kb
		}
	}
	t.Fatal("no Rss")
	return 0
}

// TestHealthKill kills the supervisor while a check is under way: the unit runs
// on, and is checked by the next.
func TestHealthKill(t *testing.T) {
	dir, mount := shared(t)
	d := start(t, map[string]string{"web.toml": sh(sleeper, mount,
		"[health.slow]\nexec = ['/bin/sh', '-c', 'until test -e /run/shared/go; do sleep 0.01; done; echo gone']\ninterval = '100ms'\ntimeout = '50s'\nretries = 1")})
	pid := d.wait("web", core.Running).MainPID
	d.eventually("the check is under way", func() bool { return len(d.status("web").Processes) > 1 })
	old := d.child("supervisor")
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.eventually("there is another supervisor", func() bool {
		st, err := d.api.Daemon(context.Background())
		return err == nil && st.PID != old
	})
	touch(t, filepath.Join(dir, "go"))
	if st := d.health("web", "slow", core.Healthy); st.MainPID != pid || st.Restarts != 0 || st.Checks[0].Output != "gone\n" {
		t.Errorf("%+v, the process was %d", st, pid)
	}
	d.eventually("no check of the former supervisor is left", func() bool { return len(d.status("web").Processes) <= 2 })
}

// TestHealthLive changes, adds and removes checks while the unit runs.
func TestHealthLive(t *testing.T) {
	_, mount := shared(t)
	check := func(name, interval string) string {
		return "[health." + name + "]\nexec = ['/bin/sh', '-c', 'echo check " + name + " >/proc/1/fd/1; sleep 0']\ninterval = '" + interval + "'\n"
	}
	d := start(t, map[string]string{"web.toml": sh(sleeper, mount, check("a", "1h"))})
	pid := d.health("web", "a", core.Healthy).MainPID
	d.write("web.toml", sh(sleeper, mount, check("a", "100ms"), check("b", "1h")))
	d.health("web", "b", core.Healthy)
	first := *d.status("web").Checks[0].At
	d.eventually("it is checked again and again", func() bool { return d.status("web").Checks[0].At.Sub(first) > 0 })
	d.write("web.toml", sh(sleeper, mount))
	d.eventually("nothing is checked any more", func() bool { return len(d.status("web").Checks) == 0 })
	if st := d.status("web"); st.MainPID != pid || st.Phase != core.Running || st.Health != "" {
		t.Errorf("it is %s with process %d, was %d; %s", st.Phase, st.MainPID, pid, st.Health)
	}
}

// TestHealthPause: who is paused is not judged.
func TestHealthPause(t *testing.T) {
	d := start(t, map[string]string{
		"web.toml":   sh(sleeper, "[health.up]\nexec = ['/bin/sh', '-c', 'sleep 0.05']\ninterval = '100ms'\ntimeout = '40s'\nretries = 1"),
		"clock.toml": sh(sleeper, "[health.up]\nexec = ['/bin/false']\ninterval = '100ms'\non-failure = 'none'"),
	})
	d.health("web", "up", core.Healthy)
	d.ok("pause", "web")
	failed := d.health("clock", "up", core.Unhealthy).Checks[0].Failed
	d.eventually("time passes", func() bool { return d.status("clock").Checks[0].Failed > failed+10 })
	if st := d.status("web"); st.Health != core.Healthy || st.Restarts != 0 || !st.Paused {
		t.Errorf("paused, it is %s after %d restarts", st.Health, st.Restarts)
	}
	d.ok("resume", "web")
	now := *d.status("web").Checks[0].At
	d.eventually("it is checked again", func() bool { return d.status("web").Checks[0].At.After(now) })
}

// TestHealthShutdown: the whole daemon ends.
func TestHealthShutdown(t *testing.T) {
	d := start(t, map[string]string{
		"web.toml":   sh(sleeper, "[health.up]\nfile = '/no/such/file'\nretries = 2\ninterval = '100ms'\non-failure = 'shutdown'"),
		"other.toml": sh(sleeper),
	})
	<-d.ended
	if code := d.cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(d.log.String(), "/no/such/file does not exist") {
		t.Errorf("berthd exits with %d", code)
	}
}

// TestReadyProbes: who waits for a unit starts when the probe succeeds, and one
// that does not in its time has failed, and says why.
func TestReadyProbes(t *testing.T) {
	dir, mount := shared(t)
	next := func(of string) string { return sh(sleeper, "[unit]\nrequires = ['"+of+"']") }
	d := start(t, map[string]string{
		"tcp.toml":       server(t, mount, "[ready]\ntcp = '127.0.0.1:8080'"),
		"after-tcp.toml": next("tcp"),
		"http.toml":      server(t, mount, "[ready]\nhttp = 'http://localhost:8080/up'"), "after-http.toml": next("http"),
		"exec.toml": sh(sleeper, mount, "[ready]\nexec = ['/bin/sh', '-c', 'test -e /run/shared/up']"), "after-exec.toml": next("exec"),
		"file.toml": sh(sleeper, mount, "[ready]\nfile = '/run/shared/up'"), "after-file.toml": next("file"),
		"never.toml": onDemand + sh(sleeper, "[ready]\ntcp = '127.0.0.1:1'\ntimeout = '500ms'"),
	})
	d.wait("after-tcp", core.Running)
	_, stderr, code := d.berth("start", "never")
	if code == 0 || !strings.Contains(stderr, "cannot connect to 127.0.0.1:1: connection refused") {
		t.Errorf("berth start of what is never ready exits with %d: %s", code, stderr)
	}
	for _, name := range []string{"http", "exec", "file"} {
		if st := d.status(name); st.Phase != core.Running || d.status("after-"+name).Phase != core.Waiting {
			t.Errorf("%s is %s, and who waits for it is %s", name, st.Phase, d.status("after-"+name).Phase)
		}
	}
	touch(t, filepath.Join(dir, "up"))
	for _, name := range []string{"http", "exec", "file"} {
		d.wait("after-"+name, core.Running)
	}
}
