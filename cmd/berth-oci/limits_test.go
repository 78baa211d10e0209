package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate/cgroup/nsinit"
	"berth/isolate/runtime"
)

// stats is what events tells once.
func (w *world) stats(id string) *nsinit.EventStats {
	w.t.Helper()
	var e nsinit.Event
	if err := json.Unmarshal([]byte(w.run("events", "--stats", id)), &e); err != nil || e.Type != "stats" || e.ID != id || e.Data == nil {
		w.t.Fatal(err, e)
	}
	return e.Data
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	id := w.id()
	limit := int64(64 << 20)
	w.run("run", "-d", "-b", w.bundle(func(c *specs.Spec) { c.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit} }, "sleep", "1000"), id)
	if got := w.stats(id).Memory.Usage.Limit; got != 64<<20 {
		t.Errorf("memory %d", got)
	}
	w.run("update", "--memory", "128M", "--pids-limit", "77", id)
	if s := w.stats(id); s.Memory.Usage.Limit != 128<<20 || s.Pids.Limit != 77 || s.Pids.Current != 1 {
		t.Errorf("%+v %+v", s.Memory.Usage, s.Pids)
	}
	cmd := w.command("update", "--resources", "-", id)
	cmd.Stdin = strings.NewReader(`{"pids":{"limit":55}}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s := w.stats(id); s.Memory.Usage.Limit != 128<<20 || s.Pids.Limit != 55 {
		t.Errorf("%+v %+v", s.Memory.Usage, s.Pids)
	}
	w.fails(1, "is not a number of bytes", "update", "--memory", "much", id)
	w.fails(1, "Intel RDT", "update", "--l3-cache-schema", "L3:0=f", id)
	w.kill(id)
}

// The events end with the container, and tell of the process that was killed for
// lack of memory.
func TestEventsTellOfOOM(t *testing.T) {
	w := newWorld(t)
	id := w.id()
	limit := int64(16 << 20)
	bundle := w.bundle(func(c *specs.Spec) { c.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit} },
		"sh", "-c", "read go < /fifo; busybox dd if=/dev/zero of=/dev/null bs=100M count=1; exit 6")
	w.shell(bundle, "mkfifo rootfs/fifo")
	w.run("run", "-d", "-b", bundle, id)
	pid := w.state(id).PID
	events := w.command("events", "--interval", "1h", id)
	out, err := events.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Start(); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(out)
	var e nsinit.Event
	if err := lines.Decode(&e); err != nil || e.Type != "stats" {
		t.Fatal(err, e)
	}
	if err := os.WriteFile(bundle+"/rootfs/fifo", []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	e = nsinit.Event{}
	if err := lines.Decode(&e); err != nil || e.Type != "oom" || e.ID != id || e.Data != nil {
		t.Error(err, e)
	}
	if code := w.ended(pid); code != 6 {
		t.Errorf("exit code %d", code)
	}
	if err := events.Wait(); err != nil {
		t.Error(err)
	}
}

// An ordinary user runs the example that is made for it, without control groups
// where it has none.
func TestOrdinaryUser(t *testing.T) {
	w := newWorld(t)
	const nobody = 65534
	home := filepath.Join(w.dir, "home")
	bundle := w.bundle(nil, "true")
	if err := os.Remove(bundle + "/config.json"); err != nil {
		t.Fatal(err)
	}
	w.shell(w.dir, "mkdir -p home/run && mv "+bundle+" home/bundle && cp "+w.exe+" home/ && chown -R 65534:65534 home && chmod 755 .. . home home/bundle")
	call := func(args ...string) (string, error) {
		cmd := exec.Command(filepath.Join(home, name), args...)
		cmd.Dir = filepath.Join(home, "bundle")
		cmd.Env = []string{"XDG_RUNTIME_DIR=" + filepath.Join(home, "run"), "PATH=/usr/bin:/bin"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := w.output(cmd)
		return out[0] + out[1], err
	}
	if out, err := call("spec", "--rootless"); err != nil {
		t.Fatal(err, out)
	}
	file := filepath.Join(home, "bundle", "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var config specs.Spec
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	config.Process.Terminal, config.Process.Args = false, []string{"sh", "-c", "id; exec sleep 1000"}
	if text, err = json.Marshal(config); err == nil {
		err = os.WriteFile(file, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	id := "berth-oci-user"
	out, err := call("run", "--detach", id)
	if err != nil || out != "" && !strings.Contains(out, "uid=0 gid=0") {
		t.Fatal(err, out)
	}
	var s runtime.State
	if out, err = call("state", id); err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	if err != nil || s.Status != runtime.Running {
		t.Fatal(err, out)
	}
	if out, err := call("exec", id, "id"); err != nil || out != "uid=0 gid=0\n" {
		t.Error(err, out)
	}
	// A second container in the user and PID namespaces of the first one.
	for i, n := range config.Linux.Namespaces {
		if n.Type == specs.UserNamespace || n.Type == specs.PIDNamespace {
			config.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/ns/%s", s.PID, n.Type)
		}
	}
	config.Linux.UIDMappings, config.Linux.GIDMappings, config.Process.Args = nil, nil, []string{"readlink", "/proc/1/ns/user"}
	if text, err = json.Marshal(config); err == nil {
		err = os.WriteFile(file, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	joined, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := call("run", "berth-oci-user-second"); err != nil || !strings.HasPrefix(out, joined+"\n") || !strings.Contains(out, "strongly discouraged") {
		t.Errorf("%v, %q, want %s", err, out, joined)
	}
	if out, err := call("kill", id, "KILL"); err != nil {
		t.Error(err, out)
	}
	fd, err := unix.PidfdOpen(s.PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	w.readable(fd)
	if out, err := call("delete", id); err != nil {
		t.Error(err, out)
	}
	reap(s.PID)
}
