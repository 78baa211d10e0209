package isolate

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// outsideFile makes a file of the host that a container is not to reach, opens its
// directory, and leaves both open in this process and without close-on-exec.
func outsideFile(t *testing.T) (secret string) {
	t.Helper()
	dir := t.TempDir()
	secret = filepath.Join(dir, "secret")
	write(t, secret, "secret\n")
	for _, f := range []string{dir, secret, "/"} {
		fd, err := unix.Open(f, unix.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
	}
	return secret
}

// No descriptor of the starter's is there, neither in the program nor in the
// commands before it, and none can be the working directory (CVE-2024-21626).
func TestNoDescriptorLeaks(t *testing.T) {
	needRoot(t)
	outsideFile(t)
	const list = "ls -l /proc/self/fd | sed 's/.*-> //' | grep -v -e ^total -e ^pipe: -e ^/dev/null -e ^/proc/"
	spec := pathSpec(t, list+"; exit 0")
	spec.PreStart = [][]string{{"/bin/sh", "-c", list + "; exit 0"}}
	equal(t, "descriptors", run(t, spec), "")
	_, pidfd := background(t, pathSpec(t, "sleep 300"))
	out, ws, err := execIn(t, pidfd, &Process{Args: []string{"/bin/sh", "-c", list + "; exit 0"}})
	if err != nil || ws != 0 || out != "" {
		t.Errorf("exec: %q %#x %v", out, uint32(ws), err)
	}
}

func TestWorkingDirectoryStaysInside(t *testing.T) {
	needRoot(t)
	secret := outsideFile(t)
	dirs := []string{"/proc/1/cwd", "/proc/self/cwd", "/proc/self/root/..", "/proc/thread-self/root", "/link", "/up"}
	for fd := range 24 {
		dirs = append(dirs, fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	const where = `pwd -P; ls -d secret ../secret ../../secret 2>/dev/null; cat secret 2>/dev/null; exit 0`
	check := func(how, dir, out string, err error) {
		// What is let through is inside, where there is no such file.
		if err == nil && (strings.Contains(out, "secret") || strings.Contains(out, "unreachable") || !strings.HasPrefix(out, "/")) {
			t.Errorf("%s in %s: %q", how, dir, out)
		}
	}
	spec := pathSpec(t, where)
	os.Symlink(filepath.Dir(secret), filepath.Join(spec.RootFS.Path, "link"))
	os.Symlink("../../../../../../../.."+filepath.Dir(secret), filepath.Join(spec.RootFS.Path, "up"))
	_, pidfd := background(t, func() *Spec {
		s := *spec
		s.Process.Args = []string{"sleep", "300"}
		return &s
	}())
	for _, dir := range dirs {
		spec.Process.Dir = dir
		out, _, err := start(t, spec, Files{})
		check("start", dir, out, err)
		out, _, err = execIn(t, pidfd, &Process{Args: []string{"/bin/sh", "-c", where}, Dir: dir})
		check("exec", dir, out, err)
	}
}

// A starter whose thread has inheritable and ambient capabilities gives none of
// them away.
func TestNoInheritableCapabilities(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i].Inheritable = data[i].Permitted
	}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
	for c := range 40 {
		unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0) // those that there are
	}
	_, pidfd := background(t, pathSpec(t, "sleep 300"))
	for _, user := range []string{"", "daemon"} {
		for _, filter := range [][]byte{nil, denyMkdir(mkdirNumbers...)} {
			for _, privileges := range []bool{false, true} {
				p := Process{Args: []string{"cat", "/proc/self/status"}, User: user, Seccomp: filter, NoNewPrivileges: !privileges}
				spec := hostSpec()
				spec.Process = p
				out, _, err := execIn(t, pidfd, &Process{Args: p.Args, Seccomp: filter, NoNewPrivileges: !privileges})
				if err != nil {
					t.Fatal(err)
				}
				for how, text := range map[string]string{"start": run(t, spec), "exec": out} {
					for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
						if v := field(t, text, set); strings.Trim(v, "0") != "" {
							t.Errorf("%s as %q, filter %t, privileges %t: %s is %s", how, user, filter != nil, privileges, set, v)
						}
					}
				}
			}
		}
	}
}
