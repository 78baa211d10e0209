package isolate

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const sealedMount = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// mountInfo is a shell function that prints options and propagation of a mount.
const mountInfo = `mnt() { while read -r a b c d at opts kind e; do if test "$at" = "$1"; then echo $opts ${kind%:*}; fi; done </proc/self/mountinfo; }
`

// bareSpec is what an engine asks for an ordinary container on a directory of
// its own, which has the host's programs.
func bareSpec(t testing.TB, script string) *Spec {
	t.Helper()
	spec := pathSpec(t, mountInfo+script)
	programs := spec.Mounts
	for i := range programs {
		programs[i].Recursive = true
	}
	spec.Bare = true
	spec.RootFS.Writable = Direct
	spec.Hostname = "bare"
	spec.Mounts = append([]Mount{
		{Type: FileSystem, FSType: "proc", Source: "proc", Target: "/proc", Set: sealedMount},
		{Type: FileSystem, FSType: "tmpfs", Source: "tmpfs", Target: "/dev", Data: []string{"mode=755", "size=65536k"}, Set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_STRICTATIME},
		{Type: FileSystem, FSType: "devpts", Source: "devpts", Target: "/dev/pts", Data: []string{"newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}, Set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC},
		{Type: FileSystem, FSType: "tmpfs", Source: "shm", Target: "/dev/shm", Data: []string{"mode=1777", "size=65536k"}, Set: sealedMount},
		{Type: FileSystem, FSType: "mqueue", Source: "mqueue", Target: "/dev/mqueue", Set: sealedMount},
		{Type: FileSystem, FSType: "sysfs", Source: "sysfs", Target: "/sys", Set: sealedMount | unix.MOUNT_ATTR_RDONLY},
		{Type: CgroupFS, Target: "/sys/fs/cgroup", Set: sealedMount | unix.MOUNT_ATTR_RDONLY},
	}, programs...)
	spec.Process.Env = []string{"PATH=/usr/bin:/bin", "TERM=xterm"}
	spec.Process.IDs = &IDs{}
	spec.MaskedPaths = []string{"/proc/keys", "/proc/acpi", "/sys/firmware", "/proc/nothing-here"}
	spec.ReadonlyPaths = []string{"/proc/sys", "/proc/bus", "/proc/nothing-here"}
	return spec
}

func TestBare(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, `while read -r a b c d at opts e; do case $at in /|/sys|/proc*|/dev*) echo $at $opts; esac; done </proc/self/mountinfo | sort
		hostname; env | sort; echo --; ls /dev; stat -c '%F %t:%T %a' /dev/null /dev/tty; readlink /dev/ptmx /dev/fd /dev/stdin /dev/stdout /dev/stderr
		ls /sys/firmware /proc/acpi; cat /proc/keys; ls /proc/self/fd | wc -l; (echo x >/proc/sys/kernel/domainname) 2>/dev/null || echo read-only; cat /proc/1/comm; id -u; id -G; echo hello >/x; ls /sys/class/net`)
	equal(t, "container", run(t, spec), `/ rw,relatime
/dev rw,nosuid
/dev/mqueue rw,nosuid,nodev,noexec,relatime
/dev/pts rw,nosuid,noexec,relatime
/dev/shm rw,nosuid,nodev,noexec,relatime
/proc rw,nosuid,nodev,noexec,relatime
/proc/acpi ro,nosuid,nodev,noexec,relatime
/proc/bus ro,nosuid,nodev,noexec,relatime
/proc/keys ro,nosuid,noexec,relatime
/proc/sys ro,nosuid,nodev,noexec,relatime
/sys ro,nosuid,nodev,noexec,relatime
bare
HOME=/
PATH=/usr/bin:/bin
PWD=/
TERM=xterm
--
fd
full
mqueue
null
ptmx
pts
random
shm
stderr
stdin
stdout
tty
urandom
zero
character special file 1:3 666
character special file 5:0 666
pts/ptmx
/proc/self/fd
/proc/self/fd/0
/proc/self/fd/1
/proc/self/fd/2
/proc/acpi:

/sys/firmware:
4
read-only
sh
0
0
lo`)
	if data, err := os.ReadFile(filepath.Join(spec.RootFS.Path, "x")); string(data) != "hello\n" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := os.Stat(filepath.Join(spec.RootFS.Path, "dev/null")); err == nil {
		t.Error("a device was made on the disk")
	}
}

func TestBareReadOnlyRoot(t *testing.T) {
	needRoot(t)
	// Mount points and the working directory are made before the root is read-only.
	spec := bareSpec(t, "pwd; cat /made/here/file; touch /x 2>/dev/null || echo refused; touch /dev/x 2>/dev/null || echo refused; ls -d /dev/null; cat /tmp/a; touch /tmp/b 2>/dev/null || echo refused")
	spec.RootFS.Writable = ReadOnly
	spec.Process.Dir = "/made/too"
	spec.Mounts[1].Set |= unix.MOUNT_ATTR_RDONLY
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "contents\n")
	spec.Mounts = append(spec.Mounts, Mount{Type: Bind, Source: filepath.Join(dir, "file"), Target: "/made/here/file"},
		Mount{Type: FileSystem, FSType: "tmpfs", Target: "/tmp", Set: unix.MOUNT_ATTR_RDONLY},
		Mount{Type: Bind, Source: filepath.Join(dir, "file"), Target: "/tmp/a"})
	equal(t, "container", run(t, spec), "/made/too\ncontents\nrefused\nrefused\n/dev/null\ncontents\nrefused")
}

func TestBareLayers(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "cat /etc/a; echo new >/etc/a; cat /etc/a; test -c /dev/null && echo null")
	write(t, filepath.Join(spec.RootFS.Path, "etc/a"), "low\n")
	spec.RootFS = RootFS{Layers: []string{spec.RootFS.Path}, Writable: Ephemeral}
	equal(t, "container", run(t, spec), "low\nnew\nnull")
}

func TestBareMounts(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for _, d := range []string{"sub", "lower", "upper", "work", strings.Repeat("l", 200)} {
		os.Mkdir(filepath.Join(dir, d), 0o755)
	}
	os.Mkdir(filepath.Join(dir, strings.Repeat("l", 200), strings.Repeat("m", 200)), 0o755)
	long := filepath.Join(dir, strings.Repeat("l", 200), strings.Repeat("m", 200))
	write(t, filepath.Join(long, "long"), "")
	write(t, filepath.Join(dir, "lower/low"), "low\n")
	spec := bareSpec(t, "")
	root := spec.RootFS.Path
	os.MkdirAll(filepath.Join(root, "etc/copy/deep"), 0o750)
	write(t, filepath.Join(root, "etc/copy/deep/file"), "copied\n")
	unix.Chmod(filepath.Join(root, "etc/copy"), 0o1711)
	os.Chown(filepath.Join(root, "etc/copy"), 7, 8)
	os.Symlink("deep/file", filepath.Join(root, "etc/copy/link"))
	os.Mkdir(filepath.Join(root, "etc/mode"), 0o755)
	os.Chmod(filepath.Join(root, "etc/mode"), 0o710)
	for _, c := range []struct {
		name, script, want string
		mounts             []Mount
	}{
		{"not recursive", "ls /m/sub; touch /m/new && echo written", "written", []Mount{{Type: Bind, Source: dir, Target: "/m"}}},
		{"recursive, the top read-only", "cat /m/sub/in; touch /m/x 2>/dev/null || echo ro; touch /m/sub/x && echo rw", "in\nro\nrw",
			[]Mount{{Type: Bind, Source: dir, Target: "/m", Recursive: true, Set: unix.MOUNT_ATTR_RDONLY}}},
		{"all read-only", "touch /m/x 2>/dev/null || echo ro; touch /m/sub/x 2>/dev/null || echo ro", "ro\nro",
			[]Mount{{Type: Bind, Source: dir, Target: "/m", Recursive: true, SetRecursive: unix.MOUNT_ATTR_RDONLY}}},
		{"below, but not itself", "touch /m/x && echo rw; touch /m/sub/x 2>/dev/null || echo ro", "rw\nro",
			[]Mount{{Type: Bind, Source: dir, Target: "/m", Recursive: true, SetRecursive: unix.MOUNT_ATTR_RDONLY, Clear: unix.MOUNT_ATTR_RDONLY}}},
		{"clear", "mnt /m", "rw,noatime -", []Mount{{Type: Bind, Source: dir, Target: "/m", Set: unix.MOUNT_ATTR_NOATIME, Clear: sealedMount}}},
		{"in the order given", "while read -r a b c d at e; do case $at in /m*) echo $at; esac; done </proc/self/mountinfo", "/m1\n/m2\n/m3\n/m4",
			[]Mount{{Type: FileSystem, FSType: "tmpfs", Target: "/m1"}, {Type: Bind, Source: dir, Target: "/m2"}, {Type: FileSystem, FSType: "tmpfs", Target: "/m3"}, {Type: Bind, Source: dir, Target: "/m4"}}},
		{"file", "cat /m/deep/file", "low", []Mount{{Type: Bind, Source: filepath.Join(dir, "lower/low"), Target: "/m/deep/file"}}},
		{"remount", "touch /m/x 2>/dev/null || echo ro; touch /m/sub/x && echo rw", "ro\nrw",
			[]Mount{{Type: Bind, Source: dir, Target: "/m", Recursive: true}, {Type: Remount, Target: "/m", Set: unix.MOUNT_ATTR_RDONLY}}},
		{"remount with options", "set -- $(df -k /m | tail -1); echo $2", "2048",
			[]Mount{{Type: FileSystem, FSType: "tmpfs", Target: "/m", Data: []string{"size=1m"}}, {Type: Remount, Target: "/m", Data: []string{"size=2m"}}}},
		{"overlay", "cat /m/low; echo x >/m/up; cat /m/up", "low\nx",
			[]Mount{{Type: FileSystem, FSType: "overlay", Source: "overlay", Target: "/m", Data: []string{"lowerdir=" + dir + "/lower", "upperdir=" + dir + "/upper", "workdir=" + dir + "/work"}}}},
		{"long options", "ls /m; mnt /m", "long\nlow\nro,nosuid,relatime shared",
			[]Mount{{Type: FileSystem, FSType: "overlay", Source: "overlay", Target: "/m", Data: []string{"lowerdir=" + dir + "/lower:" + long}, Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_SHARED}}},
		{"tmpfs with an owner", "stat -c '%u %g %a' /m", "3 4 700", []Mount{{Type: Tmpfs, Target: "/m", User: "3", Group: "4", Mode: 0o700, Size: 1 << 20}}},
		{"a tmpfs has the mode of its place", "stat -c %a /etc/mode /etc/none", "710\n755", []Mount{{Type: FileSystem, FSType: "tmpfs", Target: "/etc/mode"}, {Type: FileSystem, FSType: "tmpfs", Target: "/etc/none", Data: []string{"mode=0755"}}}},
		{"copy up", "stat -c '%u %g %a' /etc/copy /etc/copy/deep; cat /etc/copy/link; echo new >/etc/copy/deep/file", "7 8 1711\n0 0 750\ncopied",
			[]Mount{{Type: FileSystem, FSType: "tmpfs", Target: "/etc/copy", CopyUp: true}}},
		{"copy up with a mode", "stat -c '%a' /etc/copy /etc/copy/deep; cat /etc/copy/link", "700\n750\ncopied",
			[]Mount{{Type: FileSystem, FSType: "tmpfs", Target: "/etc/copy", Data: []string{"mode=700"}, CopyUp: true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := *spec
			s.Mounts = append(append([]Mount{}, spec.Mounts...), c.mounts...)
			s.Process.Args = []string{"/bin/sh", "-c", mountInfo + c.script}
			withMounts(t, func() {
				if err := unix.Mount("tmpfs", filepath.Join(dir, "sub"), "tmpfs", 0, ""); err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, "sub/in"), "in\n")
				equal(t, "it", run(t, &s), c.want)
			})
		})
	}
	if data, err := os.ReadFile(filepath.Join(root, "etc/copy/deep/file")); string(data) != "copied\n" {
		t.Error("the copy was the thing itself", err)
	}
}

// withMounts runs f in a thread with mounts of its own, so that others who test
// on this machine do not see what f mounts.
func withMounts(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			withMounts(t, f) // the first thread does not end: another
			runtime.UnlockOSThread()
			return
		}
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

// sharedMount mounts a file system that is shared with those that clone it.
func sharedMount(t *testing.T, dir string) {
	t.Helper()
	if err := errors.Join(unix.Mount("tmpfs", dir, "tmpfs", 0, ""), unix.Mount("", dir, "", unix.MS_SHARED, ""), os.Mkdir(filepath.Join(dir, "sub"), 0o755)); err != nil {
		t.Fatal(err)
	}
}

func TestBarePropagation(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for _, c := range []struct {
		name        string
		root, mount uint64
		want        string // what kind the mount is, and whether a mount in it reaches the host
		reaches     bool
	}{
		{"by default a slave", 0, 0, "master", false},
		{"private", 0, unix.MS_PRIVATE, "-", false},
		{"shared, below the slave", 0, unix.MS_SHARED | unix.MS_REC, "shared", false},
		{"shared with the host", unix.MS_SHARED | unix.MS_REC, unix.MS_SHARED | unix.MS_REC, "shared", true},
		{"private to all", unix.MS_PRIVATE | unix.MS_REC, 0, "-", false},
		{"unbindable", 0, unix.MS_UNBINDABLE, "unbindable", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := bareSpec(t, "set -- $(mnt /m); echo $2; mount -t tmpfs inside /m/sub")
			spec.Process.Capabilities = Capabilities{Bounding: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN, Effective: 1 << unix.CAP_SYS_ADMIN}
			spec.RootFS.Propagation = c.root
			spec.Mounts = append(spec.Mounts, Mount{Type: Bind, Source: dir, Target: "/m", Propagation: c.mount})
			withMounts(t, func() {
				sharedMount(t, dir)
				equal(t, "kind", run(t, spec), c.want)
				mounts, _ := os.ReadFile("/proc/thread-self/mounts")
				if strings.Contains(string(mounts), "inside "+dir) != c.reaches {
					t.Errorf("reaches the host: %v", !c.reaches)
				}
			})
		})
	}
	for want, v := range map[string]uint64{"shared": unix.MS_SHARED, "unbindable": unix.MS_UNBINDABLE | unix.MS_REC, "-": unix.MS_PRIVATE} {
		spec := bareSpec(t, "set -- $(mnt /); echo $2")
		spec.RootFS.Propagation = v
		equal(t, "the root", run(t, spec), want)
	}
}

func TestBareNoPivot(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "ls / | tr '\\n' ' '; pwd; cat /proc/self/mounts | wc -l")
	spec.NoPivot = true
	if out := run(t, spec); !strings.Contains(out, "proc") || strings.Contains(out, "home") {
		t.Error(out)
	}
	// Nor is anything left that a user namespace inside could be shown whole.
	spec = bareSpec(t, "unshare -Urpfm sh -c 'mount -t proc proc /proc && echo unmasked' 2>/dev/null || echo refused")
	spec.NoPivot = true
	spec.Process.IDs = &IDs{UID: 1000, GID: 1000}
	equal(t, "a /proc of a user namespace inside", run(t, spec), "refused")
}

func TestBareCgroups(t *testing.T) {
	needRoot(t)
	const unified, pids = "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"
	for _, d := range []string{unified, pids} {
		if _, err := os.Stat(d + "/cgroup.procs"); err != nil {
			t.Skip("the groups of this host are laid out otherwise; the VM has v2 alone")
		}
	}
	name := "/berth-bare-test-" + strconv.Itoa(os.Getpid())
	for _, d := range []string{unified, pids} {
		if err := os.Mkdir(d+name, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(d + name)
		if err := os.Mkdir(d+name+"/below", 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(d + name + "/below")
	}
	for _, mode := range []NSMode{NSNew, NSHost} {
		for _, ro := range []bool{true, false} {
			spec := bareSpec(t, "grep -E '^0:|:pids:' /proc/self/cgroup; cd /sys/fs/cgroup; ls -d unified/below pids/below; mkdir unified/x 2>/dev/null && rmdir unified/x && echo made; (echo x >y) 2>/dev/null && echo written; ls")
			spec.Namespaces.Cgroup.Mode = mode
			spec.Cgroup = Cgroup{Unified: true, Legacy: []string{"pids"}}
			if !ro {
				spec.Mounts[6].Set &^= unix.MOUNT_ATTR_RDONLY
			}
			dir, err := os.Open(unified + name)
			if err != nil {
				t.Fatal(err)
			}
			procs, err := os.OpenFile(pids+name+"/cgroup.procs", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			out := runWith(t, spec, Files{CgroupDir: dir, CgroupProcs: map[string]*os.File{"pids": procs}})
			dir.Close()
			procs.Close()
			at := "/"
			if mode == NSHost {
				at = name
			}
			if !strings.Contains(out, "0::"+at+"\n") || !strings.Contains(out, ":pids:"+at+"\n") || !strings.Contains(out, "pids/below\nunified/below\n") {
				t.Errorf("mode %d: %s", mode, out)
			}
			if strings.Contains(out, "made\nwritten\n") == ro || !strings.Contains(out, "cpu\ncpuacct\n") {
				t.Errorf("read-only %v: %s", ro, out)
			}
		}
	}
}

func TestBareDevices(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, `stat -c '%n %F %t:%T %a %u %g' /dev/fuse /dev/null /x/y/loop /dev/fifo /dev/kept`)
	mknod := func(name string, typ uint32) {
		if err := unix.Mknod(filepath.Join(spec.RootFS.Path, name), typ|0o600, int(unix.Mkdev(1, 9))); err != nil {
			t.Fatal(err)
		}
	}
	spec.Devices = []DeviceNode{
		{Path: "/dev/fuse", Make: &Node{Type: 'c', Major: 10, Minor: 229, Mode: 0o602, UID: 11, GID: 12}},
		{Path: "/dev/null", Make: &Node{Type: 'c', Major: 1, Minor: 3, Mode: 0o622}},
		{Path: "/x/y/loop", Make: &Node{Type: 'b', Major: 7, Minor: 300, Mode: 0o640}},
		{Path: "/dev/fifo", Make: &Node{Type: 'p', Mode: 0o777}},
		{Path: "/dev/ptmx", Make: &Node{Type: 'c', Major: 5, Minor: 2, Mode: 0o666}},
		{Path: "/dev/kept", Make: &Node{Type: 'c', Major: 1, Minor: 9, Mode: 0o666, UID: 7}},
	}
	spec.Mounts = append(spec.Mounts[:1:1], spec.Mounts[5:]...) // no file system on /dev: what the root has
	mknod("dev/kept", unix.S_IFCHR)
	equal(t, "nodes", run(t, spec), `/dev/fuse character special file a:e5 602 11 12
/dev/null character special file 1:3 622 0 0
/x/y/loop block special file 7:12c 640 0 0
/dev/fifo fifo 0:0 777 0 0
/dev/kept character special file 1:9 600 0 0`)
	// A second start finds them all there.
	run(t, spec)
	if to, err := os.Readlink(filepath.Join(spec.RootFS.Path, "dev/ptmx")); to != "pts/ptmx" {
		t.Error(to, err)
	}
	for name, prepare := range map[string]func(string){
		"other number": func(p string) { unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) },
		"other type":   func(p string) { unix.Mknod(p, unix.S_IFBLK|0o666, int(unix.Mkdev(1, 3))) },
		"a file":       func(p string) { write(t, p, "") },
		"a link":       func(p string) { os.Symlink("zero", p) },
	} {
		p := filepath.Join(spec.RootFS.Path, "dev/null")
		os.Remove(p)
		prepare(p)
		if e := fails(t, spec); e.Path != "/dev/null" || e.Hint == "" && e.Op != "expect" {
			t.Errorf("%s: %v", name, e)
		}
	}
}

func TestBareIDs(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "id -u; id -g; id -G; echo $HOME; echo $USER")
	spec.Process.IDs = &IDs{UID: 1234, GID: 1235, Groups: []uint32{7, 8}}
	passwd := filepath.Join(spec.RootFS.Path, "etc/passwd")
	write(t, passwd, "root:x:0:0::/root:/bin/sh\nme:x:1234:1::/home/me:/bin/sh\n")
	equal(t, "ids", run(t, spec), "1234\n1235\n1235 7 8\n/home/me\n")
	spec.Process.Env = append(spec.Process.Env, "HOME=/given")
	equal(t, "ids", run(t, spec), "1234\n1235\n1235 7 8\n/given\n")
	spec.Process.Env = spec.Process.Env[:len(spec.Process.Env)-1]
	// A hostile file is no file.
	for name, make := range map[string]func(){
		"fifo":  func() { unix.Mkfifo(passwd, 0o644) },
		"link":  func() { os.Symlink("/proc/1/root/etc/passwd", passwd) },
		"loop":  func() { os.Symlink("passwd", passwd) },
		"large": func() { write(t, passwd, strings.Repeat("x", 9<<20)) },
		"none":  func() {},
		"id":    func() { write(t, passwd, "x:x:99999999999999999999:0::/a:/b\n1234:x:0:0::/wrong:/b\n") },
		"nul":   func() { write(t, passwd, "me:x:1234:1::/a\x00b:/b\n") },
	} {
		os.Remove(passwd)
		make()
		if out := run(t, spec); !strings.HasSuffix(out, "\n/\n") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

func TestBareRefused(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for name, m := range map[string]Mount{
		"tmpfs on proc":     {Type: FileSystem, FSType: "tmpfs", Target: "/proc"},
		"in proc":           {Type: Bind, Source: dir, Target: "/proc/self/attr"},
		"in proc by dots":   {Type: Bind, Source: dir, Target: "/x/../proc/./sys"},
		"volume":            {Type: Volume, Source: dir, Target: "/x"},
		"no type":           {Type: FileSystem, Target: "/x"},
		"copy of no tmpfs":  {Type: FileSystem, FSType: "proc", Target: "/x", CopyUp: true},
		"long options":      {Type: FileSystem, FSType: "tmpfs", Target: "/x", Data: []string{strings.Repeat("x", 5000)}},
		"the root":          {Type: Bind, Source: dir, Target: "/x/.."},
		"owner with a name": {Type: Tmpfs, Target: "/x", User: "daemon"},
	} {
		spec := bareSpec(t, "true")
		spec.Mounts = append(spec.Mounts, m)
		if _, err := Compile(spec); err == nil {
			t.Errorf("%s was compiled", name)
		}
	}
	spec := bareSpec(t, "true")
	spec.Mounts = append(spec.Mounts, Mount{Type: FileSystem, FSType: "tmpfs", Target: "/m", Data: []string{"no-such-option=1"}})
	if e := fails(t, spec); e.Path != "no-such-option" || e.Hint == "" {
		t.Error(e)
	}
	spec.Mounts[len(spec.Mounts)-1] = Mount{Type: Remount, Target: "/etc", Set: unix.MOUNT_ATTR_RDONLY}
	if e := fails(t, spec); e.Path != "/etc" || e.Hint == "" {
		t.Error(e)
	}
}

// A privileged container has every device of the host, and masks are cheap to ask for.
func TestBareWithHundredsOfDevices(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "ls /dev/bus | wc -l; ls /dev/tty* | wc -l")
	for i := range 300 {
		spec.Devices = append(spec.Devices, DeviceNode{Path: "/dev/tty" + strconv.Itoa(i), Make: &Node{Type: 'c', Major: 4, Minor: uint32(i), Mode: 0o620, GID: 5}},
			DeviceNode{Path: "/dev/bus/" + strconv.Itoa(i), Make: &Node{Type: 'c', Major: 189, Minor: uint32(i), Mode: 0o660}})
	}
	for i := range 300 {
		spec.MaskedPaths = append(spec.MaskedPaths, "/proc/irq/"+strconv.Itoa(i))
	}
	equal(t, "devices", run(t, spec), "300\n301")
}
