package final

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// otherInits are looked for on the next root where it has no berthd at the path
// of this one.
var otherInits = []string{"/sbin/init", "/usr/sbin/init", "/usr/sbin/berthd", "/sbin/berthd"}

// nextInit gives the program to execute on the root file system at root: own, or
// one of otherInits. Links are followed inside of it.
func nextInit(root, own string) (string, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	for _, path := range slices.Concat([]string{own}, otherInits) {
		fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		if err != nil {
			continue
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		unix.Close(fd)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no %s in %s, nor any of %q", own, root, otherInits)
}

// mounted tells whether something is mounted at a path (statx(2), Linux 5.8).
func mounted(path string) bool {
	var stx unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, 0, &stx)
	return err == nil && stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// enter makes what is mounted at root the root of this process, PID 1, which is
// alone: with the kernel's file systems and /run, without what is mounted below
// that. The old root is unmounted as soon as this process has executed something
// else. After an error the old root is the root still.
func enter(root string) error {
	// Nothing can be moved out of a mount that is shared.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	for _, m := range []struct {
		dir   string
		flags uintptr
	}{{"/dev", unix.MS_BIND | unix.MS_REC}, {"/proc", unix.MS_BIND | unix.MS_REC}, {"/sys", unix.MS_BIND | unix.MS_REC}, {"/run", unix.MS_BIND}} {
		err := unix.Mount(m.dir, root+m.dir, "", m.flags, "")
		if errors.Is(err, unix.ENOENT) && unix.Mkdir(root+m.dir, 0o755) == nil {
			err = unix.Mount(m.dir, root+m.dir, "", m.flags, "")
		}
		if err != nil {
			return fmt.Errorf("cannot take %s along: %w (the next root needs that directory)", m.dir, err)
		}
	}
	if err := unix.Chdir(root); err != nil {
		return err
	}
	err := unix.PivotRoot(".", ".") // pivot_root(2): the old root is on top of the new one then
	if err == nil {
		err = unix.Unmount(".", unix.MNT_DETACH)
	} else if err = unix.Mount(".", "/", "", unix.MS_MOVE, ""); err == nil { // from an initramfs
		err = unix.Chroot(".")
	}
	if err != nil {
		_ = os.Chdir("/")
		return fmt.Errorf("cannot change the root: %w", err)
	}
	return unix.Chdir("/")
}
