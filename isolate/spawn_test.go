package isolate

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("this test needs root, and nothing may be skipped")
		}
		t.Skip("needs root: it makes containers")
	}
}

// hostSpec is a container on the host's root with everything of its own.
func hostSpec(args ...string) *Spec {
	return &Spec{
		Name:    "test",
		RootFS:  RootFS{Host: true},
		Process: Process{Args: args, NoNewPrivileges: true, Umask: 0o22},
	}
}

func shell(script string) *Spec { return hostSpec("/bin/sh", "-c", script) }

// start runs a Spec to its end and gives what it wrote.
func start(t testing.TB, spec *Spec, f Files) (out string, ws unix.WaitStatus, err error) {
	t.Helper()
	p, err := Compile(spec)
	if err != nil {
		return "", 0, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f.Stdout, f.Stderr = w, w
	prep, err := Prepare(p, f)
	if err != nil {
		w.Close()
		return "", 0, err
	}
	child, err := Spawn(prep)
	w.Close()
	prep.Close()
	if err != nil {
		return "", 0, err
	}
	var buf bytes.Buffer
	io.Copy(&buf, r)
	ws, err = child.Wait()
	return buf.String(), ws, err
}

// run is start for a Spec that must work.
func run(t testing.TB, spec *Spec) string {
	t.Helper()
	out, ws, err := start(t, spec, Files{})
	if err != nil {
		var step *StepError
		if errors.As(err, &step) {
			t.Fatalf("%v (hint: %s)", err, step.Hint)
		}
		t.Fatal(err)
	}
	if !ws.Exited() || ws.ExitStatus() != 0 {
		t.Fatalf("it ended with %#x and wrote:\n%s", uint32(ws), out)
	}
	return strings.TrimSuffix(out, "\n")
}

func TestHostContainer(t *testing.T) {
	needRoot(t)
	out := run(t, shell("id; ls -la /dev /proc /sys/firmware /tmp /run /home /root; cat /proc/self/mountinfo; cat /proc/self/status; env; ls -l /proc/self/fd; ip a; cat /etc/shadow"))
	t.Log(out)
}
