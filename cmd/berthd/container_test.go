package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/isolate/vmtest"

	"golang.org/x/sys/unix"
)

// inner is a berthd that is PID 1 of a container: a PID and a mount namespace.
type inner struct {
	t     *testing.T
	dir   string
	cmd   *exec.Cmd
	log   *lockedBuffer
	ended chan struct{}
	slice string
	// programs is the directory of berthd and berth, a mount point inside.
	programs string
}

// startInner runs one on unit files by name, and waits until the named unit runs.
func startInner(t *testing.T, settings string, files map[string]string, runs string) *inner {
	t.Helper()
	needRoot(t)
	c := &inner{t: t, dir: t.TempDir(), log: &lockedBuffer{}, ended: make(chan struct{})}
	for dir := c.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.slice = "berthd-test-" + strings.ReplaceAll(strings.ToLower(filepath.Base(filepath.Dir(c.dir))), "+", "") + ".slice"
	if err := os.Mkdir(filepath.Join(c.dir, "units"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		text += "[[mount]]\nsource = '" + c.dir + "'\ntarget = '/run/shared'\n"
		if err := os.WriteFile(filepath.Join(c.dir, "units", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(c.dir, "berthd.toml"), []byte("[daemon]\n"+settings+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.programs = filepath.Dir(binary(t, "berthd"))
	c.cmd = exec.Command("/bin/sh", "-c", `mount --make-rprivate / && mount -t proc proc /proc && mount --bind "$0" "$0" && exec "$@"`, c.programs,
		binary(t, "berthd"), "--config", filepath.Join(c.dir, "berthd.toml"), "--units", filepath.Join(c.dir, "units"),
		"--runtime-dir", filepath.Join(c.dir, "run"), "--state-dir", filepath.Join(c.dir, "state"), "--slice", c.slice)
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if group := place(t); group != nil {
		defer group.Close()
		c.cmd.SysProcAttr.UseCgroupFD, c.cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = c.cmd.Wait(); close(c.ended) }()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended
		<-c.ended
		if t.Failed() {
			t.Logf("berthd's log:\n%s", tail(c.log.String(), 16<<10))
		}
		// Its end is that of all its processes, but not of their groups.
		out, _ := exec.Command("find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/"+c.slice+"*").Output()
		for _, dir := range strings.Fields(string(out)) {
			_ = os.Remove(dir)
		}
	})
	c.eventually("the unit "+runs+" runs", func() bool {
		out, _ := c.berth("list")
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == runs && f[1] == "running" {
				return true
			}
		}
		return false
	})
	return c
}

func (c *inner) eventually(what string, holds func() bool) {
	c.t.Helper()
	for late := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) { // between two looks
		if time.Now().After(late) {
			c.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// berth runs the command line inside.
func (c *inner) berth(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(c.cmd.Process.Pid), "--pid", "--mount", "--",
		binary(c.t, "berth"), "--socket", filepath.Join(c.dir, "run/berth.sock")}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// supervisor gives the supervisor's process id outside; 0: there is none just now.
func (c *inner) supervisor() int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", c.cmd.Process.Pid))
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", c.cmd.Process.Pid))
	for _, path := range tasks {
		more, _ := os.ReadFile(path)
		text = append(append(text, ' '), more...)
	}
	for _, pid := range strings.Fields(string(text)) {
		if line, _ := os.ReadFile("/proc/" + pid + "/cmdline"); strings.Contains(string(line), roleSupervisor) {
			n, _ := strconv.Atoi(pid)
			return n
		}
	}
	return 0
}

// end waits for its end and gives how it ended.
func (c *inner) end() syscall.WaitStatus {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.t.Fatal("berthd goes on")
	}
	return c.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// stops is a unit that tells when it was stopped in order, and how often.
func stops(rest string) string {
	return sh("trap 'echo stopped >>/run/shared/stopped; "+rest+"exit 0' TERM; while :; do sleep 0.05; done", "[stop]", "timeout = '60s'")
}

// What makes PID 1 of a container end, and how its engine sees that.
func TestContainerEnds(t *testing.T) {
	signals := map[string]unix.Signal{"TERM": unix.SIGTERM, "INT": unix.SIGINT, "RTMIN+3": 37}
	for _, c := range []struct {
		by, settings string
		code         int
		signal       syscall.Signal
		unordered    bool
	}{
		{by: "TERM"}, {by: "INT"}, {by: "RTMIN+3"}, {by: "poweroff"}, {by: "halt"},
		{by: "reboot", signal: unix.SIGHUP},
		{by: "poweroff --force", unordered: true},
		{by: "its exit unit", settings: "exit-unit = 'job'", code: 7},
		{by: "TERM with a wedged unit", settings: "shutdown-timeout = '1s'"},
	} {
		t.Run(c.by, func(t *testing.T) {
			units := map[string]string{"web.toml": stops("")}
			switch {
			case c.settings == "":
			case strings.HasPrefix(c.settings, "exit-unit"):
				units["job.toml"] = sh("until [ -e /run/shared/go ]; do sleep 0.05; done; exit 7", "[restart]", "policy = 'never'")
			default:
				units["wedged.toml"] = sh(`trap "" TERM; while :; do sleep 1; done`, "[[stop.steps]]", "signal = 'TERM'", "wait = 'infinity'")
			}
			b := startInner(t, c.settings, units, "web")
			word, _, _ := strings.Cut(c.by, " ")
			if sig, ok := signals[word]; ok {
				if err := b.cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			} else if word == "its" {
				if err := os.WriteFile(filepath.Join(b.dir, "go"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if out, err := b.berth(append(strings.Fields(c.by), "--no-wait")...); err != nil {
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Exited() { // it may go down with the rest
					t.Errorf("berth %s: %v: %s", c.by, err, out)
				}
			}
			status := b.end()
			if c.signal != 0 && status.Signal() != c.signal || c.signal == 0 && (!status.Exited() || status.ExitStatus() != c.code) {
				t.Errorf("it ended with %#x, want code %d, signal %d", status, c.code, c.signal)
			}
			text, _ := os.ReadFile(filepath.Join(b.dir, "stopped"))
			if stopped := string(text) == "stopped\n"; !stopped && !c.unordered {
				t.Errorf("the unit was not stopped in order: %q", text)
			}
		})
	}
}

// Who asks for a shutdown is told what it waits for, until everything ends.
func TestShutdownTellsWhatItWaitsFor(t *testing.T) {
	b := startInner(t, "", map[string]string{"web.toml": stops("sleep 3; ")}, "web")
	begun, err := b.berth("poweroff", "--no-wait")
	if err != nil {
		t.Errorf("%v: %s", err, begun)
	}
	if out, err := b.berth("status"); err != nil || !strings.Contains(out, "shutting down, to exit, asked for by root (") {
		t.Errorf("berth status: %v: %s", err, out)
	}
	out, err := b.berth("halt") // which comes to the same in a container
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Exited() { // it may go down with the rest
			t.Errorf("%v", err)
		}
	}
	for _, text := range []string{"exit: 1 unit is being stopped, at most until ", "waiting for web: sent TERM, KILL to all its processes at "} {
		if !strings.Contains(out, text) {
			t.Errorf("nothing of %q in\n%s", text, out)
		}
	}
	if status := b.end(); !status.Exited() || status.ExitStatus() != 0 {
		t.Errorf("it ended with %#x", status)
	}
}

// A last stage that cannot be executed is no reason to stay for ever.
func TestLastStageCannotRun(t *testing.T) {
	b := startInner(t, "", map[string]string{"web.toml": stops("")}, "web")
	// Nothing can be executed from there any more.
	enter := []string{"--target", strconv.Itoa(b.cmd.Process.Pid), "--pid", "--mount", "--", "/bin/sh", "-c"}
	script := fmt.Sprintf("%s --socket %s/run/berth.sock reboot --no-wait && mount -o remount,bind,noexec %s", binary(t, "berth"), b.dir, b.programs)
	if out, err := exec.Command("nsenter", append(enter, script)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if status := b.end(); status.Signal() != unix.SIGHUP || !strings.Contains(b.log.String(), "restarts without the last stage") {
		t.Errorf("it ended with %#x", status)
	}
}

// What only a machine can do is refused, and nothing is stopped for it.
func TestContainerRefuses(t *testing.T) {
	b := startInner(t, "", map[string]string{"web.toml": stops("")}, "web")
	for _, action := range []string{"kexec", "soft-reboot"} {
		if out, err := b.berth(action); err == nil || !strings.Contains(out, "PID 1 of a container, not of a machine") {
			t.Errorf("berth %s: %v: %s", action, err, out)
		}
	}
	if out, err := b.berth("status", "web"); err != nil || !strings.Contains(out, "running") {
		t.Errorf("%v: %s", err, out)
	}
}

// A shutdown goes on whenever its supervisor dies: the action, the stops and
// their limits are in the state that the next one takes over.
func TestShutdownSurvivesSupervisor(t *testing.T) {
	for i := range 6 {
		after := time.Duration(i) * 150 * time.Millisecond
		t.Run(after.String(), func(t *testing.T) {
			b := startInner(t, "", map[string]string{
				"web.toml": stops("sleep 0.6; ") + "[unit]\nafter = ['db']\n",
				"db.toml":  sh("trap 'sleep 0.3; echo db >>/run/shared/stopped; exit 0' TERM; while :; do sleep 0.05; done", "[stop]", "timeout = '60s'"),
			}, "web")
			if out, err := b.berth("reboot", "--no-wait"); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			killed := 0
			for begin := time.Now(); time.Since(begin) < after+300*time.Millisecond; {
				if time.Since(begin) < after {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				if pid := b.supervisor(); pid != 0 && unix.Kill(pid, unix.SIGKILL) == nil {
					killed++
				}
				time.Sleep(50 * time.Millisecond)
			}
			if status := b.end(); status.Signal() != unix.SIGHUP {
				t.Errorf("it ended with %#x", status)
			}
			text, _ := os.ReadFile(filepath.Join(b.dir, "stopped"))
			// A signal that a supervisor has sent and died over is sent again.
			if !regexp.MustCompile(`^(stopped\n)+(db\n)+$`).Match(text) {
				t.Errorf("the units have told %q, %d supervisors were killed", text, killed)
			}
			t.Logf("%d supervisors were killed", killed)
		})
	}
}

// TestPodman runs berthd as PID 1 of podman's containers, with the rights that
// docs/howto.md names and with fewer.
func TestPodman(t *testing.T) {
	needRoot(t)
	if vmtest.Current() != "" || os.Getenv(rootlessPrograms) != "" {
		return // there is none
	}
	for _, name := range []string{"podman", "runc", "busybox", "tar"} {
		if _, err := exec.LookPath(name); err != nil {
			vmtest.SkipOrFail(t, err)
		}
	}
	dir := t.TempDir()
	base := []string{"--root", dir + "/root", "--runroot", dir + "/runroot", "--tmpdir", dir + "/tmp", "--storage-driver", "vfs",
		"--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc"}
	podman := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "podman", append(base, args...)...)
		cmd.Env = append(os.Environ(), "DISABLE_HC_SYSTEMD=true")
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	image := filepath.Join(dir, "image")
	script := fmt.Sprintf(`set -e
mkdir -p %[1]s && cd %[1]s && mkdir -p bin etc/berth/units usr/sbin tmp var/tmp proc sys dev run root
chmod 1777 tmp var/tmp
cp "$(command -v busybox)" bin/busybox
for name in sh sleep cat; do ln -s busybox bin/$name; done
cp %[2]s usr/sbin/berthd && cp %[3]s bin/berth
echo root:x:0:0::/root:/bin/sh >etc/passwd
echo root:x:0: >etc/group
tar -cf ../image.tar .`, image, binary(t, "berthd"), binary(t, "berth"))
	if err := os.MkdirAll(filepath.Join(image, "etc/berth/units"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"web.toml": sh("echo up; trap 'echo down; exit 0' TERM; while :; do sleep 0.05; done", "[log]", "target = 'console'"),
	} {
		if err := os.WriteFile(filepath.Join(image, "etc/berth/units", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("/bin/sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := podman("import", "--quiet", "--change", `ENTRYPOINT ["/usr/sbin/berthd", "--units", "/etc/berth/units"]`, dir+"/image.tar", "image"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	few := []string{"--security-opt", "seccomp=unconfined", "--security-opt", "unmask=ALL"}
	for _, c := range []struct {
		name   string
		rights []string
		end    []string // of podman; nil: stop
		code   string
		fails  string // what the unit's failure says; "": it runs
	}{
		{name: "privileged", rights: []string{"--privileged"}, code: "0"},
		{name: "privileged-read-only", rights: []string{"--privileged", "--read-only", "--read-only-tmpfs=false"}, code: "0"},
		{name: "root", rights: few, code: "0"},
		{name: "user", rights: append([]string{"--user", "1000:1000", "--cap-drop", "all"}, few...), code: "0"},
		{name: "user-read-only", rights: append([]string{"--user", "1000:1000", "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp"}, few...), code: "0"},
		{name: "poweroff", rights: few, end: []string{"berth", "poweroff", "--no-wait"}, code: "0"},
		{name: "reboot", rights: few, end: []string{"berth", "reboot", "--no-wait"}, code: "129"},
		{name: "none", code: "0", fails: "operation not permitted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"run", "--detach", "--name", c.name, "--network", "host", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=20000:20000"}, c.rights...)
			if out, err := podman(append(args, "image")...); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			t.Cleanup(func() {
				if t.Failed() {
					out, _ := podman("logs", c.name)
					t.Logf("the log:\n%s", out)
				}
				if out, err := podman("rm", "--force", "--time", "0", c.name); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
			want, last := "running", ""
			if c.fails != "" {
				want = c.fails
			}
			for late := time.Now().Add(patience); !strings.Contains(last, want); time.Sleep(50 * time.Millisecond) { // between two looks
				if time.Now().After(late) {
					t.Fatalf("berth list never said %q: %s", want, last)
				}
				last, _ = podman("exec", c.name, "berth", "list")
			}
			end := []string{"stop", "--time", "30", c.name}
			if c.end != nil {
				end = append([]string{"exec", c.name}, c.end...)
			}
			out, err := podman(end...)
			if err != nil && c.end == nil { // an exec may go down with the rest
				t.Errorf("%v: %s", err, out)
			}
			if code, err := podman("wait", c.name); err != nil || code != c.code {
				t.Errorf("exit code %s, %v, want %s", code, err, c.code)
			}
			log, err := podman("logs", c.name)
			if err != nil || c.fails == "" && !strings.Contains(log, "everything is down") {
				t.Errorf("%v: it was not stopped in order", err)
			}
		})
	}
}
