package vmtest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// mountEnv tells the test binary that it is in a new cgroup namespace, waitEnv
// that it is the other process of a stage with Others.
const (
	mountEnv = "BERTH_VM_MOUNT"
	waitEnv  = "BERTH_VM_WAIT"
)

// cgroupRoot is where the machine has its only cgroup hierarchy.
const cgroupRoot = "/sys/fs/cgroup"

// controllers are enabled above a stage's group, as systemd does for a unit in
// a slice whose processes may use them all.
var controllers = []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids"}

// Main does the guest's part before the tests run; TestMain calls it first. It
// does not return in the machine's init, and does nothing outside of a machine.
func Main(stages []Stage) {
	switch {
	case os.Getenv(waitEnv) != "":
		_, _ = os.Stdin.Read(make([]byte, 1)) // until its other end is closed
		os.Exit(0)
	case os.Getpid() == 1 && Current() == "init":
		boot(stages)
	case os.Getenv(mountEnv) != "":
		if err := mountOwnCgroup(); err != nil {
			fmt.Fprintln(os.Stderr, "cannot mount the cgroup namespace:", err)
			os.Exit(1)
		}
		os.Unsetenv(mountEnv)
	}
}

// boot is PID 1 of the virtual machine.
func boot(stages []Stage) {
	say := func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	if err := prepare(); err != nil {
		say("cannot prepare the machine: %v", err)
		stages = nil
	}
	for _, s := range stages {
		if err := s.run(); err != nil {
			say("stage %s: %v", s.Name, err)
		} else {
			say("stage %s: ok", s.Name)
		}
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	for {
		_ = unix.Pause()
	}
}

// prepare makes of an initramfs a machine as a distribution does: a root file
// system that is a mount of its own, with everything mounted shared.
func prepare() error {
	if err := switchRoot(); err != nil {
		return fmt.Errorf("cannot switch the root file system: %w", err)
	}
	for _, m := range []struct {
		kind, dir, options string
	}{
		{"proc", "/proc", ""}, {"sysfs", "/sys", ""}, {"devtmpfs", "/dev", "mode=0755"}, {"devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666"},
		{"tmpfs", "/dev/shm", "mode=1777"}, {"tmpfs", "/tmp", "mode=1777"}, {"tmpfs", "/run", "mode=0755"}, {"cgroup2", cgroupRoot, ""},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("cannot mount %s: %w", m.dir, err)
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return err
	}
	return loadModules()
}

// loadModules loads the modules that the host packed, in their order.
func loadModules() error {
	modules, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, path := range modules {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil {
			return fmt.Errorf("cannot load %s: %w", path, err)
		}
	}
	if err := os.RemoveAll("/modules"); !errors.Is(err, unix.EROFS) {
		return err
	}
	return nil // a root that a test wants to be so
}

// switchRoot moves all of the initramfs to a tmpfs and makes that the root:
// the initramfs itself is the parent of all mounts, which pivot_root(2) refuses.
func switchRoot() error {
	const to = "/new-root"
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", to, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	err := filepath.WalkDir("/", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == "/":
			return nil
		case path == to:
			return filepath.SkipDir
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return moveFile(path, to+path, info)
	})
	if err != nil {
		return err
	}
	if err := os.Chdir(to); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return os.Chdir("/")
}

// moveFile copies a file and removes it, so that it takes its memory only once;
// a directory stays where it was too.
func moveFile(from, to string, info fs.FileInfo) error {
	switch kind := info.Mode().Type(); kind {
	case fs.ModeDir:
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
		return os.Chmod(to, info.Mode())
	case fs.ModeSymlink:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case 0:
		in, err := os.Open(from)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer out.Close()
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
		if err := out.Chmod(info.Mode()); err != nil {
			return err
		}
		return os.Remove(from)
	default:
		return nil // a device: devtmpfs has them
	}
}

// run runs the tests of a stage. It reaps whatever comes to PID 1 meanwhile.
func (s Stage) run() error {
	dir := filepath.Join(cgroupRoot, s.Group)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if s.Group != "" {
		for _, parent := range []string{cgroupRoot, filepath.Dir(dir)} {
			if err := os.WriteFile(parent+"/cgroup.subtree_control", []byte("+"+strings.Join(controllers, " +")), 0); err != nil {
				return err
			}
		}
	}
	group, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer group.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	env := []string{stageEnv + "=" + s.Name, "BERTH_NO_SKIP=1", "TMPDIR=/tmp", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if s.Others {
		in, end, err := os.Pipe()
		if err != nil {
			return err
		}
		defer end.Close() // its end, and the next wait reaps it
		_, err = os.StartProcess("/init", []string{"other"}, &os.ProcAttr{
			Env:   []string{waitEnv + "=1"},
			Files: []*os.File{in, os.Stdout, os.Stderr},
			Sys:   &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())},
		})
		in.Close()
		if err != nil {
			return err
		}
	}
	args := []string{"tests", "-test.v", "-test.failfast", "-test.timeout", (bound / 2).String()}
	if s.Tests != "" {
		args = append(args, "-test.run", s.Tests)
	}
	if s.Skip != "" {
		args = append(args, "-test.skip", s.Skip)
	}
	attr := &os.ProcAttr{
		Dir: "/", Env: env, Files: []*os.File{null, os.Stdout, os.Stderr},
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())},
	}
	if s.Namespace {
		attr.Sys.Unshareflags = unix.CLONE_NEWCGROUP | unix.CLONE_NEWNS
		attr.Env = append(attr.Env, mountEnv+"=1")
	}
	tests, err := os.StartProcess("/init", args, attr)
	if err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return err
		case pid == tests.Pid && status.Exited() && status.ExitStatus() == 0:
			return nil
		case pid == tests.Pid:
			return fmt.Errorf("the tests ended with status %#x", status)
		}
	}
}

// mountOwnCgroup makes the root of this process' new cgroup namespace visible.
func mountOwnCgroup() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Unmount(cgroupRoot, 0); err != nil {
		return err
	}
	return unix.Mount("cgroup2", cgroupRoot, "cgroup2", 0, "")
}
