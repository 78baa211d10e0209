package switchroot

import (
	"bytes"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Possible tells whether this process, PID 1 of a machine, is in an initramfs with
// a word on the command line that looks as if it named a root file system: the
// root is the kernel's own (rootfs), or in memory with /etc/initrd-release in it,
// as initrd-release(5) says.
func Possible() bool {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil || !bytes.Contains(line, []byte("root=")) {
		return false
	}
	if onRootfs() {
		return true
	}
	var fs unix.Statfs_t
	if unix.Statfs("/", &fs) != nil || !inMemory(&fs) {
		return false
	}
	_, err = os.Stat("/etc/initrd-release")
	return err == nil
}

func inMemory(fs *unix.Statfs_t) bool {
	return fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC
}

// onRootfs tells whether the root is the kernel's first mount, or a bind mount of
// it, which package early makes: their type is called rootfs
// (proc_pid_mountinfo(5): the fifth field, and the one behind the dash).
func onRootfs() bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(table) {
		f := bytes.Fields(line)
		if len(f) < 5 || string(f[4]) != "/" {
			continue
		}
		_, after, _ := bytes.Cut(line, []byte(" - "))
		if bytes.HasPrefix(after, []byte("rootfs ")) {
			return true
		}
	}
	return false
}

// Enter makes what is mounted at Target the root of this process, which is PID 1
// and alone in its mount namespace's care: it takes the kernel's file systems
// along, empties the initramfs, whose memory is so given back, and executes init
// with the arguments args[1:]. It returns only if that fails. Before the
// initramfs is emptied nothing is lost; after that there is no way back.
func Enter(init string, args []string) error {
	fail := func(what string, err error) error {
		return fmt.Errorf("cannot switch to the root file system: %s: %w", what, err)
	}
	old, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail("opening the initramfs", err)
	}
	defer unix.Close(old)
	for _, dir := range moved {
		err := unix.MoveMount(unix.AT_FDCWD, dir, unix.AT_FDCWD, Target+dir, 0)
		if err != nil && err != unix.EINVAL { // nothing is mounted there
			return fail("moving "+dir, err)
		}
	}
	if err := unix.Chdir(Target); err != nil {
		return fail(Target, err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fail("moving it", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fail("chroot", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fail("chdir", err)
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(old, &fs) == nil && inMemory(&fs) && unix.Fstat(old, &st) == nil {
		empty(old, st.Dev, 0)
	}
	args = append([]string{init}, args[min(1, len(args)):]...)
	return fail("executing "+init, syscall.Exec(init, args, os.Environ()))
}

// maxDepth bounds the directories of an initramfs.
const maxDepth = 64

// empty removes all in a directory that is on a device. What cannot be removed
// only keeps its memory.
func empty(dir int, device uint64, depth int) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	d := os.NewFile(uintptr(fd), "directory")
	names, _ := d.Readdirnames(-1)
	d.Close()
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Dev != device {
			continue // another file system is mounted there
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			_ = unix.Unlinkat(dir, name, 0)
			continue
		}
		if depth < maxDepth {
			if sub, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
				empty(sub, device, depth+1)
				unix.Close(sub)
			}
		}
		_ = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
}
