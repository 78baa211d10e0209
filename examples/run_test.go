package examples

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// Each example runs as it is, with real clients. The tests run one after the
// other, for each example has its port.

func TestNginx(t *testing.T) {
	needs(t, "/usr/sbin/nginx", "curl")
	d := run(t, "nginx")
	page := []string{"curl", "-sS", "--fail", "http://127.0.0.1:8080/"}
	d.prints("supervised by berth", page...)
	before := d.phase("nginx", core.Running)
	confined(t, before.MainPID)
	if err := syscall.Kill(before.MainPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.eventually("nginx is back", func() error {
		now, err := d.api.Status(context.Background(), "nginx")
		if err == nil && (now.Phase != core.Running || now.MainPID == before.MainPID) {
			err = fmt.Errorf("it is %s, process %d", now.Phase, now.MainPID)
		}
		return err
	})
	d.prints("supervised by berth", page...)
	d.berth("reload", "nginx") // nginx's own reload
	d.prints("supervised by berth", page...)
	// The access log is /dev/stdout, opened anew by nginx.
	d.eventually("the access log arrives", func() error {
		if logs := d.berth("logs", "-n", "1000", "nginx"); !strings.Contains(logs, `"GET / HTTP/1.1" 200`) {
			return fmt.Errorf("no request in it:\n%s", logs)
		}
		return nil
	})
}

// confined looks from outside at what the kernel says of a service's process.
func confined(t *testing.T, pid int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
		"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
	} {
		if !strings.Contains(string(status), want+"\n") {
			t.Errorf("process %d is without %q:\n%s", pid, want, status)
		}
	}
	if strings.Contains(string(status), "Uid:\t0\t") {
		t.Errorf("process %d is root", pid)
	}
}

func TestRedis(t *testing.T) {
	needs(t, "/usr/bin/redis-server", "redis-cli")
	d := run(t, "redis")
	client := func(args ...string) []string { return append([]string{"redis-cli", "-p", "6380"}, args...) }
	d.prints("OK", client("set", "greeting", "hello")...)
	st := d.phase("redis", core.Running)
	confined(t, st.MainPID)
	if st.Told == nil || !strings.Contains(st.Told.Status, "Ready to accept connections") {
		t.Errorf("redis says %+v", st.Told)
	}
	d.berth("restart", "redis") // which waits until it is ready
	out, err := command(client("get", "greeting")...)
	if err != nil || !strings.Contains(out, "hello") {
		t.Errorf("after the restart: %v %s", err, out)
	}

	// 100 MB into 32.
	if out, err := command(client("eval", "for i = 1, 100000 do redis.call('set', 'k' .. i, string.rep('x', 1024)) end", "0")...); err == nil && !strings.Contains(out, "closed") {
		t.Errorf("filling redis beyond its limit succeeds: %s", out)
	}
	d.eventually("redis was killed for lack of memory and is back", func() error {
		s, err := d.api.Status(context.Background(), "redis")
		if err == nil && (s.Phase != core.Running || s.LastExit == nil || !s.LastExit.OOM) {
			err = fmt.Errorf("it is %s, last exit %+v", s.Phase, s.LastExit)
		}
		return err
	})
	d.prints("hello", client("get", "greeting")...)
}

func TestHAProxy(t *testing.T) {
	needs(t, "/usr/sbin/haproxy", "curl")
	d := run(t, "haproxy")
	d.berth("start", "haproxy") // which waits until it is ready
	get := func() {
		t.Helper()
		out, err := command("curl", "-sS", "--max-time", "5", "http://127.0.0.1:8406/")
		if err != nil || out != "hello from haproxy\n" {
			t.Errorf("%v %q", err, out)
		}
	}
	get()
	before := d.phase("haproxy", core.Running)
	confined(t, before.MainPID)
	for range 3 {
		d.berth("reload", "haproxy")
		get()
	}
	after := d.phase("haproxy", core.Running)
	if after.MainPID != before.MainPID || after.Restarts != 0 {
		t.Errorf("a reload has ended the master: %d, was %d", after.MainPID, before.MainPID)
	}
	if after.Told == nil || !after.Told.Ready || after.Told.Reloading {
		t.Errorf("haproxy says %+v", after.Told)
	}
	worker := func(s *api.Status) int { return s.Processes[len(s.Processes)-1].PID }
	if worker(after) == worker(before) {
		t.Errorf("the worker is the same after three reloads: %+v", after.Processes)
	}
}

func TestPostgres(t *testing.T) {
	needs(t, "/usr/lib/postgresql/15/bin/postgres", "psql")
	d := run(t, "postgres")
	sql := func(statement string) []string {
		return []string{"psql", "-h", "127.0.0.1", "-p", "5433", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-Atqc", statement}
	}
	d.prints("1", sql("select 1")...)
	confined(t, d.phase("postgres", core.Running).MainPID)
	d.prints("", sql("create table ships (name text); insert into ships values ('Argo'), ('Beagle')")...)
	d.berth("restart", "postgres") // which waits until it is ready
	out, err := command(sql("select count(*) from ships")...)
	if err != nil || !strings.Contains(out, "2") {
		t.Errorf("after the restart: %v %s", err, out)
	}
	d.phase("postgres-init", core.Completed)
}

func TestWeb(t *testing.T) {
	needs(t, "curl")
	root := filepath.Join("web", "root")
	for _, dir := range []string{"dev", "etc", "proc", "run", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := goBuild(filepath.Join(root, "server"), "berth/examples/web/server"); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	d := run(t, "web")
	d.prints("one: pid 1, uid 65534", "curl", "-sS", "--fail", "http://127.0.0.1:8091/")
	d.prints("two: pid 1, uid 65534", "curl", "-sS", "--fail", "http://127.0.0.1:8092/")
	if out := d.berth("restart", "web@one"); !strings.HasPrefix(out, "web@one: replaced") {
		t.Errorf("berth restart says %q", out)
	}
	d.prints("one: pid 1, uid 65534", "curl", "-sS", "--fail", "http://127.0.0.1:8091/")
	d.berth("stop", "web@one")
	d.phase("web@one", core.Inactive)
	d.prints("two: pid 1", "curl", "-sS", "--fail", "http://127.0.0.1:8092/")
}

func TestTasks(t *testing.T) {
	needs(t)
	d := run(t, "tasks")
	d.phase("publish", core.Running)
	gather, report := d.phase("gather", core.Completed), d.phase("report", core.Completed)
	if !gather.StartedAt.Before(*report.StartedAt) {
		t.Errorf("gather started at %s, after report at %s", gather.StartedAt, report.StartedAt)
	}
	d.eventually("the report is published", func() error {
		if logs := d.berth("logs", "publish"); !strings.Contains(logs, "load is ") {
			return fmt.Errorf("the log is %q", logs)
		}
		return nil
	})
}

func TestCrashLoop(t *testing.T) {
	needs(t)
	d := run(t, "crash-loop")
	flaky := d.phase("flaky", core.Failed)
	if flaky.Restarts != 4 || flaky.LastExit == nil || flaky.LastExit.Code != 3 {
		t.Errorf("%d restarts, last exit %+v; want 4 and status 3", flaky.Restarts, flaky.LastExit)
	}
	d.phase("alert", core.Completed)
}
