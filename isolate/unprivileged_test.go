package isolate

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// testUser is an ordinary user that needs no entry anywhere.
const testUser = 1000

// ordinary runs a test as an ordinary user, in a process of its own that root starts.
func ordinary(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getuid() == testUser {
		test(t)
		return
	}
	needRoot(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "HOME=/nonexistent")
	// With mounts of its own, which others on the machine do not change meanwhile.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: testUser, Gid: testUser}, Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("as user %d: %v\n%s", testUser, err, out)
	}
}

// byUser gives a Spec a user namespace that an ordinary user can make: its own id is root.
func byUser(spec *Spec) *Spec {
	spec.Unprivileged = true
	spec.Namespaces.User = &UserNamespace{DenySetgroups: true, Map: IDMap{
		UIDs: []IDRange{{0, uint32(os.Getuid()), 1}}, GIDs: []IDRange{{0, uint32(os.Getgid()), 1}}}}
	return spec
}

func TestUnprivilegedOnTheHostsRoot(t *testing.T) {
	ordinary(t, func(t *testing.T) {
		out := run(t, byUser(shell(`id -u; cat /proc/self/uid_map; echo $$; cat /sys/class/net/lo/flags; ls /dev | tr '\n' ' '; echo x >/tmp/x; mkdir /run/y; echo y >/dev/null; head -c 3 /dev/zero | wc -c
			stat -c '%t,%T' /dev/null; ls -A /home /root /tmp /var/tmp | tr '\n' ' '; hostname; touch /x 2>/dev/null || echo read-only; cat /proc/keys 2>/dev/null || echo masked`)))
		equal(t, "output", words(out), "0 0 1000 1 1 0x9 fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero 3 1,3 /home: /root: /tmp: x /var/tmp: test read-only masked")
	})
}

func TestUnprivilegedHasNothing(t *testing.T) {
	ordinary(t, func(t *testing.T) {
		out := run(t, byUser(hostSpec("/bin/cat", "/proc/self/status")))
		for _, f := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			equal(t, f, field(t, out, f), "0000000000000000")
		}
		equal(t, "NoNewPrivs", field(t, out, "NoNewPrivs"), "1")
	})
}

func TestUnprivilegedRoots(t *testing.T) {
	ordinary(t, func(t *testing.T) {
		t.Run("path", func(t *testing.T) {
			spec := byUser(pathSpec(t, "stat -c %u / /etc; touch /x 2>/dev/null || echo refused"))
			equal(t, "read-only", words(run(t, spec)), "0 0 refused")
			spec.RootFS.Writable = Direct
			spec.Process.Args[2] = "touch /x; stat -c %u /x"
			equal(t, "direct", words(run(t, spec)), "0")
			equal(t, "on disk", owner(t, filepath.Join(spec.RootFS.Path, "x")), "1000:1000")
		})
		t.Run("ephemeral", func(t *testing.T) {
			spec := byUser(pathSpec(t, "test ! -e /x; echo hello >/x; cat /x"))
			spec.RootFS.Writable = Ephemeral
			for range 2 {
				equal(t, "cat", run(t, spec), "hello")
			}
		})
		t.Run("persistent", func(t *testing.T) {
			spec := byUser(pathSpec(t, "cat /x; echo hello >>/x; rm -r /etc; mkdir /etc; ls /etc"))
			write(t, filepath.Join(spec.RootFS.Path, "etc/below"), "")
			spec.RootFS.Writable, spec.RootFS.StateDir = Persistent, filepath.Join(t.TempDir(), "a", "st:a,te")
			// Overlay's own directory has no mode, which is in the way of removing it.
			t.Cleanup(func() { os.Chmod(filepath.Join(spec.RootFS.StateDir, "work/work"), 0o700) })
			start(t, spec, Files{})
			equal(t, "cat", run(t, spec), "hello")
		})
		t.Run("layers", func(t *testing.T) {
			spec := byUser(pathSpec(t, "cat /etc/a /etc/b; touch /x 2>/dev/null || echo refused; id -un"))
			top := t.TempDir()
			os.Mkdir(filepath.Join(top, "etc"), 0o755)
			write(t, filepath.Join(spec.RootFS.Path, "etc/a"), "low a\n")
			write(t, filepath.Join(spec.RootFS.Path, "etc/b"), "low b\n")
			write(t, filepath.Join(top, "etc/b"), "top b\n")
			write(t, filepath.Join(top, "etc/passwd"), "me:x:0:0::/:/bin/sh\n")
			spec.RootFS = RootFS{Layers: []string{spec.RootFS.Path, top}}
			spec.Process.User = "me"
			equal(t, "cat", run(t, spec), "low a\ntop b\nrefused\nme")
			spec.RootFS.Writable = Ephemeral
			equal(t, "cat", run(t, spec), "low a\ntop b\nme")
		})
	})
}

func TestUnprivilegedMounts(t *testing.T) {
	ordinary(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "file"), "contents\n")
		spec := byUser(shell(`cat /run/deep/er/file /run/one; touch /run/deep/er/x 2>/dev/null || echo refused; touch /run/rw/new 2>/dev/null || echo refused; stat -c '%a %u' /srv /run/vol; touch /run/vol/x; test -c /dev/full && echo device; cat /etc/hostname 2>/dev/null || echo masked`))
		spec.Mounts = []Mount{
			{Type: Bind, Source: dir, Target: "/run/deep/er", ReadOnly: true},
			{Type: Bind, Source: filepath.Join(dir, "file"), Target: "/run/one"},
			{Type: Bind, Source: dir, Target: "/run/rw"},
			{Type: Tmpfs, Target: "/srv", Mode: 0o700},
			{Type: Volume, Source: filepath.Join(dir, "volume"), Target: "/run/vol", Mode: 0o750},
		}
		spec.MaskedPaths, spec.ReadonlyPaths = []string{"/etc/hostname", "/opt"}, []string{"/run/rw"}
		equal(t, "output", words(run(t, spec)), "contents contents refused refused 700 0 750 0 device masked")
		equal(t, "on disk", owner(t, filepath.Join(dir, "volume/x")), "1000:1000")
		// What is read-only is so from now on only.
		if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
			t.Error("a read-only path was written to")
		}
	})
}

func TestUnprivilegedNamespacesAndSettings(t *testing.T) {
	ordinary(t, func(t *testing.T) {
		oom, nice := 300, 4
		net, _ := os.Readlink("/proc/self/ns/net")
		spec := byUser(shell("readlink /proc/self/ns/net; cat /proc/self/oom_score_adj; nice; ulimit -Hn; ls /sys/class/net >/dev/null && echo sys"))
		spec.Namespaces.Network.Mode, spec.Namespaces.IPC.Mode = NSHost, NSHost
		spec.Process.Scheduling = Scheduling{OOMScoreAdjust: &oom, Nice: &nice}
		spec.Process.Rlimits = []Rlimit{{unix.RLIMIT_NOFILE, "nofile", 100, 200}}
		equal(t, "settings", words(run(t, spec)), net+" 300 4 200 sys")
		spec.Process.Rlimits[0].Hard = 1 << 30
		if e := fails(t, spec); e.Op != "prlimit64" || e.Errno != unix.EPERM {
			t.Errorf("%v", e)
		}
		spec.Process.Rlimits = nil
		oom = -1000
		if e := fails(t, spec); e.Op != "write_oom_score_adj" || e.Errno != unix.EACCES {
			t.Errorf("%v", e)
		}
	})
}

func TestUnprivilegedUsers(t *testing.T) {
	ordinary(t, func(t *testing.T) {
		spec := byUser(hostSpec("/bin/true"))
		spec.Process.User = "daemon"
		if e := fails(t, spec); !strings.Contains(e.Error(), "user 1 is not mapped in the user namespace, which has 0-0") {
			t.Errorf("%v", e)
		}
		// Other ids than its own a user may not map by itself.
		spec = byUser(hostSpec("/bin/true"))
		spec.Namespaces.User.Map.UIDs[0].Outside = 12345
		if e := fails(t, spec); e.Op != "write_id_maps" || e.Errno != unix.EPERM {
			t.Errorf("%v", e)
		}
	})
}

func TestUnprivilegedFailureAtEveryStepLeavesNothing(t *testing.T) {
	ordinary(t, func(t *testing.T) {
		spec := everything(t)
		spec.RootFS.Writable, spec.Process.User, spec.Mounts[1].User = ReadOnly, "", ""
		spec.Mounts[1].Target, spec.Mounts[2].Target = "/run/tmpfs", "/run/volume"
		failEverywhere(t, byUser(spec))
	})
}

// TestUnprivilegedTools maps a range of subordinate ids by newuidmap and newgidmap.
func TestUnprivilegedTools(t *testing.T) {
	ids := strconv.Itoa(testUser) + ":200000:65536\n"
	if os.Getuid() == 0 {
		if _, err := exec.LookPath("newuidmap"); err != nil {
			if os.Getenv("BERTH_NO_SKIP") != "" {
				t.Fatal(err)
			}
			t.Skip("there is no newuidmap")
		}
		// In a mount namespace of its own the machine's files stay as they are.
		dir := t.TempDir()
		write(t, filepath.Join(dir, "ids"), ids)
		write(t, filepath.Join(dir, "passwd"), "joe:x:"+strconv.Itoa(testUser)+":"+strconv.Itoa(testUser)+"::/:/bin/sh\n")
		os.Chmod(dir, 0o755)
		cmd := exec.Command("/bin/sh", "-c", `mount --bind $1/ids /etc/subuid && mount --bind $1/ids /etc/subgid && mount --bind $1/passwd /etc/passwd && exec setpriv --reuid 1000 --regid 1000 --clear-groups $2 -test.run='^TestUnprivilegedTools$' -test.v`, "sh", dir, "/proc/self/fd/3")
		self, err := os.Open("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		defer self.Close()
		cmd.ExtraFiles = []*os.File{self}
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if os.Getuid() != testUser {
		needRoot(t)
	}
	spec := byUser(shell("id -u; id -g; id -G; cat /proc/self/uid_map; cat /proc/self/setgroups"))
	own := uint32(testUser)
	r := []IDRange{{0, own, 1}, {1, 200000, 65536}}
	spec.Namespaces.User = &UserNamespace{Tools: true, Map: IDMap{UIDs: r, GIDs: r}}
	spec.Process.User, spec.Process.Group, spec.Process.Groups = "33", "34", []string{"77"}
	equal(t, "ids", words(run(t, spec)), "33 34 34 77 0 1000 1 1 200000 65536 allow")
	spec.Namespaces.User.Map.UIDs = []IDRange{{0, own, 1}, {1, 300000, 65536}}
	if e := fails(t, spec); e.Op != "write_id_maps" || !strings.Contains(e.Error(), "newuidmap") || !strings.Contains(e.Hint, "/etc/subuid") {
		t.Errorf("%v (%s)", e, e.Hint)
	}
}

func TestRefusedUnprivileged(t *testing.T) {
	for _, c := range []struct {
		set  func(*Spec)
		want string
	}{
		{func(s *Spec) { s.Namespaces.User = nil }, "needs a user namespace"},
		{func(s *Spec) { m := ownIDs(); s.RootFS.IDMap = &m }, "cannot be idmapped without privileges"},
		{func(s *Spec) {
			m := ownIDs()
			s.Mounts = []Mount{{Type: Bind, Source: "/x", Target: "/y", IDMap: &m}}
		}, "mount 1 on /y cannot be idmapped"},
		{func(s *Spec) { s.RootFS.Writable = Ephemeral }, "the host's root cannot be written to without privileges"},
		{func(s *Spec) { s.Namespaces.PID.Mode = NSHost }, "the host's PID namespace"},
		{func(s *Spec) { s.Namespaces.Network = Namespace{Mode: NSJoin, Path: "/x"} }, "the network namespace of another container cannot be joined"},
	} {
		spec := byUser(hostSpec("/bin/true"))
		c.set(spec)
		if _, err := Compile(spec); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, have %v", c.want, err)
		}
	}
}

// nested runs a test as root of a user namespace, which has a range of ids.
func nested(t *testing.T) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "BERTH_NESTED=1")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 70000}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
	}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("nested: %v\n%s", err, out)
	}
}

// The child is traceable only until its maps are written: then the files of its
// process are root's, whoever it runs as.
func TestUnprivilegedChildCannotBeTraced(t *testing.T) {
	ordinary(t, func(t *testing.T) {
		p, err := Compile(byUser(hostSpec("/bin/true")))
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(p.Inside, func(s program.Step) bool { return s.Sys == program.SysOpenTree })
		prep, err := prepare(p, Files{}, 0, at+1) // there it stops, and waits at the gate
		if err != nil {
			t.Fatal(err)
		}
		defer prep.Close()
		child, err := prep.Fork()
		if err != nil {
			t.Fatal(err)
		}
		if err := prep.Wait(deadline()); err == nil {
			t.Error("the fault was passed over")
		}
		if o := owner(t, "/proc/"+strconv.Itoa(child.PID)+"/mem"); o != "0:0" {
			t.Errorf("its memory belongs to %s", o)
		}
		if f, err := os.Open("/proc/" + strconv.Itoa(child.PID) + "/mem"); err == nil {
			f.Close()
			t.Error("its memory can be opened")
		}
		child.Kill()
		child.Wait()
	})
}
