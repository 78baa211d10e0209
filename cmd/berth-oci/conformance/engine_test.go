package conformance

// What the tests of container engines share. Each engine runs in a sandbox, and
// so does the test: outside it runs its own binary there, once for each runtime.

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runtimeEnv names the runtime of an inner test by its path.
const runtimeEnv = "BERTH_CONFORMANCE_RUNTIME"

// engineDeadline bounds all that is done with one runtime.
const engineDeadline = 4 * time.Minute

// inSandboxes runs the calling test inside of a sandbox for each runtime that is
// here, and reports what it says. Inside it gives the runtime's path; outside "",
// and the test has nothing left to do.
func inSandboxes(t *testing.T, programs ...string) string {
	t.Helper()
	if path := os.Getenv(runtimeEnv); path != "" {
		return path
	}
	needRoot(t)
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("BERTH_NO_SKIP") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	place := newSandbox(t)
	// runc shows that the test is right before it judges berth-oci.
	for _, c := range []struct{ name, path string }{{"runc", find("runc")}, {"berth-oci", buildRuntime(t)}} {
		if c.path == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			out, err := place.run(command{
				Args: []string{self, "-test.v", "-test.run", "^" + strings.Split(t.Name(), "/")[0] + "$"},
				Env:  []string{runtimeEnv + "=" + c.path}, Dir: "/", Deadline: engineDeadline,
				// They leave caches and locks there, wherever they are told to have their state.
				Covered: []string{"/etc", "/var"},
			})
			switch {
			case err != nil:
				t.Fatal(err)
			case out.Late:
				t.Fatalf("not done after %v\n%s%s", engineDeadline, out.Stdout, out.Stderr)
			case out.Status != 0:
				t.Fatalf("%s%s", out.Stdout, out.Stderr)
			}
			t.Log(out.Stdout)
		})
	}
	return ""
}

func find(program string) string {
	path, err := exec.LookPath(program)
	if err != nil {
		return ""
	}
	return path
}

// busyboxRoot makes a small root file system.
func busyboxRoot(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for _, dir := range []string{"bin", "dev", "etc", "proc", "sys", "tmp", "data"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := os.ReadFile(find("busybox"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"bin/busybox": busybox,
		"etc/passwd":  []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n"),
		"etc/group":   []byte("root:x:0:\nuser:x:1000:\n"),
	} {
		if err := os.WriteFile(filepath.Join(root, name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sh", "cat", "echo", "id", "sleep", "touch", "true", "false", "tty", "stty", "test", "ls", "hostname", "grep", "readlink", "kill", "env"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// engine runs one command line after the other.
type engine struct {
	t    *testing.T
	base []string // the program and its global arguments
	env  []string
}

// result is what came of one command line.
type result struct {
	stdout, stderr string
	status         int
}

// try runs one, whatever its status.
func (e *engine) try(args ...string) result {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.base[0], append(e.base[1:len(e.base):len(e.base)], args...)...)
	cmd.Env = append(os.Environ(), e.env...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	// A daemon that it has left behind may hold its output open.
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		e.t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	if ctx.Err() != nil {
		e.t.Fatalf("%s: does not end\n%s%s", strings.Join(args, " "), stdout.String(), stderr.String())
	}
	return result{strings.TrimSpace(stdout.String()), stderr.String(), cmd.ProcessState.ExitCode()}
}

// do runs one that must succeed and gives its output.
func (e *engine) do(args ...string) string {
	e.t.Helper()
	r := e.try(args...)
	if r.status != 0 {
		e.t.Fatalf("%s: status %d\n%s\n%s", strings.Join(args, " "), r.status, r.stdout, r.stderr)
	}
	return r.stdout
}

// want runs one that must succeed with this output.
func (e *engine) want(output string, args ...string) {
	e.t.Helper()
	if got := e.do(args...); got != output {
		e.t.Errorf("%s: said %q, not %q", strings.Join(args, " "), got, output)
	}
}

// status runs one that must end with this status, and gives what it said.
func (e *engine) status(status int, args ...string) string {
	e.t.Helper()
	r := e.try(args...)
	if r.status != status {
		e.t.Errorf("%s: status %d, not %d\n%s\n%s", strings.Join(args, " "), r.status, status, r.stdout, r.stderr)
	}
	return r.stdout + r.stderr
}

// until runs one again and again until its output has a text.
func (e *engine) until(text string, args ...string) {
	e.t.Helper()
	var r result
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if r = e.try(args...); r.status == 0 && strings.Contains(r.stdout, text) {
			return
		}
	}
	e.t.Fatalf("%s: never says %q, but status %d\n%s\n%s", strings.Join(args, " "), text, r.status, r.stdout, r.stderr)
}

// startDaemon starts an engine's daemon and ends it with the test, which shows
// what the daemon has said if it fails.
func startDaemon(t *testing.T, program string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(program, args...)
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = daemon.Wait() // its status says nothing
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s says:\n%s", program, text)
		}
		log.Close()
	})
}

// of gives the same engine for a subtest.
func (e *engine) of(t *testing.T) *engine {
	c := *e
	c.t = t
	return &c
}

// expect reads a terminal until it has said a text.
func expect(t *testing.T, from *os.File, text string) {
	t.Helper()
	var said []byte
	buffer := make([]byte, 4096)
	end := time.Now().Add(30 * time.Second)
	for !strings.Contains(string(said), text) {
		poll := []unix.PollFd{{Fd: int32(from.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, int(time.Until(end).Milliseconds())); err == unix.EINTR {
			continue
		} else if n == 0 || time.Now().After(end) {
			t.Fatalf("the terminal does not say %q in time, but %q", text, said)
		}
		n, err := from.Read(buffer)
		said = append(said, buffer[:n]...)
		if err != nil {
			t.Fatalf("the terminal never says %q: %v\n%s", text, err, said)
		}
	}
}
