package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate"
	"berth/isolate/runtime"
)

// noting is a hook that writes down its name and what it gets, and then does
// what the script says.
func noting(file, name, script string) []specs.Hook {
	return []specs.Hook{{
		Path: "/bin/sh", Env: []string{"PATH=/bin:/usr/bin"},
		Args: []string{"sh", "-c", fmt.Sprintf("{ echo -n '%s '; cat; echo; } >> %s; %s", name, file, script)},
	}}
}

// withHooks gives a configuration hooks at all points. Those in the container
// write to its own file system.
func withHooks(file string, scripts map[string]string) func(*specs.Spec) {
	return func(c *specs.Spec) {
		c.Hooks = &specs.Hooks{
			//lint:ignore SA1019 engines still give them
			Prestart:        noting(file, "prestart", scripts["prestart"]),
			CreateRuntime:   noting(file, "createRuntime", scripts["createRuntime"]),
			CreateContainer: noting(file, "createContainer", scripts["createContainer"]),
			StartContainer:  noting("/hooks", "startContainer", scripts["startContainer"]),
			Poststart:       noting(file, "poststart", scripts["poststart"]),
			Poststop:        noting(file, "poststop", scripts["poststop"]),
		}
	}
}

// noted reads what hooks have written down: name, status and pid of each.
func noted(t *testing.T, id, bundle string, files ...string) (out []string) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			name, state, _ := strings.Cut(line, " ")
			var s specs.State
			if err := json.Unmarshal([]byte(state), &s); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if s.ID != id || s.Bundle != bundle || s.Version != specs.Version {
				t.Errorf("%s", line)
			}
			out = append(out, fmt.Sprintf("%s %s %d", name, s.Status, s.Pid))
		}
	}
	return out
}

func TestHooksAtAllPoints(t *testing.T) {
	w := newWorld(t)
	id, file := w.id(), filepath.Join(w.dir, "hooks")
	// Hooks may use the runtime.
	call := fmt.Sprintf("%s --root %s state %s | grep -q '\"status\": \"%%s\"'", w.exe, w.root, id)
	bundle := w.bundle(withHooks(file, map[string]string{
		"createRuntime": fmt.Sprintf(call, "creating"), "poststart": fmt.Sprintf(call, "running"),
	}), "sleep", "1000")
	inside := filepath.Join(bundle, "rootfs", "hooks")
	w.run("create", "-b", bundle, id)
	pid := w.state(id).PID
	want := []string{fmt.Sprint("prestart created ", pid), fmt.Sprint("createRuntime created ", pid), "createContainer created 1"}
	if got := noted(t, id, bundle, file, inside); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	w.run("start", id)
	want = append(want, fmt.Sprint("poststart running ", pid), "startContainer created 1")
	if got := noted(t, id, bundle, file, inside); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	w.kill(id)
	w.run("delete", id)
	want = slices.Insert(want, 4, "poststop stopped 0")
	if got := noted(t, id, bundle, file, inside); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A hook that fails ends the container, with the error told, the groups gone and
// the poststop hooks run.
func TestFailingHooks(t *testing.T) {
	w := newWorld(t)
	for _, point := range []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart"} {
		for _, verb := range []string{"create", "run"} {
			id, file := w.id(), filepath.Join(w.dir, "hooks-"+point+verb)
			bundle := w.bundle(withHooks(file, map[string]string{point: "echo why >&2; exit 3"}), "sleep", "1000")
			args := []string{verb, "-b", bundle, id}
			pid := 0
			if verb == "create" && strings.Contains(point, "start") && point != "prestart" {
				w.run(args...)
				pid = w.state(id).PID
				args = []string{"start", id}
			}
			_, stderr, code := w.try(args...)
			if code != 1 || !strings.Contains(stderr, "error running "+point+" hook #0:") || !strings.Contains(stderr, "its output: why") {
				t.Errorf("%s %s: %d, %s", verb, point, code, stderr)
			}
			w.fails(1, "container does not exist", "state", id)
			reap(pid)
			got := noted(t, id, bundle, file)
			if len(got) == 0 || got[len(got)-1] != "poststop stopped 0" {
				t.Errorf("%s: %q", point, got)
			}
		}
	}
}

// A hook in the container that takes longer than its time ends the start then,
// also behind the gate, where nobody else waits for anything.
func TestLateHooks(t *testing.T) {
	w := newWorld(t)
	for _, point := range []string{"createContainer", "startContainer"} {
		id := w.id()
		bundle := w.bundle(func(c *specs.Spec) {
			withHooks(filepath.Join(w.dir, "hooks-"+point), map[string]string{point: "exec sleep 1000"})(c)
			limit := 1
			c.Hooks.CreateContainer[0].Timeout, c.Hooks.StartContainer[0].Timeout = &limit, &limit
		}, "true")
		begin := time.Now()
		_, stderr, code := w.try("run", "-b", bundle, id)
		if code != 1 || !strings.Contains(stderr, point+" hook #0") || !strings.Contains(stderr, "took longer than 1s") {
			t.Errorf("%s: %d, %s", point, code, stderr)
		}
		if took := time.Since(begin); took > isolate.DefaultStartTimeout/2 {
			t.Errorf("%s: it took %v", point, took)
		}
		w.fails(1, "container does not exist", "state", id)
	}
}

// Before runtime-spec 1.3 a failing poststart hook is a warning, and the next one runs.
func TestFailingPoststartOfOldVersion(t *testing.T) {
	w := newWorld(t)
	id, file := w.id(), filepath.Join(w.dir, "hooks")
	bundle := w.bundle(func(c *specs.Spec) {
		c.Version = "1.2.1"
		c.Hooks = &specs.Hooks{Poststart: append(noting(file, "one", "exit 1"), noting(file, "two", "")...)}
	}, "sleep", "1000")
	w.run("create", "-b", bundle, id)
	_, stderr, code := w.try("start", id)
	if code != 0 || !strings.Contains(stderr, "level=warning") || !strings.Contains(stderr, "poststart hook") {
		t.Errorf("%d, %s", code, stderr)
	}
	pid := w.want(id, runtime.Running).PID
	if got := noted(t, id, bundle, file); len(got) != 2 || got[1] != fmt.Sprint("two running ", pid) {
		t.Error(got)
	}
}

// A failing poststop hook is a warning, and the next one runs.
func TestFailingPoststop(t *testing.T) {
	w := newWorld(t)
	id, file := w.id(), filepath.Join(w.dir, "hooks")
	bundle := w.bundle(func(c *specs.Spec) {
		c.Hooks = &specs.Hooks{Poststop: append(noting(file, "one", "exit 1"), noting(file, "two", "")...)}
	}, "sleep", "1000")
	w.run("create", "-b", bundle, id)
	w.kill(id)
	_, stderr, code := w.try("delete", id)
	if code != 0 || !strings.Contains(stderr, "level=warning") || !strings.Contains(stderr, "poststop hook") {
		t.Errorf("%d, %s", code, stderr)
	}
	if got := noted(t, id, bundle, file); !slices.Equal(got, []string{"one stopped 0", "two stopped 0"}) {
		t.Error(got)
	}
	w.run("delete", "--force", id)
	if got := noted(t, id, bundle, file); len(got) != 2 {
		t.Error("the hooks ran again:", got)
	}
}

// A container can be deleted by force while a hook of its creation hangs.
func TestDeleteWhileCreating(t *testing.T) {
	w := newWorld(t)
	id, fifo := w.id(), filepath.Join(w.dir, "fifo")
	w.shell(w.dir, "mkfifo fifo")
	bundle := w.bundle(func(c *specs.Spec) {
		c.Hooks = &specs.Hooks{CreateRuntime: noting("/dev/null", "x", "echo ready > "+fifo+"; read line < "+fifo)}
	}, "sleep", "1000")
	create := w.command("create", "-b", bundle, id)
	if err := create.Start(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(fifo); err != nil || string(text) != "ready\n" {
		t.Fatalf("%q, %v", text, err)
	}
	w.want(id, runtime.Creating)
	process, err := unix.PidfdOpen(w.pid(id), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(process)
	deleted := w.command("delete", "--force", id)
	if err := deleted.Start(); err != nil {
		t.Fatal(err)
	}
	w.readable(process) // it was killed
	if err := os.WriteFile(fifo, []byte("go on\n"), 0); err != nil {
		t.Fatal(err)
	}
	if err := deleted.Wait(); err != nil {
		t.Error(err)
	}
	if err := create.Wait(); err == nil {
		t.Error("the creation does not fail")
	}
	w.fails(1, "container does not exist", "state", id)
}
