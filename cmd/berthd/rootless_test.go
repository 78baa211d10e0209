package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// rootless is a berthd of an ordinary user, who needs no entry anywhere.
type rootless struct {
	*daemon
	cred *syscall.Credential
	env  []string
}

const ordinaryUser = 1000

// startRootless starts one with the XDG directories below the test's, in the
// control group given, or in the test's own, which is not delegated to the user.
func startRootless(t *testing.T, group *os.File, files map[string]string) *rootless {
	t.Helper()
	r := makeRootless(t, files)
	r.begin(group)
	return r
}

// makeRootless is startRootless up to the daemon's start.
func makeRootless(t *testing.T, files map[string]string) *rootless {
	t.Helper()
	needRoot(t)
	r := &rootless{&daemon{t: t, dir: t.TempDir()}, &syscall.Credential{Uid: ordinaryUser, Gid: ordinaryUser}, nil}
	for dir := r.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.fresh()
	r.env = append(os.Environ(), "HOME="+r.dir, "XDG_RUNTIME_DIR="+filepath.Join(r.dir, "runtime"), "XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "XDG_DATA_HOME=", "BERTH_SOCKET=")
	r.units = filepath.Join(r.dir, ".config/berth/units")
	if err := os.MkdirAll(r.units, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		r.write(name, text)
	}
	for _, name := range []string{"berth", "berthd"} { // where the user can reach them
		text, err := os.ReadFile(binary(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.dir, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(r.dir, "runtime"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", ordinaryUser, ordinaryUser), r.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r.cgroup = "berthd-test-" + strings.ToLower(filepath.Base(filepath.Dir(r.dir))) + ".slice"
	return r
}

// begin starts the daemon, by root in a mount namespace of its own with a command
// before it, which becomes the user, if there is one.
func (r *rootless) begin(group *os.File, before ...string) {
	t := r.t
	t.Helper()
	args := append(before, filepath.Join(r.dir, "berthd"), "--slice", r.cgroup, "--log-level", "debug")
	r.cmd = exec.Command(args[0], args[1:]...)
	r.cmd.Dir, r.cmd.Env = "/", r.env
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: r.cred, Pdeathsig: syscall.SIGTERM}
	if len(before) > 0 {
		r.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	if group != nil {
		r.cmd.SysProcAttr.UseCgroupFD, r.cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = r.cmd.Wait(); close(r.ended) }()
	r.api = api.NewClient(filepath.Join(r.dir, "runtime/berth/berth.sock")) // as root
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("berthd's log:\n%s", tail(r.log.String(), 16<<10))
		}
		if left := r.leftovers(); left != "" {
			t.Errorf("something is left:\n%s", left)
		}
	})
	r.eventually("berthd answers", func() bool {
		select {
		case <-r.ended:
			t.Fatalf("berthd ended: %v\n%s", r.cmd.ProcessState, r.log)
		default:
		}
		_, code := r.user("status")
		return code == 0
	})
}

// user runs berth as the user, who need not say where the daemon is.
func (r *rootless) user(args ...string) (string, int) {
	r.t.Helper()
	cmd := exec.Command(filepath.Join(r.dir, "berth"), args...)
	cmd.Dir, cmd.Env = "/", r.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: r.cred}
	cmd.WaitDelay = time.Second
	out, _ := cmd.CombinedOutput() // the code tells
	return string(out), cmd.ProcessState.ExitCode()
}

func (r *rootless) done(args ...string) string {
	r.t.Helper()
	out, code := r.user(args...)
	if code != 0 {
		r.t.Fatalf("berth %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// says waits until a unit's log has these lines.
func (r *rootless) says(unit string, lines ...string) {
	r.t.Helper()
	out := ""
	r.eventually(fmt.Sprintf("%s says %q", unit, lines), func() bool {
		out, _ = r.user("logs", unit)
		for _, l := range lines {
			if !strings.Contains(out, l) {
				return false
			}
		}
		return true
	}, func() string { return out })
}

const rootlessServer = `echo "user $(id -u) is $(cat /proc/self/uid_map)"; echo again >/dev/stdout; ` + sleeper

func rootlessUnits() map[string]string {
	return map[string]string{
		"web.toml":    sh(rootlessServer),
		"volume.toml": "[unit]\nstart = 'demand'\n" + with(sh(`n=$(cat /run/v/n 2>/dev/null || echo 0); echo $((n+1)) >/run/v/n; echo run $((n+1))`), "type = 'task'") + "[[mount]]\ntype = 'volume'\nsource = 'kept'\ntarget = '/run/v'\n",
		"other.toml":  "[unit]\nstart = 'demand'\n" + with(sh("true"), "user = 'daemon'") + never,
		"device.toml": "[unit]\nstart = 'demand'\n" + sh("true") + "[[device]]\npath = '/dev/null'\n" + never,
		"pid.toml":    "[unit]\nstart = 'demand'\n" + sh("true") + "[namespaces]\npid = 'host'\n" + never,
		"fork.toml":   "[unit]\nstart = 'demand'\n" + sh("(trap '' TERM; while :; do sleep 1; done) & "+sleeper),
		"memory.toml": "[unit]\nstart = 'demand'\n" + sh("true") + "[cgroup]\nmemory-max = '64M'\n" + never,
	}
}

func (r *rootless) works(t *testing.T) {
	t.Helper()
	r.says("web", "user 0 is", "1000", "again")
	if out := r.done("exec", "web", "sh", "-c", "id -u; cat /proc/self/uid_map; grep CapBnd /proc/self/status; cat /proc/1/comm"); strings.Join(strings.Fields(out), " ") != "0 0 1000 1 CapBnd: 0000000000000000 sh" &&
		strings.Join(strings.Fields(out), " ") != "0 0 1000 1 CapBnd: 0000000000000000 sleep" {
		t.Errorf("exec: %q", out)
	}
	for range 2 {
		r.done("start", "volume")
		r.done("wait", "--is", "completed", "--timeout", "1m", "volume")
	}
	r.says("volume", "run 1", "run 2")
	st, err := os.Stat(filepath.Join(r.dir, ".local/state/berth/volumes/kept/n"))
	if err != nil || st.Sys().(*syscall.Stat_t).Uid != ordinaryUser {
		t.Errorf("the volume: %v %v", st, err)
	}
	for unit, want := range map[string]string{
		"other": "is not mapped in the user namespace", "device": "takes berth running as root", "pid": "PID namespace cannot be shared without privileges",
	} {
		if out, code := r.user("start", unit); code != 1 || !strings.Contains(out, want) {
			t.Errorf("start %s: exit code %d, %s", unit, code, out)
		}
	}
	// What ignores TERM goes with its container.
	r.done("start", "fork")
	r.done("stop", "fork")
	if out, code := r.user("restart", "web"); code != 0 {
		t.Errorf("restart: %s", out)
	}
	if out, code := r.user("stop", "web"); code != 0 {
		t.Errorf("stop: %s", out)
	}
}

func TestRootless(t *testing.T) {
	r := startRootless(t, nil, rootlessUnits())
	r.works(t)
	out := r.done("status")
	if !strings.Contains(out, "no cgroup") {
		t.Errorf("status does not tell that there are no groups:\n%s", out)
	}
	if out, code := r.user("start", "memory"); code != 1 || !strings.Contains(out, "memory-max") {
		t.Errorf("a limit without groups: exit code %d, %s", code, out)
	}
	if log := r.log.String(); !strings.Contains(log, "running as an ordinary user") || !strings.Contains(log, "one user and group inside containers") {
		t.Error("the log does not tell of the user")
	}
	// Root has a say, from where it sees what the daemon sees; nobody else has.
	socket := "--socket=" + filepath.Join(r.dir, "runtime/berth/berth.sock")
	r.done("start", "web")
	if out, err := exec.Command(binary(t, "berth"), socket, "exec", "web", "echo", "by root").CombinedOutput(); err != nil || string(out) != "by root\n" {
		t.Errorf("root: %v, %s", err, out)
	}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
	for kind, where := range map[string]*syscall.SysProcAttr{"user": {Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}, "pid": {Cloneflags: syscall.CLONE_NEWPID}} {
		cmd := exec.Command(binary(t, "berth"), socket, "list")
		cmd.SysProcAttr = where
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "the peer is in another "+kind+" namespace") {
			t.Errorf("root in a %s namespace of its own: %v, %s", kind, err, out)
		}
	}
	if out, code := r.as(&syscall.Credential{Uid: 65534, Gid: 65534}, "--socket", filepath.Join(r.dir, "runtime/berth/berth.sock"), "list"); code == 0 {
		t.Errorf("another user may look: %s", out)
	}
}

// lives tells whether a process is there and no zombie.
func lives(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// TestRootlessReaperKilled ends the reaper where no control group tells of the
// services: they end with it, or, when nothing of berth is left to see to that,
// before the next berthd starts any.
func TestRootlessReaperKilled(t *testing.T) {
	r := makeRootless(t, map[string]string{"web.toml": sh("echo up; (trap '' TERM; while :; do sleep 1; done) & exec sleep 300")})
	r.begin(nil)
	mainPID := func() int {
		t.Helper()
		return r.wait("web", core.Running).MainPID
	}
	pid := mainPID()
	parts := r.children()
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.ended
	for _, p := range append(parts, strconv.Itoa(pid)) {
		n, _ := strconv.Atoi(p)
		r.eventually("process "+p+" is gone", func() bool { return !lives(n) })
	}

	r.fresh()
	r.begin(nil)
	pid = mainPID()
	parts = r.children()
	reaper := r.cmd.Process.Pid
	if err := syscall.Kill(reaper, syscall.SIGSTOP); err != nil { // it starts none of them again
		t.Fatal(err)
	}
	for _, p := range parts {
		if n, _ := strconv.Atoi(p); n > 0 && n != pid {
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
	}
	_ = syscall.Kill(reaper, syscall.SIGKILL)
	<-r.ended
	if !lives(pid) {
		t.Fatal("the service has ended by itself: the test tells nothing")
	}
	r.fresh()
	r.begin(nil)
	if again := mainPID(); again == pid || lives(pid) {
		t.Errorf("process %d is still there beside %d", pid, again)
	}
	if !strings.Contains(r.log.String(), "ending a process left by an earlier berthd") {
		t.Error("the log does not tell of it")
	}
	r.stop()
	if left, _ := filepath.Glob(filepath.Join(r.dir, ".local/state/berth/processes/*")); len(left) > 0 {
		t.Errorf("notes are left: %v", left)
	}
}

// TestRootlessUsers has a service run as one of the user's subordinate users, who
// opens /dev/stdout again, as its hooks do.
func TestRootlessUsers(t *testing.T) {
	needRoot(t)
	for _, tool := range []string{"newuidmap", "setpriv"} {
		if _, err := exec.LookPath(tool); err != nil {
			skip(t, "there is no "+tool)
		}
	}
	r := makeRootless(t, map[string]string{
		"web.toml": with(sh(`echo "user $(id -u)"; echo again >/dev/stdout; echo wrong >/dev/stderr; `+sleeper), "user = '33'",
			"post-start = [['/bin/sh', '-c', 'echo after >/dev/stdout']]", "post-stop = [['/bin/sh', '-c', 'echo last >/dev/stdout']]"),
	})
	ids := filepath.Join(r.dir, "ids")
	passwd := filepath.Join(r.dir, "passwd")
	for file, text := range map[string]string{ids: fmt.Sprintf("%d:200000:65536\n", ordinaryUser), passwd: fmt.Sprintf("joe:x:%d:%d::/:/bin/sh\n", ordinaryUser, ordinaryUser)} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const become = `mount --make-rprivate / && mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && mount --bind "$2" /etc/passwd && shift 2 &&
		exec setpriv --reuid 1000 --regid 1000 --clear-groups "$@"`
	r.begin(nil, "/bin/sh", "-c", become, "sh", ids, passwd)
	r.says("web", "user 33", "again", "wrong", "after")
	r.done("stop", "web")
	r.says("web", "last")
}

// TestRootlessDelegated gives the user a control group, as systemd does for users.
func TestRootlessDelegated(t *testing.T) {
	needRoot(t)
	group := delegatedGroup(t)
	r := startRootless(t, group, rootlessUnits())
	r.works(t)
	if out := r.done("status"); !strings.Contains(out, filepath.Base(group.Name())) {
		t.Errorf("status does not tell of the group:\n%s", out)
	}
}

// TestRootlessRun runs programs without a daemon.
func TestRootlessRun(t *testing.T) {
	r := startRootless(t, nil, nil)
	if out := r.done("run", "--host", "--", "sh", "-c", "id -u; echo $$"); strings.Join(strings.Fields(out), " ") != "0 1" {
		t.Errorf("%q", out)
	}
	if out, code := r.user("run", "--host", "-t", "--", "sh", "-c", "test -t 0 && echo terminal; exit 3"); code != 3 || !strings.Contains(out, "terminal") {
		t.Errorf("exit code %d: %q", code, out)
	}
	// Nothing is left when berth is killed, even without a group that tells what there is.
	cmd := exec.Command(filepath.Join(r.dir, "berth"), "run", "--host", "--", "sleep", "86399")
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", r.env, &syscall.SysProcAttr{Credential: r.cred}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sleeping := func() bool {
		list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range list {
			if text, _ := os.ReadFile(f); string(text) == "sleep\x0086399\x00" {
				return true
			}
		}
		return false
	}
	r.eventually("the program runs", sleeping)
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	r.eventually("the program is gone", func() bool { return !sleeping() })

	if out, code := r.user("run", "--host", "--memory-max", "64M", "--", "true"); code != 1 || !strings.Contains(out, "memory-max") {
		t.Errorf("a limit without groups: exit code %d, %s", code, out)
	}
}

// TestRootlessProbes: what an ordinary user can look at is looked at, the rest is
// refused.
func TestRootlessProbes(t *testing.T) {
	fast := "\ninterval = '100ms'\n"
	r := startRootless(t, nil, map[string]string{
		"web.toml": sh(sleeper, "[namespaces]\nnetwork = 'host'\n[health.exec]\nexec = ['/bin/true']"+fast+"[health.file]\nfile = '/bin/sh'"+fast+
			"[health.tcp]\ntcp = '127.0.0.1:1'\non-failure = 'none'"+fast),
		"own.toml":   sh(sleeper, "[namespaces]\nnetwork = 'new'\n[health.exec]\nexec = ['/bin/true']"+fast+"[health.file]\nfile = '/bin/sh'"+fast),
		"never.toml": onDemand + sh(sleeper, "[namespaces]\nnetwork = 'new'\n[health.tcp]\ntcp = '127.0.0.1:80'"),
	})
	for _, check := range []string{"web exec", "web file", "own exec", "own file"} {
		unit, name, _ := strings.Cut(check, " ")
		r.eventually(check+" succeeds", func() bool { out, _ := r.user("status", unit); return strings.Contains(out, name+" healthy") },
			func() string { out, _ := r.user("status", unit); return out })
	}
	r.eventually("a connection on the host is tried", func() bool {
		out, _ := r.user("status", "web")
		return strings.Contains(out, "tcp unhealthy") && strings.Contains(out, "connection refused")
	})
	if out, code := r.user("start", "never"); code == 0 || !strings.Contains(out, "cannot make the health check tcp: berth runs as an ordinary user") {
		t.Errorf("berth start exits with %d: %s", code, out)
	}
}
