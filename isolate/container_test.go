package isolate

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWritableModes(t *testing.T) {
	needRoot(t)
	t.Run("path read-only", func(t *testing.T) {
		equal(t, "touch", run(t, pathSpec(t, "touch /x 2>/dev/null || echo refused")), "refused")
	})
	t.Run("path direct", func(t *testing.T) {
		spec := pathSpec(t, "echo hello >/x")
		spec.RootFS.Writable = Direct
		run(t, spec)
		if data, err := os.ReadFile(filepath.Join(spec.RootFS.Path, "x")); string(data) != "hello\n" {
			t.Errorf("%q, %v", data, err)
		}
	})
	t.Run("path ephemeral", func(t *testing.T) {
		spec := pathSpec(t, "test ! -e /x; echo hello >/x; cat /x; echo hello >/etc/y")
		spec.RootFS.Writable = Ephemeral
		for range 2 {
			equal(t, "cat", run(t, spec), "hello")
		}
		if _, err := os.Stat(filepath.Join(spec.RootFS.Path, "x")); err == nil {
			t.Error("it was written to the directory itself")
		}
	})
	t.Run("path persistent", func(t *testing.T) {
		spec := pathSpec(t, "cat /x; echo hello >>/x")
		spec.RootFS.Writable, spec.RootFS.StateDir = Persistent, filepath.Join(t.TempDir(), "a", "state")
		start(t, spec, Files{})
		equal(t, "cat", run(t, spec), "hello")
	})
	t.Run("host ephemeral", func(t *testing.T) {
		spec := shell("echo hello >/etc/berth-test; cat /etc/berth-test; echo x >/tmp/y; ls /home")
		spec.RootFS.Writable = Ephemeral
		equal(t, "cat", run(t, spec), "hello")
		if _, err := os.Stat("/etc/berth-test"); err == nil {
			t.Error("it was written to the host")
			os.Remove("/etc/berth-test")
		}
	})
	t.Run("host persistent", func(t *testing.T) {
		spec := shell("cat /opt/x; echo hello >>/opt/x")
		spec.RootFS.Writable, spec.RootFS.StateDir = Persistent, filepath.Join(t.TempDir(), "state")
		start(t, spec, Files{})
		equal(t, "cat", run(t, spec), "hello")
	})
	t.Run("layers", func(t *testing.T) {
		spec := pathSpec(t, "cat /etc/a /etc/b; touch /x 2>/dev/null || echo refused")
		top := t.TempDir()
		os.Mkdir(filepath.Join(top, "etc"), 0o755)
		write(t, filepath.Join(spec.RootFS.Path, "etc/a"), "low a\n")
		write(t, filepath.Join(spec.RootFS.Path, "etc/b"), "low b\n")
		write(t, filepath.Join(top, "etc/b"), "top b\n")
		spec.RootFS = RootFS{Layers: []string{spec.RootFS.Path, top}}
		equal(t, "cat", run(t, spec), "low a\ntop b\nrefused")
		spec.RootFS.Writable = Ephemeral
		equal(t, "cat", run(t, spec), "low a\ntop b")
		spec.RootFS = RootFS{Layers: []string{top, spec.RootFS.Layers[0]}}
		equal(t, "cat", run(t, spec), "low a\nlow b\nrefused")
	})
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestMounts(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "contents\n")
	spec := shell(`cat /run/deep/er/file /run/one; touch /run/deep/er/x 2>/dev/null || echo read-only
		touch /run/rw/new; stat -c '%a %u %g' /srv /run/vol; df -k /srv | tail -1 | awk '{print $2}'; touch /srv/x; echo persistent >/run/vol/x; chown 1 /run/vol/x 2>/dev/null || echo no chown`)
	spec.Mounts = []Mount{
		{Type: Bind, Source: dir, Target: "/run/deep/er", ReadOnly: true},
		{Type: Bind, Source: filepath.Join(dir, "file"), Target: "/run/one"},
		{Type: Bind, Source: dir, Target: "/run/rw"},
		{Type: Tmpfs, Target: "/srv", Size: 1 << 20, Mode: 0o1750, User: "1", Group: "daemon"},
		{Type: Volume, Source: filepath.Join(dir, "volumes", "v"), Target: "/run/vol", Mode: 0o700, User: "daemon"},
	}
	spec.Process.User = "daemon"
	os.Chmod(dir, 0o777)
	equal(t, "mounts", run(t, spec), "contents\ncontents\nread-only\n1750 1 1\n700 1 1\n1024")
	if data, err := os.ReadFile(filepath.Join(dir, "volumes/v/x")); string(data) != "persistent\n" {
		t.Errorf("the volume has %q, %v", data, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err != nil {
		t.Error(err)
	}
	// The second start finds the volume as it is.
	spec.Process.Args = []string{"/bin/cat", "/run/vol/x"}
	equal(t, "volume", run(t, spec), "persistent")
}

func TestMissingTargetIsNamed(t *testing.T) {
	needRoot(t)
	spec := hostSpec("/bin/true")
	spec.Mounts = []Mount{{Type: Bind, Source: t.TempDir(), Target: "/nowhere/at/all"}}
	e := fails(t, spec)
	if e.Op != "openat2" || e.Path != "/nowhere/at/all" || e.Errno != unix.ENOENT || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	spec.Mounts = []Mount{{Type: Bind, Source: "/nowhere/at/all", Target: "/tmp"}}
	e = fails(t, spec)
	if e.Op != "open_tree" || e.Path != "/nowhere/at/all" || e.Errno != unix.ENOENT || e.Hint == "" {
		t.Errorf("%+v", e)
	}
}

// A link in a root that an attacker controls leads nowhere but into that root.
func TestLinksOfTheRootStayInside(t *testing.T) {
	needRoot(t)
	victim := t.TempDir()
	spec := pathSpec(t, "ls -A /")
	root := spec.RootFS.Path
	spec.RootFS.Writable = Direct
	if err := os.Symlink(victim, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	spec.Mounts = append(spec.Mounts, Mount{Type: Tmpfs, Target: "/link/made"})
	if e := fails(t, spec); e.Errno != unix.ENOENT {
		t.Errorf("%v", e)
	}
	if list, _ := os.ReadDir(victim); len(list) != 0 {
		t.Errorf("made outside of the root: %v", list)
	}
	for _, d := range []string{"proc", "sys", "dev"} {
		os.Remove(filepath.Join(root, d))
		if err := os.Symlink("etc", filepath.Join(root, d)); err != nil {
			t.Fatal(err)
		}
		spec.Mounts = spec.Mounts[:1]
		if e := fails(t, spec); e.Errno != unix.ELOOP || e.Path != "/"+d {
			t.Errorf("%v", e)
		}
		os.Remove(filepath.Join(root, d))
		os.Mkdir(filepath.Join(root, d), 0o755)
	}
}

func TestMaskedAndReadonlyPaths(t *testing.T) {
	needRoot(t)
	spec := shell("ls -A /usr/games /opt; cat /etc/hostname 2>/dev/null; touch /run/ro/x 2>/dev/null || echo read-only; touch /run/x")
	spec.Mounts = []Mount{{Type: Bind, Source: t.TempDir(), Target: "/run/ro"}}
	spec.MaskedPaths = []string{"/usr/games", "/opt", "/etc/hostname", "/not/there"}
	spec.ReadonlyPaths = []string{"/run/ro", "/not/there"}
	equal(t, "output", run(t, spec), "/opt:\n\n/usr/games:\nread-only")
}

func TestUser(t *testing.T) {
	needRoot(t)
	spec := pathSpec(t, "id -u; id -g; id -G; echo $HOME $USER $LOGNAME $SHELL; pwd; umask")
	root := spec.RootFS.Path
	write(t, filepath.Join(root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:1234:1235:Web:/srv/web:/bin/false\nbad:x:zero:0:::\n\n:::::\nx\n")
	write(t, filepath.Join(root, "etc/group"), "web:x:1235:\nssl:x:77:other,web\nlog:x:78:web\nextra:x:79:\nbroken:x:-1:web\n")
	os.MkdirAll(filepath.Join(root, "srv/web"), 0o755)
	spec.Process.User, spec.Process.Groups, spec.Process.Dir, spec.Process.Umask = "web", []string{"extra", "4000"}, "/srv/web", 0o77
	equal(t, "web", run(t, spec), "1234\n1235\n1235 77 78 79 4000\n/srv/web web web /bin/false\n/srv/web\n0077")
	spec.Process = Process{Args: spec.Process.Args, NoNewPrivileges: true, User: "5000", Env: []string{"HOME=/x", "SHELL=/y"}}
	equal(t, "a number", run(t, spec), "5000\n5000\n5000\n/x /y\n/\n0000")
	for _, user := range []string{"nobody-here", "bad", "-1", "4294967295"} {
		spec.Process.User = user
		if e := fails(t, spec); e.Op != "lookup_user" {
			t.Errorf("%s: %v", user, e)
		}
	}
}

func TestPreStart(t *testing.T) {
	needRoot(t)
	spec := shell("cat /run/order; echo main")
	spec.PreStart = [][]string{
		{"sh", "-c", "echo one >>/run/order; grep -c ^CapPrm:.*0000000000000000 /proc/self/status >>/run/order"},
		{"sh", "-c", "echo two $$ >>/run/order; ls /proc/self/fd | wc -l >>/run/order"},
	}
	equal(t, "order", run(t, spec), "one\n1\ntwo 4\n4\nmain")

	spec.PreStart = append(spec.PreStart, []string{"sh", "-c", "exit 3"})
	e := fails(t, spec)
	if e.Text != "exited with status 3" || e.Path != "sh" {
		t.Errorf("%+v", e)
	}
	spec.PreStart = [][]string{{"sh", "-c", "kill -9 $$"}}
	if e := fails(t, spec); e.Text != "was killed by signal 9 (killed)" {
		t.Errorf("%+v", e)
	}
	spec.PreStart = [][]string{{"/not/there"}}
	if e := fails(t, spec); e.Op != "execve" || e.Path != "/not/there" || e.Errno != unix.ENOENT {
		t.Errorf("%+v", e)
	}
}

func TestInit(t *testing.T) {
	needRoot(t)
	spec := shell("echo $$; cat /proc/1/comm; ls /proc/1/fd; exit 7")
	spec.Init = true
	out, ws, err := start(t, spec, Files{})
	if err != nil || ws.ExitStatus() != 7 {
		t.Fatalf("%v, status %#x, %s", err, uint32(ws), out)
	}
	if !strings.HasPrefix(out, "2\n") {
		t.Errorf("wrote %q", out)
	}
	spec.Process.Args = []string{"/not/there"}
	if e := fails(t, spec); e.Op != "execve" {
		t.Errorf("%v", e)
	}
}

func TestPathLookup(t *testing.T) {
	needRoot(t)
	equal(t, "default PATH", run(t, hostSpec("echo", "x")), "x")
	spec := pathSpec(t, "")
	write(t, filepath.Join(spec.RootFS.Path, "etc/tool"), "#!/bin/sh\necho not executable\n")
	os.Mkdir(filepath.Join(spec.RootFS.Path, "own"), 0o755)
	write(t, filepath.Join(spec.RootFS.Path, "own/tool"), "#!/bin/sh\necho own $1\n")
	os.Chmod(filepath.Join(spec.RootFS.Path, "own/tool"), 0o755)
	spec.Process.Args, spec.Process.Env = []string{"tool", "arg"}, []string{"PATH=/not/there:/etc/hostname:/etc:/own"}
	equal(t, "own PATH", run(t, spec), "own arg")
	spec.Process.Args[0] = "no-such-tool"
	if e := fails(t, spec); e.Path != "no-such-tool" || e.Errno != unix.ENOENT || e.Hint == "" {
		t.Errorf("%+v", e)
	}
}

func TestSettings(t *testing.T) {
	needRoot(t)
	nice, oom, io, policy := 5, 500, 3<<13, 3 // SCHED_BATCH
	spec := shell("hostname; cat /proc/sys/net/core/somaxconn /proc/self/oom_score_adj; nice; ulimit -n; ulimit -Hn; ulimit -c; ionice; chrt -p $$ | head -1 | sed 's/.*: //'; umask")
	spec.Hostname = "shop"
	spec.Sysctl = map[string]string{"net.core.somaxconn": "77", "net/ipv4/ip_forward": "1"}
	spec.Process.Rlimits = []Rlimit{{unix.RLIMIT_NOFILE, "nofile", 100, 200}, {unix.RLIMIT_CORE, "core", 0, 0}}
	spec.Process.Scheduling = Scheduling{Nice: &nice, OOMScoreAdjust: &oom, IOPriority: &io, Policy: &policy}
	spec.Process.Umask = 0o27
	equal(t, "settings", run(t, spec), "shop\n77\n500\n5\n100\n200\n0\nidle\nSCHED_BATCH\n0027")
	equal(t, "default hostname", run(t, hostSpec("hostname")), "test")
}

func TestFilesArePassedInOrder(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	open := func(name string) *os.File {
		write(t, filepath.Join(dir, name), name+"\n")
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	spec := shell("cat; cat <&3; cat <&4; cat <&5; set -- /proc/$$/fd/*; echo $#")
	spec.Process.ExtraFiles = 3
	c, b, a := open("c"), open("b"), open("a")
	equal(t, "contents", runWith(t, spec, Files{Stdin: open("in"), Extra: []*os.File{a, b, c}}), "in\na\nb\nc\n7") // the directory too
	if _, _, err := start(t, spec, Files{Extra: []*os.File{a}}); err == nil {
		t.Error("a missing descriptor was not noticed")
	}
	if _, _, err := start(t, shell("true"), Files{Extra: []*os.File{a}}); err == nil {
		t.Error("a descriptor too many was not noticed")
	}
}

func TestTerminal(t *testing.T) {
	needRoot(t)
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ptmx.Close()
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	unlock := 0
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, unlock); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	spec := shell("echo tty >/dev/tty; echo console >/dev/console; cut -d' ' -f7 /proc/self/stat")
	spec.Process.Terminal = true
	out := runWith(t, spec, Files{Stdin: tty})
	if out == "0" {
		t.Error("there is no controlling terminal")
	}
	buf := make([]byte, 64)
	n, _ = ptmx.Read(buf)
	if n < 14 {
		m, _ := ptmx.Read(buf[n:])
		n += m
	}
	equal(t, "terminal", string(buf[:n]), "tty\r\nconsole\r\n")
}

func TestDevices(t *testing.T) {
	needRoot(t)
	spec := shell("stat -c '%t,%T %A' /dev/kmsg; ls -d /dev/net/tun")
	spec.Devices = []DeviceNode{{Path: "/dev/kmsg"}}
	if _, err := os.Stat("/dev/net/tun"); err == nil {
		spec.Devices = append(spec.Devices, DeviceNode{Path: "/dev/net/tun"})
	} else {
		spec.Process.Args[2] = "stat -c '%t,%T %A' /dev/kmsg; echo /dev/net/tun"
	}
	if out := run(t, spec); !strings.HasPrefix(out, "1,b c") || !strings.HasSuffix(out, "/dev/net/tun") {
		t.Error(out)
	}
	spec.Devices = []DeviceNode{{Path: "/dev/not-there"}}
	if e := fails(t, spec); e.Path != "/dev/not-there" {
		t.Errorf("%v", e)
	}
}

// background starts a container that lives until the test ends.
func background(t *testing.T, spec *Spec) (*Child, *os.File) {
	t.Helper()
	return backgroundWith(t, spec, Files{})
}

func backgroundWith(t *testing.T, spec *Spec, f Files) (*Child, *os.File) {
	t.Helper()
	p, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	prep, err := Prepare(p, f)
	if err != nil {
		t.Fatal(err)
	}
	defer prep.Close()
	child, err := Spawn(prep)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(uintptr(child.PIDFD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	t.Cleanup(func() {
		pidfd.Close()
		child.Kill()
		child.Wait()
	})
	return child, pidfd
}

func TestJoinedNamespaces(t *testing.T) {
	needRoot(t)
	spec := hostSpec("sleep", "1000")
	spec.Hostname = "first"
	first, pidfd := background(t, spec)
	ns := func(name string) string {
		l, err := os.Readlink("/proc/" + strconv.Itoa(first.PID) + "/ns/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	second := shell("cd /proc/self/ns; for n in pid uts ipc net mnt; do readlink $n; done; hostname; cat /proc/1/comm")
	second.Namespaces = Namespaces{
		PID:     Namespace{Mode: NSJoin, Process: "first"},
		UTS:     Namespace{Mode: NSJoin, Process: "first"},
		IPC:     Namespace{Mode: NSJoin, Path: "/proc/" + strconv.Itoa(first.PID) + "/ns/ipc"},
		Network: Namespace{Mode: NSJoin, Path: "/proc/" + strconv.Itoa(first.PID) + "/ns/net"},
	}
	out := runWith(t, second, Files{Processes: map[string]*os.File{"first": pidfd}})
	lines := strings.Split(out, "\n")
	if len(lines) != 7 || lines[4] == ns("mnt") {
		t.Fatal(out)
	}
	equal(t, "namespaces", strings.Join(lines[:4], " "), strings.Join([]string{ns("pid"), ns("uts"), ns("ipc"), ns("net")}, " "))
	equal(t, "hostname and init", strings.Join(lines[5:], " "), "first sleep")
	// Prepare and Spawn leave this process where it was.
	equal(t, "a container of its own", run(t, hostSpec("/bin/sh", "-c", "echo $$")), "1")

	host := shell("readlink /proc/self/ns/net /proc/self/ns/uts")
	host.Namespaces.Network.Mode, host.Namespaces.UTS.Mode = NSHost, NSHost
	net, _ := os.Readlink("/proc/self/ns/net")
	uts, _ := os.Readlink("/proc/self/ns/uts")
	equal(t, "host namespaces", run(t, host), net+"\n"+uts)
}

func TestExec(t *testing.T) {
	needRoot(t)
	spec := pathSpec(t, "")
	write(t, filepath.Join(spec.RootFS.Path, "etc/passwd"), "inside:x:321:322::/etc:/bin/sh\n")
	spec.Process.Args = []string{"sleep", "1000"}
	spec.Hostname = "inside"
	_, pidfd := background(t, spec)
	oom := 100
	p, err := CompileExec(&ExecSpec{
		Name: "test", PID: true, Mount: true, UTS: true, IPC: true, CgroupNS: true, Network: true,
		Process: Process{Args: []string{"sh", "-c", "id -u; id -g; hostname; cat /proc/1/comm; pwd; cat /etc/passwd; ls /proc/self/fd | wc -l; cat /proc/self/oom_score_adj; ls /sys/class/net; grep NoNew /proc/self/status"},
			User: "inside", Dir: "/etc", NoNewPrivileges: true, Scheduling: Scheduling{OOMScoreAdjust: &oom}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, w, _ := os.Pipe()
	defer r.Close()
	prep, err := Prepare(p, Files{Stdout: w, Stderr: w, Processes: map[string]*os.File{TargetProcess: pidfd}})
	if err != nil {
		t.Fatal(err)
	}
	if prep.UID() != 321 || prep.GID() != 322 {
		t.Errorf("user %d, group %d", prep.UID(), prep.GID())
	}
	child, err := Spawn(prep)
	w.Close()
	prep.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(r)
	if ws, err := child.Wait(); err != nil || ws != 0 {
		t.Errorf("%#x %v", uint32(ws), err)
	}
	equal(t, "exec", string(out), "321\n322\ninside\nsleep\n/etc\ninside:x:321:322::/etc:/bin/sh\n4\n100\nlo\nNoNewPrivs:\t1\n")
}
