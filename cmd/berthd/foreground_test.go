package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// foreground runs berth run and gives what it prints and its exit code.
func foreground(t *testing.T, in io.Reader, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t, "berth"), append([]string{"run"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("berth run %v: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// runUnit writes a unit file for berth run.
func runUnit(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "unit.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// runGroups gives the control groups that runs have now.
func runGroups(t *testing.T) string {
	t.Helper()
	var found []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), "berth-run-") {
			found = append(found, path)
			return filepath.SkipDir
		}
		return nil
	})
	return strings.Join(found, "\n")
}

// nothingLeft checks at the end of the test that it left nothing. Mounts are
// made in the namespaces of the processes, and end with them.
func nothingLeft(t *testing.T) {
	t.Helper()
	needRoot(t)
	t.Cleanup(func() {
		until(t, "groups and processes are gone", func() bool {
			return runGroups(t) == "" && len(running(t, "60606")) == 0
		})
	})
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) { // between two looks
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s\n%s", patience, what, runGroups(t))
		}
	}
}

// running gives the processes with a word in their command lines, zombies excluded.
func running(t *testing.T, word string) (pids []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if text, err := os.ReadFile(l); err == nil && strings.Contains(string(text), word) {
			pids = append(pids, filepath.Base(filepath.Dir(l)))
		}
	}
	return pids
}

func TestRun(t *testing.T) {
	nothingLeft(t)
	root := t.TempDir()
	hooks := runUnit(t, `[service]
command = ["/bin/sh", "-c", "until test -e /run/beside; do :; done; cat; exit 4"]
pre-start = [["/bin/echo", "before"]]
post-start = [["/bin/echo", "beside"], ["/bin/touch", "/run/beside"]]
post-stop = [["/bin/echo", "after"]]
[rootfs]
host = true
`)
	for _, c := range []struct {
		name      string
		in        string
		args      string
		code      int
		out, errs []string
	}{
		{"exit code", "", "--host -- sh -c exit\t7", 7, nil, nil},
		{"signal", "", "--host -- sh -c kill\t-9\t$$&&exit\t0", 0, nil, nil}, // an init cannot kill itself
		{"signal below an init", "", "--host --init -- sh -c kill\t-9\t$$", 137, nil, nil},
		{"input", "some words", "--host -- cat", 0, []string{"some words"}, nil},
		{"keys", "", "--host -u nobody -w /usr --hostname box --pids-max 16 -e A=x=y -- sh -c id\t-un;pwd;hostname;echo\t$A;echo\te>&2;echo\tagain>/dev/stdout", 0,
			[]string{"nobody\n/usr\nbox\nx=y\nagain\n"}, []string{"e\n"}},
		{"writable", "", "--host --writable ephemeral -- sh -c echo\tx>/usr/y&&cat\t/usr/y", 0, []string{"x\n"}, nil},
		{"not writable", "", "--host -- sh -c echo\tx>/usr/y", 2, nil, []string{"Read-only file system"}},
		{"mount", "", "--host --mount " + filepath.Dir(hooks) + ":/tmp/m:ro -- ls /tmp/m", 0, []string{"unit.toml\n"}, nil},
		{"set", "", "--host --set security.seccomp=\"unconfined\" -- grep Seccomp: /proc/self/status", 0, []string{"Seccomp:\t0"}, nil},
		{"isolated", "", "--host -- sh -c ls\t-d\t/proc/[0-9]*|wc\t-l;grep\tSeccomp:\t/proc/self/status", 0, []string{"Seccomp:\t2"}, nil},
		{"hooks", "words\n", hooks, 4, []string{"before\n", "beside\n", "after\n"}, nil},
		{"another command", "", hooks + " -- echo other", 0, []string{"before\n", "other\n", "after\n"}, nil},
		{"failing pre-start", "", hooks + " --set service.pre-start=[[\"/bin/false\"]]", 1, []string{"after\n"}, []string{"pre-start command 1): exited with status 1"}},
		{"failing post-stop", "", hooks + " --set service.post-stop=[[\"/bin/false\"]] -- true", 1, nil, []string{"post-stop command 1", "exited with status 1"}},
		{"out of memory", "", "--host --memory-max 16M -- sh -c x=$(head\t-c\t100000000\t/dev/zero|tr\t'\\0'\ta);echo\tlived", 137, nil, []string{"out of memory"}},
		{"no such command", "", "--host -- nothere", 127, nil, []string{"nothere"}},
		{"no such root", "", "--rootfs " + root + "/none -- x", 1, nil, []string{"no such file"}},
		{"an empty root", "", "--rootfs " + root + " -- x", 1, nil, []string{"berth: cannot start"}},
		{"no command", "", "--host", 5, nil, []string{"service.command is missing"}},
		{"bad key", "", "--host --memory-max lots -- true", 5, nil, []string{"(command line)", "not a size"}},
		{"usage", "", "", 2, nil, []string{"berth help run"}},
		{"two roots", "", "--host --rootfs / -- true", 2, nil, []string{"exclude"}},
		{"joins a unit", "", "--host --network unit:web -- true", 1, nil, []string{"only berthd runs"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := strings.Fields(strings.ReplaceAll(c.args, "\t", "\x00"))
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "\x00", " ")
			}
			out, errs, code := foreground(t, strings.NewReader(c.in), args...)
			for _, want := range c.out {
				if !strings.Contains(out, want) {
					t.Errorf("it does not print %q", want)
				}
			}
			for _, want := range c.errs {
				if !strings.Contains(errs, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			if code != c.code || t.Failed() {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.code, out, errs)
			}
		})
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 10<<20/16)
	for command, want := range map[string]int{"berth-no-such-command": 127, "/no/such/command": 127, "/etc/passwd": 126} {
		if _, errs, code := foreground(t, strings.NewReader(""), "--host", "--", command); code != want || errs == "" {
			t.Errorf("run of %s: exit code %d, err %q", command, code, errs)
		}
	}
	if out, errs, code := foreground(t, bytes.NewReader(big), "--host", "--", "cat"); code != 0 || out != string(big) {
		t.Errorf("10 MB through cat: exit code %d, %d bytes\n%s", code, len(out), errs)
	}
}

// startRun starts a run of a shell script and waits for its "up".
func startRun(t *testing.T, script string, flags ...string) (*exec.Cmd, *lockedBuffer) {
	t.Helper()
	cmd := exec.Command(binary(t, "berth"), append(append([]string{"run", "--host"}, flags...), "--", "sh", "-c", script)...)
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // if the test has failed
	until(t, "the program is up", func() bool { return strings.Contains(out.String(), "up\n") })
	return cmd, out
}

func TestRunSignals(t *testing.T) {
	nothingLeft(t)
	for _, c := range []struct {
		script string
		signal syscall.Signal
		code   int
		flags  []string
	}{
		{"echo up; exec sleep 60606", syscall.SIGTERM, 143, nil}, // an init that never thought of it
		{"echo up; exec sleep 60606", syscall.SIGINT, 130, nil},
		{"echo up; exec sleep 60606", syscall.SIGHUP, 129, nil},
		{"trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done", syscall.SIGTERM, 5, nil},
		{"trap 'exit 6' USR1; echo up; while :; do sleep 0.01; done", syscall.SIGUSR1, 6, nil},
		{"echo up; exec sleep 60606", syscall.SIGTERM, 143, []string{"--set", `namespaces.pid="host"`}},
		{"trap '' TERM; echo up; while :; do sleep 60606; done", syscall.SIGTERM, 137, []string{"--set", `stop.timeout="100ms"`}},
	} {
		cmd, out := startRun(t, c.script, c.flags...)
		if err := cmd.Process.Signal(c.signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // the code tells
		if code := cmd.ProcessState.ExitCode(); code != c.code {
			t.Errorf("%q after %v: exit code %d, want %d\n%s", c.script, c.signal, code, c.code, out)
		}
	}
}

// A killed berth takes all of its container along, also processes that no PID
// namespace holds together.
func TestRunKilled(t *testing.T) {
	nothingLeft(t)
	for _, pid := range []string{"new", "host"} {
		cmd, _ := startRun(t, "sleep 60606 & setsid sleep 60606 & echo up; wait", "--set", `namespaces.pid="`+pid+`"`)
		if len(running(t, "60606")) < 2 || runGroups(t) == "" {
			t.Errorf("with pid = %s there is nothing to be left", pid)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		until(t, "all is gone", func() bool { return len(running(t, "60606")) == 0 && runGroups(t) == "" })
	}
}

func TestRunTerminal(t *testing.T) {
	nothingLeft(t)
	cmd := exec.Command(binary(t, "berth"), "run", "--host", "--", "sh")
	onTerminal(t, cmd, func(tty *os.File, seen func(string)) { jobControl(tty, "/dev/console", seen) })
	if code := cmd.ProcessState.ExitCode(); code != 6 {
		t.Errorf("exit code %d, want 6", code)
	}
	cmd = exec.Command(binary(t, "berth"), "run", "-t", "--host", "--", "sh")
	cmd.Stdin = strings.NewReader("tty; exit 3\n")
	if out, _ := cmd.Output(); !strings.Contains(string(out), "/dev/console") || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("-t with a pipe: %v %q", cmd.ProcessState, out)
	}
}
