package isolate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const sealedMount = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// bareSpec is what an engine asks for an ordinary container on a directory of
// its own, which has the host's programs.
func bareSpec(t testing.TB, script string) *Spec {
	t.Helper()
	spec := pathSpec(t, script)
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
		{Type: CgroupFS, Source: "cgroup", Target: "/sys/fs/cgroup", Set: sealedMount | unix.MOUNT_ATTR_RDONLY},
	}, programs...)
	spec.Process.Env = []string{"PATH=/usr/bin:/bin", "TERM=xterm"}
	spec.Process.IDs = &IDs{}
	spec.MaskedPaths = []string{"/proc/kcore", "/proc/acpi", "/sys/firmware", "/proc/nothing-here"}
	spec.ReadonlyPaths = []string{"/proc/sys", "/proc/bus", "/proc/nothing-here"}
	return spec
}

func TestBare(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, `cat /proc/mounts | cut -d' ' -f2-4 | grep -v ' /usr\| /lib\| /bin\| /sbin'; hostname; env; ls -l /dev | sed 1d | sed 's/.*:[0-9]* //'; ls /sys/fs/cgroup; ls /sys/firmware; cat /proc/kcore; ls /proc/self/fd; echo >/proc/sys/kernel/domainname || echo ro; cat /proc/1/comm; id`)
	t.Log(run(t, spec))
	if _, err := os.Stat(filepath.Join(spec.RootFS.Path, "dev/null")); err == nil {
		t.Error("a device was made on the disk")
	}
	_ = strings.TrimSpace
}
