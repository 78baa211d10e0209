package early

import (
	"berth/supervisor/machine"

	"golang.org/x/sys/unix"
)

// node is a character device of the kernel (Documentation/admin-guide/devices.txt).
type node struct {
	path         string
	mode         uint32
	major, minor uint32
	gid          int
	container    bool
}

// nodes are made where they are missing: devtmpfs has them all.
var nodes = [...]node{
	{path: "/dev/null", mode: 0o666, major: 1, minor: 3, container: true},
	{path: "/dev/zero", mode: 0o666, major: 1, minor: 5, container: true},
	{path: "/dev/full", mode: 0o666, major: 1, minor: 7, container: true},
	{path: "/dev/random", mode: 0o666, major: 1, minor: 8, container: true},
	{path: "/dev/urandom", mode: 0o666, major: 1, minor: 9, container: true},
	{path: "/dev/kmsg", mode: 0o600, major: 1, minor: 11},
	{path: "/dev/tty", mode: 0o666, major: 5, minor: 0, gid: 5, container: true},
	{path: "/dev/console", mode: 0o600, major: 5, minor: 1},
	{path: "/dev/ptmx", mode: 0o666, major: 5, minor: 2, gid: 5, container: true},
	{path: "/dev/tty0", mode: 0o620, major: 4, minor: 0, gid: 5},
	{path: "/dev/tty1", mode: 0o620, major: 4, minor: 1, gid: 5},
	{path: "/dev/ttyS0", mode: 0o660, major: 4, minor: 64, gid: 5},
}

// links are what devtmpfs lacks and programs expect (devices.txt, "compulsory
// links").
var links = [...]struct{ path, to string }{
	{"/dev/fd", "/proc/self/fd"},
	{"/dev/stdin", "/proc/self/fd/0"},
	{"/dev/stdout", "/proc/self/fd/1"},
	{"/dev/stderr", "/proc/self/fd/2"},
}

// fallback makes /dev a tmpfs where the kernel has no devtmpfs, so that nodes can
// be made on a root that cannot be written.
var fallback = mount{source: "tmpfs", kind: "tmpfs", target: "/dev", flags: unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_STRICTATIME, data: []string{"mode=0755"}}

// makeNodes makes what is missing in /dev.
func makeNodes(place machine.Place) error {
	var failed error
	for i := range nodes {
		n := &nodes[i]
		if place == machine.Container && !n.container || exists(n.path) {
			continue
		}
		err := unix.Mknod(n.path, unix.S_IFCHR|n.mode, int(unix.Mkdev(n.major, n.minor)))
		if err == nil {
			err = unix.Lchown(n.path, 0, n.gid)
		}
		if failed == nil {
			failed = err
		}
	}
	for i := range links {
		// There already, or on a file system that cannot be written: the nodes,
		// which count, tell that.
		_ = unix.Symlink(links[i].to, links[i].path)
	}
	return failed
}

func exists(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil
}
