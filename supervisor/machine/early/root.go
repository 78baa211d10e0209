package early

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// leaveInitramfs gives a machine that runs in an initramfs a root mount of its
// own: the same files, bound over the root. The initramfs itself is the parent of
// all mounts and cannot be left by pivot_root(2), as every container does, in
// whatever namespace. It costs no memory, and switch_root(8) works from it too.
func leaveInitramfs() error {
	if !onRootfs() {
		return nil
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	// "/" is still what lies below.
	if err := unix.Fchdir(tree); err != nil {
		return err
	}
	return unix.Chroot(".")
}

// onRootfs tells whether this process' root is the kernel's first mount, which
// alone is its own parent. That is then the first line of mountinfo
// (proc_pid_mountinfo(5): mount, parent, device, root, mount point).
func onRootfs() bool {
	fd, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var buffer [256]byte
	n, err := unix.Read(fd, buffer[:])
	if err != nil {
		return false
	}
	return isRootfs(buffer[:n])
}

// isRootfs is onRootfs for the beginning of a mountinfo.
func isRootfs(mountinfo []byte) bool {
	f := bytes.SplitN(mountinfo, []byte(" "), 6)
	return len(f) == 6 && bytes.Equal(f[0], f[1]) && string(f[3]) == "/" && string(f[4]) == "/"
}
