package isolate

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHostMountNamespace holds that a container without a mount namespace has its
// root and its mounts, and that nothing of them is seen or left on the host.
func TestHostMountNamespace(t *testing.T) {
	needRoot(t)
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	spec := bareSpec(t, `exec 2>/dev/null; readlink /proc/self/ns/mnt; ls -d /dev/null /dev/pts/ptmx /sys/fs/cgroup/*; hostname
cat /proc/kcore | wc -c; ls /sys/firmware; echo x >/proc/sys/kernel/hostname || echo refused
cd /dev/shm; echo hello >a; cat a; cd /; cd ..; ls mark; cat /proc/mounts | wc -l; ls /proc/self/fd | wc -l; umount /dev/shm || echo refused`)
	spec.Namespaces.Mount.Mode = NSHost
	write(t, spec.RootFS.Path+"/mark", "")
	out := run(t, spec)
	own, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	groups, rest, _ := strings.Cut(out, "bare\n")
	if strings.Count(groups, "/sys/fs/cgroup/") == 0 {
		t.Errorf("no group is mounted:\n%s", out)
	}
	out = regexp.MustCompile(`(/sys/fs/cgroup/.*\n)+`).ReplaceAllString(groups, "GROUPS\n") + "bare\n" + rest
	equal(t, "the container", out, own+`
/dev/null
/dev/pts/ptmx
GROUPS
bare
0
refused
hello
mark
0
4
refused`)
	after, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) || strings.Contains(string(after), spec.RootFS.Path) {
		t.Errorf("the host's mounts have changed:\n%s", after)
	}
	spec.RootFS.Writable = ReadOnly
	spec.Process.Args = []string{"/bin/sh", "-c", "touch /x 2>/dev/null || echo refused"}
	equal(t, "a read-only root", run(t, spec), "refused")
}

// TestRemountKeepsTheRest holds that what is not given in a remount stays.
func TestRemountKeepsTheRest(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "grep ' /dev/shm ' /proc/mounts | cut -d' ' -f4; grep ' /proc ' /proc/mounts | cut -d' ' -f4")
	spec.Mounts = append(spec.Mounts,
		Mount{Type: Remount, Target: "/dev/shm", Set: unix.MOUNT_ATTR_NODIRATIME, Clear: unix.MOUNT_ATTR_NOEXEC, Data: []string{"size=1m", "lazytime"}},
		Mount{Type: Remount, Target: "/proc", Data: []string{"hidepid=2"}})
	equal(t, "the options", run(t, spec), "rw,lazytime,nosuid,nodev,nodiratime,relatime,size=1024k\nrw,nosuid,nodev,noexec,relatime,hidepid=invisible")
}

func TestHostMountsAreForBareOnly(t *testing.T) {
	spec := hostSpec("/bin/true")
	spec.Namespaces.Mount.Mode = NSHost
	if _, err := Compile(spec); err == nil || !strings.Contains(err.Error(), "mount namespace") {
		t.Errorf("compiled: %v", err)
	}
	spec = goldenBare()
	spec.Namespaces.Mount.Mode = NSHost
	spec.Namespaces.User = &UserNamespace{Map: IDMap{UIDs: []IDRange{{0, 100000, 1000}}, GIDs: []IDRange{{0, 100000, 1000}}}}
	if _, err := Compile(spec); err == nil || !strings.Contains(err.Error(), "where it may not mount") {
		t.Errorf("compiled: %v", err)
	}
}
