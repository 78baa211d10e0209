package examples

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// patience bounds every wait; nothing waits that long unless it fails.
const patience = 60 * time.Second

// binaries builds both programs, and that of the web example, once.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "berth-examples-")
	if err != nil {
		return "", err
	}
	for out, pkg := range map[string]string{
		filepath.Join(dir, "berthd"): "berth/cmd/berthd",
		filepath.Join(dir, "berth"):  "berth/cmd/berth",
	} {
		if text, err := goBuild(out, pkg); err != nil {
			return dir, fmt.Errorf("cannot build %s: %w\n%s", pkg, err, text)
		}
	}
	return dir, nil
})

func goBuild(out, pkg string) ([]byte, error) {
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return cmd.CombinedOutput()
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := binaries(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// needs skips a test without root or without a program of the machine.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	missing := ""
	if os.Getuid() != 0 {
		missing = "root"
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = p + " (make test installs it where apt is)"
		}
	}
	if missing == "" {
		return
	}
	if os.Getenv("BERTH_NO_SKIP") != "" {
		t.Fatal("needs " + missing)
	}
	t.Skip("needs " + missing)
}

// daemon is a berthd that runs one example as it is.
type daemon struct {
	*testing.T
	socket string
	api    *api.Client
}

// run starts berthd on an example and waits for its API. When the test is over
// it is stopped as an administrator does, and must have left nothing.
func run(t *testing.T, example string) *daemon {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	slice := "berth-example-" + example + ".slice"
	var log bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, "berthd"), "--units", example, "--slice", slice,
		"--config", filepath.Join(dir, "none.toml"), "--runtime-dir", filepath.Join(dir, "run"), "--state-dir", filepath.Join(dir, "state"))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("berthd: %v", err)
			}
		case <-time.After(patience):
			t.Errorf("berthd does not end within %s", patience)
			cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("berthd's log:\n%s", log.String())
		}
		nothingLeft(t, dir, slice)
	})
	d := &daemon{T: t, socket: filepath.Join(dir, "run", "berth.sock")}
	d.api = api.NewClient(d.socket)
	d.eventually("berthd answers", func() error {
		_, err := d.api.Daemon(context.Background())
		return err
	})
	return d
}

func nothingLeft(t *testing.T, dir, slice string) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Error(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("mounts are left below %s", dir)
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/" + slice)
	more, _ := filepath.Glob("/sys/fs/cgroup/*/" + slice)
	if groups = append(groups, more...); len(groups) > 0 {
		t.Errorf("control groups are left: %v", groups)
	}
}

// eventually tries until there is no error.
func (d *daemon) eventually(what string, try func() error) {
	d.Helper()
	for end := time.Now().Add(patience); ; {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			d.Fatalf("%s: not within %s: %v", what, patience, err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks, not for the event
	}
}

// phase waits until a unit is in a phase.
func (d *daemon) phase(unit string, phase core.Phase) *api.Status {
	d.Helper()
	var status *api.Status
	d.eventually(unit+" is "+string(phase), func() error {
		var err error
		status, err = d.api.Status(context.Background(), unit)
		if err == nil && status.Phase != phase {
			err = fmt.Errorf("it is %s: %s", status.Phase, status.Reason)
		}
		return err
	})
	return status
}

// berth runs the command line, which must succeed.
func (d *daemon) berth(args ...string) string {
	d.Helper()
	bin, _ := binaries()
	out, err := command(append([]string{filepath.Join(bin, "berth"), "--socket", d.socket}, args...)...)
	if err != nil {
		d.Fatal(err)
	}
	return out
}

// command runs a program and gives what it prints.
func command(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PGPASSWORD=berth-example", "PGCONNECT_TIMEOUT=5")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// prints waits until a client succeeds and prints a text.
func (d *daemon) prints(want string, args ...string) {
	d.Helper()
	d.eventually(args[0]+" is answered", func() error {
		out, err := command(args...)
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("it prints %q, without %q", out, want)
		}
		return err
	})
}
