package isolate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// hookState is what hooks are to read.
func hookState(t testing.TB, text string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "state")
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return f
}

func shellHook(script string) Hook {
	return Hook{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin", "MARK=hook"}}
}

func TestHooks(t *testing.T) {
	needRoot(t)
	out := filepath.Join(t.TempDir(), "out")
	spec := bareSpec(t, "echo program >>/out")
	write(t, filepath.Join(spec.RootFS.Path, "out"), "")
	root := spec.RootFS.Path
	spec.CreateContainer = []Hook{
		shellHook(`exec >>` + out + `; cat; echo " $MARK $0"; id -u; grep CapEff /proc/self/status; test -d ` + root + `/proc/1 && echo mounted; hostname; test "$(pwd -P)" = "` + root + `" && echo in the root; readlink /proc/self/ns/mnt >` + out + `.ns`),
		shellHook(`exec >>` + out + `; cat; echo " again"`),
	}
	spec.StartContainer = []Hook{shellHook(`cat >>/out; echo " $MARK" >>/out; grep CapEff /proc/self/status >>/out; grep NoNew /proc/self/status >>/out; ls /proc/self/fd | tr '\n' ' ' >>/out; pwd >>/out`)}
	spec.Process.Dir = "/etc"
	run2 := func() { runWith(t, spec, Files{HookState: hookState(t, `{"state"}`)}) }
	run2()
	data, _ := os.ReadFile(out)
	caps, _ := os.ReadFile("/proc/self/status")
	equal(t, "createContainer", string(data), `{"state"} hook sh
0
CapEff:	`+field(t, string(caps), "CapEff")+`
mounted
bare
in the root
{"state"} again
`)
	inside, _ := os.ReadFile(out + ".ns")
	if host, _ := os.Readlink("/proc/thread-self/ns/mnt"); string(inside) == host+"\n" || len(inside) == 0 {
		t.Errorf("mount namespace %s", inside)
	}
	data, _ = os.ReadFile(filepath.Join(root, "out"))
	equal(t, "startContainer", string(data), "{\"state\"} hook\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n0 1 2 3 /etc\nprogram\n")
}

func TestHookFails(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name           string
		create, start  Hook
		why, text, out string
		errno          unix.Errno
	}{
		{"status", shellHook("echo no good >&2; exit 3"), Hook{}, "createContainer hook #0", "exited with status 3", "no good\n", 0},
		{"signal", shellHook("kill -9 $$"), Hook{}, "createContainer hook #0", "killed by signal 9", "", 0},
		{"missing", Hook{Path: "/not/there"}, Hook{}, "createContainer hook #0", "", "", unix.ENOENT},
		{"too long", Hook{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Timeout: 50 * time.Millisecond}, Hook{}, "createContainer hook #0", "took longer than 50ms", "", 0},
		{"start", Hook{}, shellHook("echo here; exit 4"), "startContainer hook #0", "exited with status 4", "here\n", 0},
		{"start missing", Hook{}, Hook{Path: "/not/there"}, "startContainer hook #0", "", "", unix.ENOENT},
		{"start too long", Hook{}, Hook{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Timeout: 50 * time.Millisecond}, "startContainer hook #0", "took longer", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := bareSpec(t, "echo executed >/mark")
			if c.create.Path != "" {
				spec.CreateContainer = []Hook{c.create}
			}
			if c.start.Path != "" {
				spec.StartContainer = []Hook{c.start}
			}
			r, w, _ := os.Pipe()
			defer r.Close()
			_, _, err := start(t, spec, Files{HookState: hookState(t, ""), HookOutput: w})
			w.Close()
			var step *StepError
			if !errors.As(err, &step) {
				t.Fatal(err)
			}
			if step.Why != c.why || !strings.Contains(step.Text, c.text) || c.errno != 0 && step.Errno != c.errno {
				t.Errorf("%v (text %q, errno %v)", err, step.Text, step.Errno)
			}
			data, _ := io.ReadAll(r)
			equal(t, "output", string(data), c.out)
			if _, err := os.Stat(filepath.Join(spec.RootFS.Path, "mark")); err == nil {
				t.Error("the program was executed")
			}
		})
	}
	// A hook that ends in time does not limit what comes after it.
	spec := bareSpec(t, "sleep 0.2; echo ran")
	quick := Hook{Path: "/bin/true", Timeout: 20 * time.Second}
	spec.CreateContainer, spec.StartContainer = []Hook{quick}, []Hook{quick}
	equal(t, "output", runWith(t, spec, Files{HookState: hookState(t, "")}), "ran")
}

func TestSyncRuntime(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "cat /proc/sys/net/core/somaxconn; ls /sys/class/net")
	spec.SyncRuntime = true
	spec.Sysctl = map[string]string{"net.core.somaxconn": "123", "kernel.domainname": "there"}
	p, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	r, w, _ := os.Pipe()
	defer r.Close()
	prep, err := Prepare(p, Files{Stdout: w, Stderr: w})
	if err != nil {
		t.Fatal(err)
	}
	defer prep.Close()
	child, err := prep.Fork()
	if err != nil {
		t.Fatal(err)
	}
	if err := prep.WaitUntil(AtSync, deadline()); err != nil {
		t.Fatal(err)
	}
	// The runtime's hooks find the mounts at the root's path, in the container's namespace.
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root%s/proc/1/status", child.PID, spec.RootFS.Path)); err != nil {
		t.Error(err)
	}
	if err := prep.WaitUntil(AtGate, time.Now().Add(10*time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it did not wait: %v", err)
	}
	if err := prep.Continue(); err != nil {
		t.Error(err)
	}
	if err := prep.Continue(); err == nil {
		t.Error("a second word was said")
	}
	if err := prep.WaitUntil(AtGate, deadline()); err != nil {
		t.Error(err)
	}
	if err := prep.Proceed(); err != nil {
		t.Error(err)
	}
	if err := prep.Wait(deadline()); err != nil {
		t.Error(err)
	}
	w.Close()
	prep.Launched()
	out, _ := io.ReadAll(r)
	equal(t, "output", string(out), "123\nlo\n")
	if ws, err := child.Wait(); err != nil || ws != 0 {
		t.Error(ws, err)
	}
}

// A child leaves when the runtime gives up.
func TestSyncGivenUp(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "true")
	spec.SyncRuntime = true
	prep := prepared(t, spec)
	child, err := prep.Fork()
	if err != nil {
		t.Fatal(err)
	}
	if err := prep.WaitUntil(AtSync, deadline()); err != nil {
		t.Error(err)
	}
	prep.Close()
	if ws, err := child.Wait(); err != nil || ws.ExitStatus() != ExitGateClosed {
		t.Errorf("%#x %v", uint32(ws), err)
	}
}

// Gate and status as FIFOs outlive the one who created the container: another
// process lets it go on, and reads what became of it.
func TestGateAndStatusAsFIFOs(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		program string
		ok      bool
	}{{"/bin/true", true}, {"/garbage", false}} {
		dir := t.TempDir()
		gate, status := filepath.Join(dir, "gate"), filepath.Join(dir, "status")
		for _, f := range []string{gate, status} {
			if err := unix.Mkfifo(f, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		spec := bareSpec(t, "")
		spec.Process.Args = []string{c.program}
		if err := os.WriteFile(filepath.Join(spec.RootFS.Path, "garbage"), []byte{0, 1, 2}, 0o755); err != nil {
			t.Fatal(err)
		}
		p, err := Compile(spec)
		if err != nil {
			t.Fatal(err)
		}
		// The creator: both ends of each, so that nothing blocks and the gate stays open.
		gateFile, err := os.OpenFile(gate, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		reader, err := os.OpenFile(status, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		writer, err := os.OpenFile(status, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		prep, err := Prepare(p, Files{Gate: gateFile, Status: writer})
		if err != nil {
			t.Fatal(err)
		}
		if err := prep.Wait(deadline()); err == nil {
			t.Error("somebody else's status was read")
		}
		child, err := prep.Fork()
		if err != nil {
			t.Fatal(err)
		}
		writer.Close()
		if err := NewStatusReader(reader, p).Until(AtGate, deadline()); err != nil {
			t.Error(err)
		}
		prep.Close()
		gateFile.Close()
		reader.Close()

		// Somebody else, later.
		if reader, err = os.OpenFile(status, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(gate, []byte{1}, 0); err != nil {
			t.Fatal(err)
		}
		err = NewStatusReader(reader, p).Until(AtProgram, deadline())
		var step *StepError
		if c.ok != (err == nil) || !c.ok && (!errors.As(err, &step) || step.Path != c.program) {
			t.Errorf("%s: %v", c.program, err)
		}
		reader.Close()
		if ws, err := child.Wait(); err != nil || ws.Exited() && (ws.ExitStatus() == 0) != c.ok {
			t.Errorf("%s: %#x %v", c.program, uint32(ws), err)
		}
	}
}

func TestConsole(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, `tty; stty size; stat -c '%u %g %a' /dev/pts/0; test /dev/console -ef /dev/pts/0 && echo console; echo to >/dev/tty; ls /proc/self/fd | tr '\n' ' '; mnt /dev/console; read -r x; echo "got $x"`)
	spec.Process.Console, spec.Process.ConsoleHeight, spec.Process.ConsoleWidth = true, 33, 77
	spec.Process.IDs = &IDs{UID: 99, GID: 98}
	spec.Process.Dir = "/"
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	child, _ := backgroundWith(t, spec, Files{Console: theirs})
	buf, oob := make([]byte, 64), make([]byte, 64)
	n, m, _, _, err := unix.Recvmsg(pair[0], buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "name", string(buf[:n]), "/dev/pts/0")
	msgs, err := unix.ParseSocketControlMessage(oob[:m])
	if err != nil || len(msgs) != 1 {
		t.Fatal(err, msgs)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		t.Fatal(err, fds)
	}
	master := os.NewFile(uintptr(fds[0]), "master")
	defer master.Close()
	if _, err := master.WriteString("input\n"); err != nil {
		t.Fatal(err)
	}
	data, _ := io.ReadAll(master) // ends with EIO
	equal(t, "terminal", strings.ReplaceAll(string(data), "input\r\n", ""), strings.ReplaceAll(`/dev/pts/0
33 77
99 5 620
console
to
0 1 2 3 rw,nosuid,noexec,relatime -
got `, "\n", "\r\n")+"")
	_ = child
}

func TestTimeNamespace(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/proc/self/ns/time"); err != nil {
		t.Skip("this kernel has no time namespaces")
	}
	spec := bareSpec(t, "readlink /proc/self/ns/time; cat /proc/self/timens_offsets | tr -s ' '; cut -d. -f1 /proc/uptime; sh -c 'readlink /proc/self/ns/time'")
	const day = 24 * time.Hour
	spec.Namespaces.Time = &TimeNamespace{Monotonic: 100 * day, Boottime: 200*day + 500*time.Millisecond}
	out := strings.Split(run(t, spec), "\n")
	host, _ := os.Readlink("/proc/self/ns/time")
	if len(out) != 5 || out[0] == host || out[0] != out[4] || strings.TrimSpace(out[1]) != "monotonic 8640000 0" || strings.TrimSpace(out[2]) != "boottime 17280000 500000000" {
		t.Fatalf("%q", out)
	}
	if up, _ := strconv.Atoi(out[3]); up < 200*86400 {
		t.Errorf("up for %d s", up)
	}
	// Joined by a process, and by its path.
	spec.Process.Args = []string{"/bin/sleep", "1000"}
	child, pidfd := background(t, spec)
	want, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/time", child.PID))
	second := bareSpec(t, "readlink /proc/self/ns/time")
	second.Namespaces.Time = &TimeNamespace{Join: &Namespace{Mode: NSJoin, Process: "first"}}
	equal(t, "time namespace", runWith(t, second, Files{Processes: map[string]*os.File{"first": pidfd}}), want)
	second.Namespaces.Time = &TimeNamespace{Join: &Namespace{Mode: NSJoin, Path: fmt.Sprintf("/proc/%d/ns/time", child.PID)}}
	equal(t, "time namespace", run(t, second), want)
}

// With the built-in mounts, where its settings are written to the container's own /proc.
func TestTimeNamespaceBuiltin(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/proc/self/ns/time"); err != nil {
		t.Skip("this kernel has no time namespaces")
	}
	const look = "readlink /proc/self/ns/time; cat /proc/self/timens_offsets | tr -s ' \\n' ' '"
	const offsets = "monotonic 3600 0 boottime -2 500000000"
	host, _ := os.Readlink("/proc/self/ns/time")
	for name, change := range map[string]func(*Spec){
		"plain": func(*Spec) {}, "init": func(s *Spec) { s.Init = true }, "user": func(s *Spec) { s.Process.User = "daemon" },
		"user namespace": func(s *Spec) {
			s.Namespaces.User = &UserNamespace{Map: IDMap{UIDs: []IDRange{{0, 300000, 65536}}, GIDs: []IDRange{{0, 300000, 65536}}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := shell(look)
			spec.Namespaces.Time = &TimeNamespace{Monotonic: time.Hour, Boottime: -1500 * time.Millisecond}
			change(spec)
			if ns, rest, _ := strings.Cut(run(t, spec), "\n"); ns == host || strings.TrimSpace(rest) != offsets {
				t.Errorf("in %s, which is not %s: %q", ns, host, rest)
			}
		})
	}
	spec := hostSpec("sleep", "300")
	spec.Namespaces.Time = &TimeNamespace{Monotonic: time.Hour, Boottime: -1500 * time.Millisecond}
	_, pidfd := background(t, spec)
	second := shell(look)
	second.Namespaces.Time = &TimeNamespace{Join: &Namespace{Mode: NSJoin, Process: "first"}}
	if _, rest, _ := strings.Cut(runWith(t, second, Files{Processes: map[string]*os.File{"first": pidfd}}), "\n"); strings.TrimSpace(rest) != offsets {
		t.Errorf("joined: %q", rest)
	}
	second.Namespaces.User = &UserNamespace{Map: IDMap{UIDs: []IDRange{{0, 300000, 1}}, GIDs: []IDRange{{0, 300000, 1}}}}
	if _, err := Compile(second); err == nil {
		t.Error("a user namespace of its own, and the time namespace of another")
	}
	spec.Namespaces.Time.Boottime = -time.Duration(1<<62 - 1)
	if _, _, err := start(t, spec, Files{}); err == nil {
		t.Error("a clock was set to before 0")
	}
}

func TestBareJoinsMountNamespace(t *testing.T) {
	needRoot(t)
	first := bareSpec(t, "")
	first.Process.Args = []string{"/bin/sleep", "1000"}
	child, pidfd := background(t, first)
	join := Namespace{Mode: NSJoin, Path: fmt.Sprintf("/proc/%d/ns/mnt", child.PID)}
	want, _ := os.Readlink(join.Path)
	// It keeps the root that is there.
	second := &Spec{Name: "second", Bare: true, Namespaces: Namespaces{Mount: join, PID: Namespace{Mode: NSJoin, Process: "first"}, Cgroup: Namespace{Mode: NSJoin, Process: "first"}},
		Process: Process{Args: []string{"/bin/sh", "-c", "readlink /proc/self/ns/mnt; cat /proc/1/comm; ls -d /home 2>/dev/null; test -c /dev/full && echo dev"}, IDs: &IDs{}}}
	equal(t, "the same root", runWith(t, second, Files{Processes: map[string]*os.File{"first": pidfd}}), want+"\nsleep\ndev")
	second.Mounts = []Mount{{Type: Tmpfs, Target: "/tmp"}}
	if _, err := Compile(second); err == nil {
		t.Error("mounts in somebody else's root were compiled")
	}
	// Or has a root set up in it.
	host := hostSpec("/bin/sleep", "1000")
	host.RootFS.Writable = Ephemeral
	third := bareSpec(t, "readlink /proc/self/ns/mnt; test -c /dev/full && echo dev; ls -d /home 2>/dev/null; cat /proc/1/comm")
	child, _ = background(t, &Spec{Name: "host", Bare: true, RootFS: RootFS{Path: "/", Writable: Direct}, Process: Process{Args: []string{"/bin/sleep", "1000"}, IDs: &IDs{}}})
	third.Namespaces.Mount = Namespace{Mode: NSJoin, Path: fmt.Sprintf("/proc/%d/ns/mnt", child.PID)}
	want, _ = os.Readlink(third.Namespaces.Mount.Path)
	equal(t, "a root of its own", run(t, third), want+"\ndev\nsh")
}

func TestSchedulingAndPersonality(t *testing.T) {
	needRoot(t)
	persona, policy, nice := uint64(0x0008), 3, 7 // PER_LINUX32 and SCHED_BATCH
	spec := bareSpec(t, "uname -m; cut -d' ' -f19,41 /proc/self/stat; grep Cpus_allowed_list /proc/self/status")
	spec.Process.Personality = &persona
	spec.Process.Scheduling = Scheduling{Policy: &policy, Nice: &nice, Flags: 1, InitialAffinity: []int{0}, FinalAffinity: []int{0}} // SCHED_FLAG_RESET_ON_FORK
	out := run(t, spec)
	if !strings.HasSuffix(out, "Cpus_allowed_list:\t0") || strings.HasPrefix(out, "x86_64") {
		t.Error(out)
	}
	// It is reset in what the shell forks: the shell's own is looked at by another way.
	spec.Process.Args[2] = "read -r stat </proc/$$/stat; set -- $stat; shift 18; echo $1; shift 22; echo $1"
	equal(t, "nice and policy", run(t, spec), "7\n3")
	spec.Process.Scheduling = Scheduling{InitialAffinity: []int{8191}}
	if e := fails(t, spec); e.Op != "sched_setaffinity" {
		t.Error(e)
	}
	deadlinePolicy := 6
	spec.Process.Scheduling = Scheduling{Policy: &deadlinePolicy, Runtime: 1e7, Deadline: 3e7, Period: 3e7}
	spec.Process.Args[2] = "read -r stat </proc/$$/stat; set -- $stat; shift 40; echo $1"
	if out, _, err := start(t, spec, Files{}); err != nil {
		t.Logf("no deadline scheduling here: %v", err)
	} else {
		equal(t, "deadline policy", out, "6\n")
	}
}

// A kernel without the module says so; nothing is passed over.
func TestLabels(t *testing.T) {
	needRoot(t)
	if data, _ := os.ReadFile("/sys/kernel/security/lsm"); strings.Contains(string(data), "apparmor") || strings.Contains(string(data), "selinux") {
		t.Skip("this kernel has them; the profiles would have to be known")
	}
	// With each way a start ends, and each way it is filtered. Without SELinux the
	// kernel has nobody to give the label to, EINVAL, when it has seen that the writer
	// is the process itself, EACCES, and has opened the file since it was executed, EPERM.
	_, target := background(t, pathSpec(t, "sleep 300"))
	ids := IDMap{UIDs: []IDRange{{0, 300000, 65536}}, GIDs: []IDRange{{0, 300000, 65536}}}
	for name, change := range map[string]func(*Spec){
		"plain": func(*Spec) {}, "sealed": func(s *Spec) { s.SealedStarter = true }, "init": func(s *Spec) { s.Init = true },
		"filter": func(s *Spec) { s.Process.Seccomp, s.Process.NoNewPrivileges = denyMkdir(mkdirNumbers...), true },
		"filter with privileges": func(s *Spec) {
			s.Process.Seccomp, s.Process.NoNewPrivileges, s.Process.User = denyMkdir(mkdirNumbers...), false, "daemon"
		},
		"init with privileges": func(s *Spec) {
			s.Process.Seccomp, s.Process.NoNewPrivileges, s.Init = denyMkdir(mkdirNumbers...), false, true
		},
		"user":            func(s *Spec) { s.Process.User = "daemon" },
		"user namespace":  func(s *Spec) { s.Namespaces.User = &UserNamespace{Map: ids}; s.RootFS.IDMap = &ids },
		"host's pids":     func(s *Spec) { s.Namespaces.PID.Mode = NSHost },
		"joined pids":     func(s *Spec) { s.Namespaces.PID = Namespace{Mode: NSJoin, Process: "target"} },
		"pre-start":       func(s *Spec) { s.PreStart = [][]string{{"/bin/true"}} },
		"further process": nil,
	} {
		for why, p := range map[string]Process{"the AppArmor profile": {AppArmor: "berth-test"}, "the SELinux label": {SELinux: "system_u:system_r:container_t:s0"}} {
			check := func(err error) {
				var e *StepError
				op, errno := "openat", unix.ENOENT
				if p.SELinux != "" {
					op, errno = "write", unix.EINVAL
				}
				if !errors.As(err, &e) || e.Why != why || e.Hint == "" || e.Op != op || e.Errno != error(errno) {
					t.Errorf("%s, %s: %v", name, why, err)
				}
			}
			if change == nil {
				p.Args = []string{"/bin/true"}
				_, _, err := execIn(t, target, &p)
				check(err)
				continue
			}
			for _, spec := range []*Spec{bareSpec(t, "true"), hostSpec("/bin/true")} {
				change(spec)
				spec.Process.AppArmor, spec.Process.SELinux = p.AppArmor, p.SELinux
				if spec.RootFS.Host {
					spec.RootFS.IDMap = nil
				}
				_, _, err := start(t, spec, Files{Processes: map[string]*os.File{"target": target}})
				check(err)
			}
		}
	}
}

func TestStatusOfAKilledSync(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "true")
	spec.SyncRuntime = true
	prep := prepared(t, spec)
	child, err := prep.Fork()
	if err != nil {
		t.Fatal(err)
	}
	if err := prep.WaitUntil(AtSync, deadline()); err != nil {
		t.Fatal(err)
	}
	child.Kill()
	var step *StepError
	if err := prep.WaitUntil(AtGate, deadline()); !asStep(err, &step) || step.Op != program.OpSync.String() {
		t.Error(err)
	}
	child.Wait()
}

// The process's first thread keeps its namespaces: it would keep the mounts of
// an overlay in the making for as long as the process lives.
func TestFirstThreadStaysWhereItIs(t *testing.T) {
	needRoot(t)
	before, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	spec := bareSpec(t, "true")
	spec.RootFS.Writable = Ephemeral
	p, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	for range 30 { // whichever thread is taken
		prep, err := Prepare(p, Files{})
		if err != nil {
			t.Fatal(err)
		}
		prep.Close()
	}
	after, _ := os.Readlink("/proc/self/ns/mnt")
	equal(t, "mount namespace", after, before)
}

// A container that joins a PID namespace gets its process at the very end; the
// runtime's word comes before.
func TestSyncBeforeTheProgramsProcess(t *testing.T) {
	needRoot(t)
	first := bareSpec(t, "")
	first.Process.Args = []string{"/bin/sleep", "1000"}
	_, pidfd := background(t, first)
	spec := bareSpec(t, "cat /proc/1/comm")
	spec.SyncRuntime = true
	spec.Namespaces.PID = Namespace{Mode: NSJoin, Process: "first"}
	p, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	r, w, _ := os.Pipe()
	defer r.Close()
	prep, err := Prepare(p, Files{Stdout: w, Stderr: w, Processes: map[string]*os.File{"first": pidfd}})
	if err != nil {
		t.Fatal(err)
	}
	defer prep.Close()
	child, err := prep.Fork()
	if err != nil {
		t.Fatal(err)
	}
	if err := prep.WaitUntil(AtSync, deadline()); err != nil {
		t.Fatal(err)
	}
	if err := prep.Continue(); err != nil {
		t.Fatal(err)
	}
	if prep.HandsOver() {
		if child, err = prep.TakeOver(child, deadline()); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if err := errors.Join(prep.WaitUntil(AtGate, deadline()), prep.Proceed(), prep.Wait(deadline())); err != nil {
		t.Error(err)
	}
	out, _ := io.ReadAll(r)
	equal(t, "output", string(out), "sleep\n")
	if ws, err := child.Wait(); err != nil || ws != 0 {
		t.Error(ws, err)
	}
}
