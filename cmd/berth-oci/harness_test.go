package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate/runtime"
)

var rewrite = flag.Bool("update", false, "rewrite the golden files")

// patience is how long a test waits for what must come at last.
const patience = 60 * time.Second

var buildDir string

// binary is berth-oci, built once.
var binary = sync.OnceValues(func() (string, error) {
	file := filepath.Join(buildDir, name)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build berth-oci: %w\n%s", err, out)
	}
	return file, nil
})

func TestMain(m *testing.M) {
	flag.Parse()
	// Containers that outlive the command that made them become children of this process.
	err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	if err == nil {
		buildDir, err = os.MkdirTemp("", "berth-oci")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("BERTH_NO_SKIP") != "" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

// world is a root directory of containers, and where their bundles are.
type world struct {
	t    testing.TB
	exe  string
	dir  string
	root string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	needRoot(t)
	exe, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &world{t: t, exe: exe, dir: dir, root: filepath.Join(dir, "root")}
}

var ids atomic.Int64

// id gives a name that no other container of the machine has, and deletes the
// container of that name after the test.
func (w *world) id() string {
	id := fmt.Sprintf("berth-oci-test-%d-%d", os.Getpid(), ids.Add(1))
	w.t.Cleanup(func() {
		pid := 0
		var s runtime.State
		if out, _, code := w.try("state", id); code == 0 && json.Unmarshal([]byte(out), &s) == nil {
			pid = s.PID
		}
		w.run("delete", "--force", id)
		reap(pid)
		for _, pattern := range []string{"/sys/fs/cgroup/*/" + id, "/sys/fs/cgroup/" + id} {
			if left, _ := filepath.Glob(pattern); len(left) > 0 {
				w.t.Errorf("groups are left: %v", left)
			}
		}
		if _, err := os.Lstat(filepath.Join(w.root, id)); err == nil {
			w.t.Errorf("its directory is left")
		}
	})
	return id
}

// reap takes note of the end of a container's process, which is our child.
func reap(pid int) {
	if pid > 0 {
		_, _ = unix.Wait4(pid, nil, 0, nil)
	}
}

// bundle writes a bundle with a root file system of busybox and args as its
// program; change, if not nil, changes the configuration.
func (w *world) bundle(change func(*specs.Spec), args ...string) string {
	w.t.Helper()
	dir, err := os.MkdirTemp(w.dir, "bundle")
	if err != nil {
		w.t.Fatal(err)
	}
	bin := filepath.Join(dir, "rootfs", "bin")
	busybox, err := os.ReadFile("/bin/busybox")
	for _, d := range []string{"bin", "proc", "dev", "sys", "etc", "tmp"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755))
	}
	err = errors.Join(err, os.WriteFile(filepath.Join(bin, "busybox"), busybox, 0o755))
	for _, applet := range []string{"sh", "true", "false", "sleep", "cat", "echo", "id", "env", "tty", "stty", "pwd", "kill", "ls", "readlink", "touch"} {
		err = errors.Join(err, os.Symlink("busybox", filepath.Join(bin, applet)))
	}
	config := runtime.ExampleConfig(false, 0, 0)
	config.Process.Args, config.Process.Terminal = args, false
	config.Process.Rlimits = nil
	config.Root.Readonly = false
	if change != nil {
		change(config)
	}
	text, err2 := json.Marshal(config)
	err = errors.Join(err, err2, os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644))
	if err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// command is one call of berth-oci.
func (w *world) command(args ...string) *exec.Cmd {
	return exec.Command(w.exe, append([]string{"--root", w.root}, args...)...)
}

// try runs a command to its end.
func (w *world) try(args ...string) (stdout, stderr string, code int) {
	w.t.Helper()
	cmd := w.command(args...)
	out, err := w.output(cmd)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if err != nil && !ok {
		w.t.Fatalf("%v: %v", args, err)
	}
	if ok {
		code = exit.ExitCode()
	}
	return out[0], out[1], code
}

// output runs a command with files for its output: a container that goes on
// would keep a pipe open.
func (w *world) output(cmd *exec.Cmd) (out [2]string, err error) {
	w.t.Helper()
	var files [2]*os.File
	for i := range files {
		file, err := os.CreateTemp(w.dir, "output")
		if err != nil {
			w.t.Fatal(err)
		}
		defer file.Close()
		files[i] = file
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	err = cmd.Run()
	for i := range files {
		text, err := os.ReadFile(files[i].Name())
		if err != nil {
			w.t.Fatal(err)
		}
		out[i] = string(text)
	}
	return out, err
}

// run runs a command that must not fail, and gives its output.
func (w *world) run(args ...string) string {
	w.t.Helper()
	stdout, stderr, code := w.try(args...)
	if code != 0 {
		w.t.Fatalf("%v gives %d: %s%s", args, code, stdout, stderr)
	}
	return stdout
}

// fails runs a command that must fail with that code, and something in its errors.
func (w *world) fails(code int, want string, args ...string) {
	w.t.Helper()
	stdout, stderr, got := w.try(args...)
	stderr = strings.ReplaceAll(stderr, `\"`, `"`)
	if got != code || !strings.Contains(stderr, want) {
		w.t.Errorf("%v gives %d, want %d and %q:\n%s%s", args, got, code, want, stdout, stderr)
	}
}

func (w *world) state(id string) runtime.State {
	w.t.Helper()
	var s runtime.State
	if err := json.Unmarshal([]byte(w.run("state", id)), &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) want(id string, status runtime.Status) runtime.State {
	w.t.Helper()
	s := w.state(id)
	if s.Status != status {
		w.t.Fatalf("the container is %s, want %s", s.Status, status)
	}
	return s
}

// kill ends a container and waits until its process, our child, has ended.
func (w *world) kill(id string) {
	w.t.Helper()
	pid := w.state(id).PID
	w.run("kill", id, "KILL")
	w.ended(pid)
}

// ended waits for the end of a process that is our child, and reaps it.
func (w *world) ended(pid int) (code int) {
	w.t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer unix.Close(fd)
	w.readable(fd)
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil {
		w.t.Fatal(err)
	}
	return ws.ExitStatus()
}

// readable waits until a descriptor is.
func (w *world) readable(fd int) {
	w.t.Helper()
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	deadline := time.Now().Add(patience)
	for {
		n, err := unix.Poll(p, int(time.Until(deadline).Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			w.t.Fatal("what must come does not come")
		}
		return
	}
}

// shell runs a script in a directory.
func (w *world) shell(dir, script string) {
	w.t.Helper()
	cmd := exec.Command("/bin/sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// golden compares a text with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; look at the difference after go test -update:\n%s", file, got)
	}
}
