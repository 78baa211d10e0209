package main

// The tests of this package run the real programs on the real kernel: berthd
// with unit files in a directory of the test's own, and berth against it.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/isolate/vmtest"
	"berth/supervisor/api"
	"berth/supervisor/core"
)

// patience bounds every wait; it is long because CI machines are slow, and
// nothing waits that long unless it fails.
const patience = 60 * time.Second

// programs builds berthd and berth into a directory. In the virtual machine they
// are there.
var programs = sync.OnceValues(func() (string, error) {
	if vmtest.Current() != "" {
		return guestPrograms, nil
	}
	if dir := os.Getenv(rootlessPrograms); dir != "" {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "berth-programs-")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"berthd", "berth"} {
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, name), "berth/cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if raceDetector && name == "berthd" {
			build = exec.Command("go", "build", "-race", "-o", filepath.Join(dir, name), "berth/cmd/"+name)
			build.Env = append(os.Environ(), "CGO_ENABLED=1")
		}
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot build %s: %w\n%s", name, err, out)
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	vmtest.Main(stages)
	code := m.Run()
	if dir, err := programs(); err == nil && dir != guestPrograms && dir != os.Getenv(rootlessPrograms) {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// binary gives the path of a program, built once for all tests.
func binary(t testing.TB, name string) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 && os.Getenv(rootlessPrograms) == "" {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
}

// daemon is one running berthd.
type daemon struct {
	t       testing.TB
	dir     string // everything of it lies here
	units   string
	cgroup  string // the slice's name in every hierarchy
	cmd     *exec.Cmd
	log     *lockedBuffer
	program string   // the daemon's file; "": the one built for all tests
	before  []string // a command that executes the daemon, which is put behind it
	ended   chan struct{}
	api     *api.Client
}

// start runs a berthd on the unit files given by name ("web.toml" or
// "web.toml.d/x.toml") and text, and waits for its API. At the end of the test
// it is stopped, and nothing of it may be left.
func start(t testing.TB, files map[string]string, flags ...string) *daemon {
	t.Helper()
	return startIn(t, nil, files, flags...)
}

// startIn is start with a command before the daemon's own, which it executes.
func startIn(t testing.TB, before []string, files map[string]string, flags ...string) *daemon {
	t.Helper()
	return startWith(t, before, files, func(*daemon) {}, flags...)
}

// startWith is startIn with something to be done before the daemon runs.
func startWith(t testing.TB, before []string, files map[string]string, prepare func(*daemon), flags ...string) *daemon {
	t.Helper()
	needRoot(t)
	d := &daemon{t: t, dir: t.TempDir(), before: before}
	d.fresh()
	// Users inside containers must be able to pass through what is bound from here.
	for dir := d.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.units = filepath.Join(d.dir, "units")
	if err := os.Mkdir(d.units, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		d.write(name, text)
	}
	prepare(d)
	d.run(flags...)
	return d
}

// fresh makes a daemon ready to run, for the first time or once more.
func (d *daemon) fresh() { d.log, d.ended = &lockedBuffer{}, make(chan struct{}) }

// run starts the daemon's process.
func (d *daemon) run(flags ...string) {
	d.t.Helper()
	d.cgroup = "berthd-test-" + strings.ToLower(filepath.Base(filepath.Dir(d.dir))) + ".slice"
	args := append([]string{
		"--config", filepath.Join(d.dir, "berthd.toml"),
		"--runtime-dir", filepath.Join(d.dir, "run"), "--state-dir", filepath.Join(d.dir, "state"),
		"--slice", d.cgroup, "--log-level", "debug",
	}, flags...)
	if len(flags) == 0 || !strings.Contains(strings.Join(flags, " "), "--units") {
		args = append(args, "--units", d.units)
	}
	program := d.program
	if program == "" {
		program = binary(d.t, "berthd")
	}
	args = slices.Concat(d.before, []string{program}, args)
	d.cmd = exec.Command(args[0], args[1:]...)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	// A test that is killed leaves no daemon behind, and no units.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if group := place(d.t); group != nil {
		defer group.Close()
		d.cmd.SysProcAttr.UseCgroupFD, d.cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() { _ = d.cmd.Wait(); close(d.ended) }()
	d.api = api.NewClient(d.socket())
	d.t.Cleanup(func() {
		d.stop()
		if _, race, found := strings.Cut(d.log.String(), "WARNING: DATA RACE"); found {
			d.t.Errorf("a data race: %s", race[:min(len(race), 8<<10)])
		}
		if d.t.Failed() {
			d.t.Logf("berthd's log:\n%s", tail(d.log.String(), 16<<10))
		}
		if left := d.leftovers(); left != "" {
			d.t.Errorf("something is left:\n%s", left)
		}
	})
	d.eventually("berthd answers", func() bool {
		select {
		case <-d.ended:
			d.t.Fatalf("berthd ended: %v\n%s", d.cmd.ProcessState, d.log)
		default:
		}
		_, err := d.api.Daemon(context.Background())
		return err == nil
	})
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

func (d *daemon) socket() string { return filepath.Join(d.dir, "run", "berth.sock") }

// stop ends the daemon as an administrator does, by SIGTERM.
func (d *daemon) stop() {
	d.t.Helper()
	select {
	case <-d.ended:
		return
	default:
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(patience):
		d.t.Errorf("berthd did not end within %s", patience)
		_ = d.cmd.Process.Kill()
		<-d.ended
	}
}

// write replaces a unit file at once, as an editor does.
func (d *daemon) write(name, text string) {
	d.t.Helper()
	path := filepath.Join(d.units, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.t.Fatal(err)
	}
	tmp := filepath.Join(filepath.Dir(path), ".new")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		d.t.Fatal(err)
	}
}

// berth runs the command line and gives what it prints and its exit code.
func (d *daemon) berth(args ...string) (stdout, stderr string, code int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(d.t, "berth"), args...)
	cmd.Env = append(os.Environ(), "BERTH_SOCKET="+d.socket())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatalf("berth %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// ok runs the command line, which must succeed, and gives what it prints.
func (d *daemon) ok(args ...string) string {
	d.t.Helper()
	out, errs, code := d.berth(args...)
	if code != 0 {
		d.t.Fatalf("berth %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// status gives a unit's state by the API.
func (d *daemon) status(unit string) *api.Status {
	d.t.Helper()
	st, err := d.api.Status(context.Background(), unit)
	if err != nil {
		d.t.Fatalf("status of %s: %v", unit, err)
	}
	return st
}

// wait waits until a unit is in a phase.
func (d *daemon) wait(unit string, phase core.Phase) *api.Status {
	d.t.Helper()
	var st *api.Status
	d.eventually(fmt.Sprintf("%s is %s", unit, phase), func() bool {
		got, err := d.api.Status(context.Background(), unit)
		if err != nil {
			return false
		}
		st = got
		return st.Phase == phase
	}, func() string { text, _ := json.Marshal(st); return string(text) })
	return st
}

// logs gives a unit's log lines.
func (d *daemon) logs(unit string) []string {
	d.t.Helper()
	entries, err := d.api.Logs(context.Background(), api.LogQuery{Units: []string{unit}, Lines: -1})
	if err != nil {
		d.t.Fatalf("logs of %s: %v", unit, err)
	}
	var lines []string
	for e, err := range entries {
		if err != nil {
			d.t.Fatalf("logs of %s: %v", unit, err)
		}
		lines = append(lines, e.Text)
	}
	return lines
}

// eventually looks again and again until the condition holds.
func (d *daemon) eventually(what string, holds func() bool, state ...func() string) {
	d.t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			text := ""
			for _, s := range state {
				text += "\n" + s()
			}
			d.t.Fatalf("not within %s: %s%s", patience, what, text)
		}
		time.Sleep(5 * time.Millisecond) // between two looks, not for the event
	}
}

// leftovers tells what this berthd could have left on the machine: mounts, and
// control groups.
func (d *daemon) leftovers() string {
	d.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		d.t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, d.cgroup) || strings.Contains(line, d.dir) {
			out.WriteString(line)
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() && e.Name() == d.cgroup {
			out.WriteString(path + "\n")
			return filepath.SkipDir
		}
		return nil
	})
	return out.String()
}

// sh is a unit file that runs a shell script on the host's root.
func sh(script string, more ...string) string {
	return "[service]\ncommand = ['/bin/sh', '-c', '''" + script + "''']\n[rootfs]\nhost = true\n" + strings.Join(more, "\n") + "\n"
}
