package conformance

// The init of a sandbox: process 1 of its namespaces.

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// initFailed is the init's own status when it could not make the sandbox.
const initFailed = 250

// initArgs is what the init is told.
type initArgs struct {
	Groups, Args, Env []string
	Dir               string
	Covered           []string
	Interface         string // the name of a second interface besides lo
}

// sandboxInit makes the inside of a sandbox, runs the command and reaps until it
// has ended. It gives the command's status.
func sandboxInit(text string) int {
	// What belongs to one thread only is inherited by what this thread forks.
	runtime.LockOSThread()
	var a initArgs
	err := json.Unmarshal([]byte(text), &a)
	if err == nil {
		err = enterSandbox(a)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		return initFailed
	}
	path, err := exec.LookPath(a.Args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		return initFailed
	}
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		return initFailed
	}
	env := append(os.Environ(), "TMPDIR=/run/tmp")
	p, err := os.StartProcess(path, a.Args, &os.ProcAttr{Dir: a.Dir, Env: append(env, a.Env...), Files: []*os.File{nothing, os.Stdout, os.Stderr}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		return initFailed
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR || pid != p.Pid && err == nil:
		case err != nil:
			fmt.Fprintln(os.Stderr, "init: wait4:", err)
			return initFailed
		case status.Signaled():
			return 128 + int(status.Signal())
		default:
			return status.ExitStatus()
		}
	}
}

// enterSandbox enters the groups, makes them the root of what is seen of the
// hierarchies, and gives /proc, /dev, /run, the covers and two interfaces.
func enterSandbox(a initArgs) error {
	if err := os.Unsetenv(initEnv); err != nil {
		return err
	}
	for _, dir := range a.Groups {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
			return err
		}
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cannot make a cgroup namespace: %w", err)
	}
	if err := unix.Unmount(groupRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot unmount %s: %w", groupRoot, err)
	}
	if err := mountHierarchies(all); err != nil {
		return err
	}
	// A name of its own, and no state of the machine's runtimes: both ends of what is made here see it gone.
	for _, m := range []struct{ fstype, dir, data string }{{"proc", "/proc", ""}, {"tmpfs", "/run", "mode=755"}} {
		if err := unix.Mount(m.fstype, m.dir, m.fstype, 0, m.data); err != nil {
			return fmt.Errorf("cannot mount %s: %w", m.dir, err)
		}
	}
	if err := os.Mkdir("/run/tmp", 0o1777); err != nil {
		return err
	}
	if err := devices(); err != nil {
		return err
	}
	for _, dir := range a.Covered {
		upper, work := "/run/cover"+dir, "/run/cover"+dir+".work"
		err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755))
		if err == nil {
			err = unix.Mount("overlay", dir, "overlay", 0, "lowerdir="+dir+",upperdir="+upper+",workdir="+work)
		}
		if err != nil {
			return fmt.Errorf("cannot cover %s: %w", dir, err)
		}
	}
	return network(a.Interface)
}

// devices makes a /dev of the sandbox's own: runtimes change owners in it.
func devices() error {
	const dev = "/run/dev"
	err := os.Mkdir(dev, 0o755)
	if err == nil {
		err = unix.Mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID, "mode=755")
	}
	for _, n := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		if err == nil {
			err = unix.Mknod(filepath.Join(dev, n.name), unix.S_IFCHR|0o666, int(unix.Mkdev(n.major, n.minor)))
		}
		if err == nil {
			err = os.Chmod(filepath.Join(dev, n.name), 0o666)
		}
	}
	for _, m := range []struct{ fstype, dir, data string }{{"devpts", "pts", "newinstance,ptmxmode=666,mode=620,gid=5"}, {"tmpfs", "shm", "mode=1777"}} {
		if err == nil {
			err = os.Mkdir(filepath.Join(dev, m.dir), 0o755)
		}
		if err == nil {
			err = unix.Mount(m.fstype, filepath.Join(dev, m.dir), m.fstype, unix.MS_NOSUID|unix.MS_NOEXEC, m.data)
		}
	}
	for name, target := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err == nil {
			err = os.Symlink(target, filepath.Join(dev, name))
		}
	}
	if err == nil {
		err = unix.Mount(dev, "/dev", "", unix.MS_MOVE, "")
	}
	if err != nil {
		return fmt.Errorf("cannot make devices: %w", err)
	}
	return nil
}

// network brings lo up and makes a second interface. The suite sets priorities
// for it, which the kernel keeps for the names of the machine's own interfaces.
func network(second string) error {
	for _, args := range []string{"link set lo up", "link add berth-peer type veth peer name " + second} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	return nil
}
