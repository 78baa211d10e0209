package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/runtime"
)

// children are the pids of this process' children by what they execute: the
// container's processes become so when the command that made them is killed.
func children(t *testing.T) (pids []int) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// killed runs a command and kills it after a while.
func (w *world) killed(after time.Duration, args ...string) (ended bool) {
	w.t.Helper()
	cmd := w.command(args...)
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	return cmd.Wait() == nil
}

// Create, start and delete are killed at moments spread over all of their time.
// Whatever is left, state and list tell of it without an error but that it does
// not exist, and delete --force clears it away.
func TestKilledAtAnyMoment(t *testing.T) {
	w := newWorld(t)
	bundle := w.bundle(nil, "sleep", "1000")
	moments := 40
	if n, err := strconv.Atoi(os.Getenv("BERTH_CRASHES")); err == nil {
		moments = n // of each command, for a longer look
	}
	for _, verb := range []string{"create", "start", "run", "delete"} {
		whole := patience // of the first, which is not killed; then what the fastest takes
		finished := 0
		for i := range moments + 1 {
			id := w.id()
			args := map[string][]string{
				"create": {"create", "-b", bundle, id}, "start": {"start", id}, "run": {"run", "-b", bundle, id}, "delete": {"delete", "--force", id},
			}[verb]
			if verb == "start" || verb == "delete" {
				w.run("create", "-b", bundle, id)
			}
			begin := time.Now()
			after := whole * time.Duration(i) / time.Duration(moments)
			if verb == "run" { // it does not end by itself
				after = patience / 3000 * time.Duration(i) / time.Duration(moments)
			}
			if w.killed(after, args...) {
				finished++
				whole = min(whole, time.Since(begin))
			}
			stdout, stderr, code := w.try("state", id)
			if code != 0 && stderr != "" && !strings.Contains(stderr, "container does not exist") {
				t.Fatalf("%s at %d: %s", verb, i, stderr)
			}
			var s runtime.State
			if code == 0 {
				if err := json.Unmarshal([]byte(stdout), &s); err != nil {
					t.Fatal(err)
				}
				if _, stderr, code := w.try("list"); code != 0 || stderr != "" {
					t.Fatalf("%s at %d: list: %s", verb, i, stderr)
				}
			}
			w.run("delete", "--force", id)
			w.fails(1, "container does not exist", "state", id)
			// What was left of it ends, if it has not yet.
			for _, pid := range children(t) {
				w.ended(pid)
			}
		}
		t.Logf("%s: %d of %d were through", verb, finished, moments)
		if finished == moments {
			t.Errorf("%s was never killed", verb)
		}
	}
}

// Many commands at once on one container: one create, one start and one delete
// take effect.
func TestConcurrentCommands(t *testing.T) {
	w := newWorld(t)
	bundle := w.bundle(nil, "sleep", "1000")
	id := w.id()
	atOnce := func(args ...string) (done int) {
		var all []*exec.Cmd
		for range 8 {
			cmd := w.command(args...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			all = append(all, cmd)
			observer := w.command("state", id)
			if err := observer.Start(); err != nil {
				t.Fatal(err)
			}
			all = append(all, observer)
		}
		for i, cmd := range all {
			if err := cmd.Wait(); err == nil && i%2 == 0 {
				done++
			}
		}
		return done
	}
	if n := atOnce("create", "-b", bundle, id); n != 1 {
		t.Fatalf("%d created it", n)
	}
	w.want(id, runtime.Created)
	if n := atOnce("start", id); n != 1 {
		t.Fatalf("%d started it", n)
	}
	w.want(id, runtime.Running)
	if n := atOnce("delete", id); n != 0 {
		t.Fatalf("%d deleted it while it ran", n)
	}
	w.kill(id)
	if n := atOnce("delete", id); n != 1 {
		t.Fatalf("%d deleted it", n)
	}
}

// A pid that has come to mean another process is not signalled.
func TestReusedPID(t *testing.T) {
	w := newWorld(t)
	id := w.id()
	w.run("create", "-b", w.bundle(nil, "sleep", "1000"), id)
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	file := filepath.Join(w.root, id, "state.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid := w.pid(id)
	changed := strings.Replace(string(text), `"process":{"pid":`+strconv.Itoa(pid), `"process":{"pid":`+strconv.Itoa(other.Process.Pid), 1)
	if changed == string(text) {
		t.Fatal("the record is not what was thought")
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	w.want(id, runtime.Stopped)
	w.fails(1, "container not running", "kill", id, "KILL")
	w.run("delete", id)
	if err := other.Process.Signal(unix.Signal(0)); err != nil {
		t.Error("the other process has ended:", err)
	}
	w.ended(pid) // by its group
}

// The container's process has no descriptor of ours, and cannot look at us.
func TestNothingLeaks(t *testing.T) {
	w := newWorld(t)
	bundle := w.bundle(nil, "sh", "-c", "ls -l /proc/self/fd | while read l; do echo \"$l\"; done; ls /proc; cat /proc/self/environ")
	cmd := w.command("run", "-b", bundle, w.id())
	extra, err := os.Open("/etc/passwd") // a caller that leaks one
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	cmd.ExtraFiles = []*os.File{extra}
	cmd.Env = append(os.Environ(), "SECRET=of the caller")
	out, err := w.output(cmd)
	if err != nil {
		t.Fatal(err, out)
	}
	lines := bufio.NewScanner(strings.NewReader(out[0]))
	fds := 0
	for lines.Scan() {
		if _, target, ok := strings.Cut(lines.Text(), " -> "); ok {
			fds++
			if strings.Contains(target, "passwd") || strings.Contains(target, name) && !strings.Contains(target, w.dir) {
				t.Error(lines.Text())
			}
		}
	}
	if fds != 3 { // that of the directory that is listed is gone when it is looked at
		t.Errorf("%d descriptors:\n%s", fds, out[0])
	}
	if strings.Contains(out[0], "SECRET") {
		t.Error("the environment of the caller is seen")
	}
}

// Descriptors are passed on when they are to be: first those of socket activation.
func TestPreservedDescriptors(t *testing.T) {
	w := newWorld(t)
	var files []*os.File
	for _, text := range []string{"one", "two", "three"} {
		file, err := os.CreateTemp(w.dir, text)
		if err == nil {
			_, err = file.WriteString(text + "\n")
		}
		if err == nil {
			_, err = file.Seek(0, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		files = append(files, file)
	}
	cmd := w.command("run", "--preserve-fds", "1", "-b", w.bundle(nil, "sh", "-c", "cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID; cat <&5 2>/dev/null || echo closed"), w.id())
	cmd.ExtraFiles = files
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1")
	out, err := w.output(cmd)
	if err != nil || out[0] != "one\ntwo\n1 1\nclosed\n" {
		t.Errorf("%v, %q", err, out)
	}
	w.fails(1, "cannot pass descriptor 3 on", "run", "--preserve-fds", "9", "-b", w.bundle(nil, "true"), w.id())
}
