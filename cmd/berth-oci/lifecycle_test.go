package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/isolate/runtime"
)

func TestLifeCycle(t *testing.T) {
	w := newWorld(t)
	id := w.id()
	bundle := w.bundle(func(c *specs.Spec) { c.Annotations = map[string]string{"a": "b"} }, "sh", "-c", "echo started > /fifo; exec sleep 1000")
	w.shell(bundle, "mkfifo rootfs/fifo")
	pidFile := filepath.Join(w.dir, "pid")

	w.run("create", "--bundle", bundle, "--pid-file", pidFile, id)
	s := w.want(id, runtime.Created)
	if text, err := os.ReadFile(pidFile); err != nil || string(text) != strconv.Itoa(s.PID) {
		t.Errorf("pid file: %q, %v; the pid is %d", text, err, s.PID)
	}
	if s.Bundle != bundle || s.Rootfs != bundle+"/rootfs" || s.Annotations["a"] != "b" || s.Version != specs.Version {
		t.Errorf("%+v", s)
	}
	fifo, err := os.OpenFile(bundle+"/rootfs/fifo", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	_ = fifo.SetReadDeadline(time.Now())
	if n, err := fifo.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("it runs before it is started", n, err)
	}
	w.fails(1, "container with given ID already exists", "create", "--bundle", bundle, id)
	w.fails(1, "is not stopped: created", "delete", id)
	w.want(id, runtime.Created)

	w.run("start", id)
	_ = fifo.SetReadDeadline(time.Now().Add(patience))
	line := make([]byte, 100)
	if n, err := fifo.Read(line); err != nil || string(line[:n]) != "started\n" {
		t.Fatalf("%q, %v", line[:n], err)
	}
	w.want(id, runtime.Running)
	w.fails(1, "cannot start an already running container", "start", id)
	w.fails(1, "is not stopped: running", "delete", id)
	if list := w.run("list", "--quiet"); list != id+"\n" {
		t.Errorf("list: %q", list)
	}

	w.kill(id)
	if s := w.want(id, runtime.Stopped); s.PID != 0 {
		t.Errorf("a stopped container has pid %d", s.PID)
	}
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{1, "container not running", []string{"kill", id}},
		{1, "cannot start a container that has stopped", []string{"start", id}},
		{255, "exec failed: cannot exec in a stopped container", []string{"exec", id, "true"}},
		{1, "container not running", []string{"pause", id}},
		{1, "container not paused", []string{"resume", id}},
		{1, "container not running", []string{"update", "--memory", "100M", id}},
		{1, "is not running", []string{"events", "--stats", id}},
	} {
		w.fails(c.code, c.want, c.args...)
	}
	w.run("kill", "--all", id)
	w.run("delete", id)
	w.fails(1, "container does not exist", "state", id)
	w.fails(1, "container does not exist", "delete", id)
	w.fails(1, "container does not exist", "start", id)
	w.fails(1, "container does not exist", "kill", id)
	w.run("delete", "--force", id)
}

// The text that ends in the log, on standard error, and with --log-format json.
func TestLog(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(w.dir, "log.json")
	_, stderr, code := w.try("--log", file, "--log-format", "json", "state", "nonexistent")
	if code != 1 || stderr != "container does not exist\n" {
		t.Errorf("%d, %q", code, stderr)
	}
	var line struct{ Level, Msg, Time string }
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &line)
	}
	if err != nil || line.Level != "error" || line.Msg != "container does not exist" || line.Time == "" {
		t.Errorf("%v: %s", err, text)
	}
	if _, stderr, _ := w.try("state", "nonexistent"); !strings.HasSuffix(stderr, " level=error msg=\"container does not exist\"\n") || !strings.HasPrefix(stderr, "time=") {
		t.Errorf("%q", stderr)
	}
}

func TestRunGivesTheExitCode(t *testing.T) {
	w := newWorld(t)
	for script, want := range map[string]int{"true": 0, "exit 7": 7, "kill -9 $$": 0} {
		id := w.id()
		stdout, stderr, code := w.try("run", "--bundle", w.bundle(nil, "sh", "-c", "echo out; echo err >&2; "+script), id)
		if script == "kill -9 $$" {
			want = 0 // the first process of a PID namespace ignores what it sends itself
		}
		if code != want || stdout != "out\n" || stderr != "err\n" {
			t.Errorf("%s: %d, %q, %q", script, code, stdout, stderr)
		}
		w.fails(1, "container does not exist", "state", id)
	}
	id := w.id()
	w.run("run", "--keep", "--bundle", w.bundle(nil, "true"), id)
	w.want(id, runtime.Stopped)
}

// Standard input goes to the process, signals too, and its end by a signal is
// the exit code.
func TestForeground(t *testing.T) {
	w := newWorld(t)
	cmd := w.command("run", "--bundle", w.bundle(nil, "sh", "-c", "trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 1; done"), w.id())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 6)
	if _, err := out.Read(line); err != nil || string(line) != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := exec.Command("kill", "-USR1", strconv.Itoa(cmd.Process.Pid)).Run(); err != nil {
		t.Fatal(err)
	}
	if n, err := out.Read(line); err != nil || string(line[:n]) != "got\n" {
		t.Fatalf("%q, %v", line[:n], err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
		t.Fatal(cmd.ProcessState)
	}

	cmd = w.command("run", "--bundle", w.bundle(nil, "cat"), w.id())
	cmd.Stdin = strings.NewReader("hello")
	if got, err := cmd.Output(); err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}

	id := w.id()
	cmd = w.command("run", "--bundle", w.bundle(nil, "sh", "-c", "echo ready; exec sleep 1000"), id)
	if out, err = cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(line); err != nil {
		t.Fatal(err)
	}
	w.run("kill", id, "KILL")
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+9 {
		t.Fatal(cmd.ProcessState)
	}
}

func TestDetached(t *testing.T) {
	w := newWorld(t)
	id := w.id()
	w.run("run", "--detach", "--bundle", w.bundle(nil, "sleep", "1000"), id)
	w.want(id, runtime.Running)
	w.kill(id)
	w.run("delete", id)
}

func TestExec(t *testing.T) {
	w := newWorld(t)
	id := w.id()
	w.run("run", "-d", "-b", w.bundle(nil, "sleep", "1000"), id)
	stdout, stderr, code := w.try("exec", "--env", "A=b", "--cwd", "/tmp", "--user", "5:6", "-g", "7", id, "sh", "-c", "echo $A; pwd; id; echo err >&2; exit 4")
	if code != 4 || stdout != "b\n/tmp\nuid=5 gid=6 groups=7\n" || stderr != "err\n" {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
	w.fails(255, `exec failed: unable to start container process: exec: "nonexistent": executable file not found in $PATH`, "exec", id, "nonexistent")
	w.fails(255, `exec: "/nonexistent": stat /nonexistent: no such file or directory`, "exec", id, "/nonexistent")
	w.fails(255, `exec: "/etc": permission denied`, "exec", id, "/etc")
	w.fails(255, "process args cannot be empty", "exec", id)

	process := filepath.Join(w.dir, "process.json")
	if err := os.WriteFile(process, []byte(`{"args":["/bin/sh","-c","id; echo $B"],"cwd":"/","env":["B=c"],"user":{"uid":8,"gid":9}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := w.run("exec", "--process", process, id); out != "uid=8 gid=9\nc\n" {
		t.Errorf("%q", out)
	}

	pidFile := filepath.Join(w.dir, "pid")
	w.run("exec", "--detach", "--pid-file", pidFile, id, "sleep", "1000")
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	if err := json.Unmarshal([]byte(w.run("ps", "--format", "json", id)), &pids); err != nil || len(pids) != 2 {
		t.Errorf("%v, %v", pids, err)
	}
	if table := w.run("ps", id); strings.Count(table, "sleep 1000") != 2 || strings.Count(table, "\n") != 3 {
		t.Errorf("%s", table)
	}
	w.run("kill", "--all", id, "KILL")
	w.ended(pid) // before the first process of its namespace, which waits for all others
	w.ended(w.pid(id))
}

func TestPauseAndUpdate(t *testing.T) {
	w := newWorld(t)
	id := w.id()
	w.run("run", "-d", "-b", w.bundle(nil, "sleep", "1000"), id)
	w.run("pause", id)
	w.want(id, runtime.Paused)
	w.fails(1, "container not running", "pause", id)
	w.fails(255, "cannot exec in a paused container", "exec", id, "true")
	w.run("resume", id)
	w.want(id, runtime.Running)
	w.fails(1, "container not paused", "resume", id)
	w.run("pause", id)
	w.run("kill", id, "KILL") // and it dies, though it is frozen
	w.ended(w.pid(id))
	w.run("delete", id)
}

// pid reads the record, since a stopped container's state has none.
func (w *world) pid(id string) int {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.root, id, "state.json"))
	var r runtime.Record
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Process.PID
}

// What the commands say in JSON, with what differs from run to run taken out.
func TestGoldenOutput(t *testing.T) {
	w := newWorld(t)
	id := w.id()
	bundle := w.bundle(nil, "sleep", "1000")
	w.run("create", "-b", bundle, id)
	s := w.state(id)
	clean := func(text string) []byte {
		created, err := s.Created.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		out := []byte(text)
		for _, r := range [][2]string{{string(created), "CREATED"}, {strconv.Itoa(s.PID), "4711"}, {id, "ID"}, {w.dir, "DIR"}, {filepath.Base(bundle), "BUNDLE"}} {
			out = bytes.ReplaceAll(out, []byte(r[0]), []byte(r[1]))
		}
		return out
	}
	golden(t, "state.golden", clean(w.run("state", id)))
	golden(t, "list.golden", clean(w.run("list", "-f", "json")))
}

func TestSpec(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{{"spec"}, {"spec", "--rootless"}} {
		dir := t.TempDir()
		w.run(append(args, "--bundle", dir)...)
		text, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil && len(args) == 1 {
			// The golden files are those of a host with cgroup v1.
			text = bytes.Replace(text, []byte(",\n\t\t\t{\n\t\t\t\t\"type\": \"cgroup\"\n\t\t\t}"), nil, 1)
		}
		golden(t, strings.Join(args, "")+".golden", text)
		w.fails(1, "file exists", append(args, "--bundle", dir)...)
	}
}

// A container without process is created, entered and deleted, and cannot be started.
func TestWithoutProcess(t *testing.T) {
	w := newWorld(t)
	bundle := w.bundle(func(c *specs.Spec) { c.Process = nil })
	id := w.id()
	w.fails(1, "process: it is missing", "run", "-b", bundle, w.id())
	w.run("create", "-b", bundle, id)
	pid := w.want(id, runtime.Created).PID
	w.fails(1, "has no process", "start", id)
	w.want(id, runtime.Created)
	if out := w.run("exec", "--cwd", "/bin", id, "/bin/pwd"); out != "/bin\n" {
		t.Errorf("%q", out)
	}
	w.run("delete", "--force", id)
	reap(pid)
}

// What to try is told beside what has failed.
func TestHint(t *testing.T) {
	w := newWorld(t)
	bundle := w.bundle(func(c *specs.Spec) {
		c.Mounts = append(c.Mounts, specs.Mount{Destination: "/at", Type: "bind", Source: "/nonexistent", Options: []string{"bind"}})
	}, "true")
	w.fails(1, "(is the source there on the host?)", "run", "-b", bundle, w.id())
}
