package main

// What callers of other runtimes rely on, beyond the specification.

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate/runtime"
)

// The output of a terminal has no carriage returns where nobody but the
// caller's terminal could want them.
func TestTerminalLeavesLineEnds(t *testing.T) {
	w := newWorld(t)
	id := w.id()
	w.run("run", "--detach", "-b", w.bundle(nil, "sleep", "1000"), id)
	for _, args := range [][]string{
		{"run", "-b", w.bundle(func(c *specs.Spec) { c.Process.Terminal = true }, "echo", "a line"), w.id()},
		{"exec", "--tty", id, "echo", "a line"},
	} {
		if out := w.run(args...); out != "a line\n" {
			t.Errorf("%v: %q", args, out)
		}
	}
	w.kill(id)
}

// A shell hands over what a command prints as a pipe.
func TestProcessFromPipe(t *testing.T) {
	w := newWorld(t)
	id := w.id()
	w.run("run", "--detach", "-b", w.bundle(nil, "sleep", "1000"), id)
	r, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := wr.WriteString(`{"args":["echo","from","a","pipe"],"cwd":"/","env":["PATH=/bin"]}`); err != nil {
		t.Fatal(err)
	}
	wr.Close()
	cmd := w.command("exec", "--process", "/dev/fd/3", id)
	cmd.ExtraFiles = []*os.File{r}
	if out, err := w.output(cmd); err != nil || out[0] != "from a pipe\n" {
		t.Errorf("%q, %v", out, err)
	}
	w.kill(id)
}

// Whoever wants to follow a process without a race gets a pidfd of it.
func TestPIDFDSocket(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, w.dir)
	bundle := w.bundle(nil, "sleep", "1000")
	created, ran := w.id(), w.id()
	pidFile := filepath.Join(w.dir, "pid")
	for _, args := range [][]string{
		{"create", "-b", bundle, created},
		{"run", "--detach", "-b", bundle, ran},
		{"exec", "--detach", ran, "sleep", "1000"},
	} {
		w.run(append([]string{args[0], "--pid-file", pidFile, "--pidfd-socket", r.path}, args[1:]...)...)
		pidfd := r.take(t)
		info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := os.ReadFile(pidFile)
		if err != nil || !strings.Contains(string(info), "\nPid:\t"+string(pid)+"\n") {
			t.Errorf("%v: a pidfd of another process than %s, %v: %s", args, pid, err, info)
		}
		if args[0] == "exec" {
			if err := unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0); err != nil {
				t.Error(err)
			}
			n, _ := strconv.Atoi(string(pid))
			w.ended(n)
		}
	}
	w.fails(1, "cannot connect to the pidfd socket", "create", "-b", bundle, "--pidfd-socket", w.dir+"/nothing", w.id())
	w.kill(created)
	w.kill(ran)
}

// Without a PID namespace of its own a container goes on when its first process
// has ended: the others are still killed.
func TestKillWhatTheFirstProcessLeft(t *testing.T) {
	w := newWorld(t)
	id := w.id()
	left := filepath.Join(w.dir, "left")
	if err := unix.Mkfifo(left, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(left, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	bundle := w.bundle(func(c *specs.Spec) {
		c.Linux.Namespaces = withoutNS(c.Linux.Namespaces, specs.PIDNamespace)
		c.Linux.MaskedPaths, c.Linux.ReadonlyPaths = nil, nil
		c.Mounts = append(c.Mounts, specs.Mount{Destination: "/left", Type: "bind", Source: left, Options: []string{"bind"}})
	}, "sh", "-c", "sleep 1000 & echo $! >/left; wait")
	w.run("run", "--detach", "-b", bundle, id)
	_ = pipe.SetReadDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	other, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	pid := w.state(id).PID
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.ended(pid)
	w.want(id, runtime.Stopped)
	w.run("kill", id, "KILL")
	w.ended(other)
	w.fails(1, "container not running", "kill", id, "KILL")
}

func withoutNS(list []specs.LinuxNamespace, kind specs.LinuxNamespaceType) []specs.LinuxNamespace {
	return slices.DeleteFunc(slices.Clone(list), func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

// The processors that a caller is bound to are not the container's.
func TestAffinityOfTheCaller(t *testing.T) {
	w := newWorld(t)
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	if all.Count() < 2 {
		t.Skip("there is one processor only")
	}
	only := unix.CPUSet{}
	for i := range 1024 {
		if all.IsSet(i) {
			only.Set(i)
			break
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		goruntime.LockOSThread() // never unlocked: the thread ends with its affinity
		if err := unix.SchedSetaffinity(0, &only); err != nil {
			t.Error(err)
			return
		}
		id := w.id()
		show := []string{"sh", "-c", "while read a b; do case $a in Cpus_allowed_list:) echo $b;; esac; done </proc/self/status"}
		first := w.run("run", "-b", w.bundle(nil, show...), w.id())
		w.run("run", "--detach", "-b", w.bundle(nil, "sleep", "1000"), id)
		second := w.run(append([]string{"exec", id}, show...)...)
		for _, got := range []string{first, second} {
			if !strings.ContainsAny(got, "-,") {
				t.Errorf("it may use processors %s", got)
			}
		}
		w.kill(id)
	}()
	<-done
}

// A HOME with nothing in it is as good as none.
func TestEmptyHome(t *testing.T) {
	w := newWorld(t)
	bundle := w.bundle(func(c *specs.Spec) { c.Process.Env = append(c.Process.Env, "HOME=") }, "sh", "-c", "echo $HOME; env | sed -n /^HOME/p")
	w.shell(bundle, "echo root:x:0:0::/the/home:/bin/sh >rootfs/etc/passwd; ln -s busybox rootfs/bin/sed")
	if out := w.run("run", "-b", bundle, w.id()); out != "/the/home\nHOME=/the/home\n" {
		t.Errorf("%q", out)
	}
}

// A startContainer hook without an environment of its own has that of the process.
func TestEnvironmentOfStartContainerHooks(t *testing.T) {
	w := newWorld(t)
	for env, want := range map[string]string{"": "two /\n", "ONE=three": "three\n"} {
		bundle := w.bundle(func(c *specs.Spec) {
			c.Process.Env = append(c.Process.Env, "ONE=two")
			hook := specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "echo $ONE $HOME >/env"}}
			if env != "" {
				hook.Env = []string{env}
			}
			c.Hooks = &specs.Hooks{StartContainer: []specs.Hook{hook}}
		}, "cat", "/env")
		if out := w.run("run", "-b", bundle, w.id()); out != want {
			t.Errorf("%q: %q, want %q", env, out, want)
		}
	}
}

// A bind mount takes over what is forbidden on its source where it is given
// nothing, and else has what it is given.
func TestAttributesOfBindMounts(t *testing.T) {
	w := newWorld(t)
	source := filepath.Join(w.dir, "source")
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", source, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NOATIME, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(source, 0); err != nil {
			t.Error(err)
		}
	}()
	user := func(c *specs.Spec) {
		ids := []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
		c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		c.Linux.UIDMappings, c.Linux.GIDMappings = ids, ids
	}
	for _, c := range []struct {
		options string
		change  func(*specs.Spec)
		want    string
	}{
		{"bind", nil, "rw,nosuid,noexec,noatime"},
		{"bind,ro", nil, "ro,noatime"},
		{"bind,dev", nil, "rw,noatime"},
		{"bind,nodev,relatime", nil, "rw,nodev,relatime"},
		{"bind,ro", user, "ro,nosuid,noexec,noatime"},
	} {
		bundle := w.bundle(func(config *specs.Spec) {
			config.Mounts = append(config.Mounts, specs.Mount{Destination: "/at", Type: "bind", Source: source, Options: strings.Split(c.options, ",")})
			if c.change != nil {
				c.change(config)
			}
		}, "sh", "-c", "while read a b c d e; do [ $b != /at ] || echo $d; done </proc/mounts")
		w.shell(bundle, "mkdir rootfs/at; chmod 755 . .. rootfs")
		if out := strings.TrimSpace(w.run("run", "-b", bundle, w.id())); out != c.want && !strings.HasPrefix(out, c.want+",") {
			t.Errorf("%s: %s, want %s", c.options, out, c.want)
		}
	}
}

// A second container in the user namespace of a first one: mounts can have the
// map of that, and the network can be somebody else's.
func TestJoinedUserNamespace(t *testing.T) {
	w := newWorld(t)
	ids := []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
	first := w.id()
	w.run("run", "--detach", "-b", w.bundle(func(c *specs.Spec) {
		c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		c.Linux.UIDMappings, c.Linux.GIDMappings = ids, ids
	}, "sleep", "1000"), first)
	source := filepath.Join(w.dir, "mapped")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	bundle := w.bundle(func(c *specs.Spec) {
		c.Linux.Namespaces = append(withoutNS(c.Linux.Namespaces, specs.NetworkNamespace),
			specs.LinuxNamespace{Type: specs.UserNamespace, Path: fmt.Sprintf("/proc/%d/ns/user", w.state(first).PID)},
			specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "/proc/self/ns/net"})
		kept := c.Mounts[:0]
		for _, m := range c.Mounts {
			if m.Type != "sysfs" && m.Type != "cgroup" { // which belong to other user namespaces
				kept = append(kept, m)
			}
		}
		c.Mounts = append(kept, specs.Mount{Destination: "/mapped", Type: "bind", Source: source, Options: []string{"bind", "idmap"}})
	}, "sh", "-c", "ls -nd /mapped | { read a b c d e; echo $c $d; }; readlink /proc/self/ns/net")
	w.shell(bundle, "mkdir rootfs/mapped")
	net, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if out, want := w.run("run", "-b", bundle, w.id()), "0 0\n"+net+"\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
	w.kill(first)
}
