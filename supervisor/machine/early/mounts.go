package early

import (
	"berth/supervisor/machine"

	"golang.org/x/sys/unix"
)

// mount is a file system that PID 1 makes unless something is mounted there.
type mount struct {
	source string // as /proc/mounts shows it
	kind   string
	target string
	flags  uintptr
	// data are the options, best first: a kernel that does not know one of them
	// gets the next.
	data []string
	// container tells whether a container gets it too, where it is missing.
	container bool
	// optional: no word when the kernel does not have it, or its directory.
	optional bool
}

const (
	noExec  = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	pts     = "mode=0620,gid=5" // tty is 5 on every distribution, and in systemd
	cgroups = "nsdelegate,memory_recursiveprot"
)

// procMount comes first: it tells whether this is a machine.
var procMount = mount{source: "proc", kind: "proc", target: "/proc", flags: noExec, data: []string{""}, container: true}

// mounts are the rest, in order. The flags are those of systemd, which programs
// have come to expect.
var mounts = [...]mount{
	{source: "sysfs", kind: "sysfs", target: "/sys", flags: noExec, data: []string{""}, container: true},
	{source: "devtmpfs", kind: "devtmpfs", target: "/dev", flags: unix.MS_NOSUID | unix.MS_STRICTATIME, data: []string{"mode=0755", ""}},
	{source: "devpts", kind: "devpts", target: "/dev/pts", flags: unix.MS_NOSUID | unix.MS_NOEXEC, data: []string{pts, ""}, container: true},
	{source: "tmpfs", kind: "tmpfs", target: "/dev/shm", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_STRICTATIME, data: []string{"mode=1777"}, container: true},
	{source: "tmpfs", kind: "tmpfs", target: "/run", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_STRICTATIME, data: []string{"mode=0755,size=20%,nr_inodes=800k", "mode=0755"}, container: true},
	{source: "cgroup2", kind: "cgroup2", target: "/sys/fs/cgroup", flags: noExec, data: []string{cgroups, "nsdelegate", ""}, container: true},
	{source: "securityfs", kind: "securityfs", target: "/sys/kernel/security", flags: noExec, data: []string{""}, optional: true},
	{source: "efivarfs", kind: "efivarfs", target: "/sys/firmware/efi/efivars", flags: noExec, data: []string{""}, optional: true},
}

// perform mounts m unless something is mounted there, or nothing is missing.
func (m *mount) perform(place machine.Place) error {
	if isMount(m.target) {
		return nil
	}
	if place == machine.Container && (!m.container || m.kind == "tmpfs" && writable(m.target)) {
		return nil
	}
	// On a root that cannot be written the directory is there or the mount fails,
	// and that error tells more.
	_ = unix.Mkdir(m.target, 0o755)
	var err error
	for _, data := range m.data {
		if err = unix.Mount(m.source, m.target, m.kind, m.flags, data); err != unix.EINVAL {
			break
		}
	}
	switch {
	case err == nil, place == machine.Container:
		// A container has what its maker wanted it to have.
		return nil
	case m.optional && (err == unix.ENODEV || err == unix.ENOENT):
		return nil
	}
	return err
}

// isMount tells whether something is mounted at the path (statx(2), Linux 5.8).
func isMount(path string) bool {
	var stx unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, 0, &stx)
	return err == nil && stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// writable tells whether a directory is there and can be written, whatever it
// lies on: what a container's maker put below it stays in sight.
func writable(path string) bool { return unix.Access(path, unix.W_OK) == nil }
