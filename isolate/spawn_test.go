package isolate

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// pathSpec is a container on a directory of its own that has the host's programs mounted on it.
func pathSpec(t testing.TB, script string) *Spec {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"usr", "proc", "sys", "dev", "etc", "run"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	spec := shell(script)
	spec.RootFS = RootFS{Path: root}
	spec.Mounts = []Mount{{Type: Bind, Source: "/usr", Target: "/usr", ReadOnly: true}}
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if to, err := os.Readlink("/" + d); err == nil {
			if err := os.Symlink(to, filepath.Join(root, d)); err != nil {
				t.Fatal(err)
			}
		} else if _, err := os.Stat("/" + d); err == nil {
			if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
				t.Fatal(err)
			}
			spec.Mounts = append(spec.Mounts, Mount{Type: Bind, Source: "/" + d, Target: "/" + d, ReadOnly: true})
		}
	}
	return spec
}

// prepared compiles and prepares a Spec with no files of its own. It is closed at
// the test's end, if not before.
func prepared(t testing.TB, spec *Spec) *Prepared {
	t.Helper()
	p, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	prep, err := Prepare(p, Files{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(prep.Close)
	return prep
}

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
	return runWith(t, spec, Files{})
}

func runWith(t testing.TB, spec *Spec, f Files) string {
	t.Helper()
	out, ws, err := start(t, spec, f)
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

// fails is start for a Spec of which a step must fail.
func fails(t testing.TB, spec *Spec) *StepError {
	t.Helper()
	out, ws, err := start(t, spec, Files{})
	var step *StepError
	if !errors.As(err, &step) {
		t.Fatalf("want a *StepError, have %v (status %#x, output %q)", err, uint32(ws), out)
	}
	return step
}

// equal compares what a container wrote with what it should have.
func equal(t testing.TB, what, have, want string) {
	t.Helper()
	if have != want {
		t.Errorf("%s: have\n%s\nwant\n%s", what, have, want)
	}
}

// field is the value of a "Name:\tvalue" line.
func field(t testing.TB, text, name string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("no field %s in\n%s", name, text)
	return ""
}

func deadline() time.Time { return time.Now().Add(20 * time.Second) }

func asStep(err error, step **StepError) bool { return errors.As(err, step) }
