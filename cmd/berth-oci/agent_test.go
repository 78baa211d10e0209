package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// agent answers the calls that a container's filter hands over.
type agent struct {
	t      *testing.T
	path   string
	states chan specs.ContainerProcessState
}

// startAgent listens at a socket for containers. A mkdir succeeds without being
// done, everything else is let through.
func startAgent(t *testing.T) *agent {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // the path of a socket is to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a := &agent{t: t, path: filepath.Join(dir, "s"), states: make(chan specs.ContainerProcessState, 8)}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: a.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			go a.serve(conn)
		}
	}()
	return a
}

// serve takes one container process' state and listener, which must be all that
// comes over the connection.
func (a *agent) serve(conn *net.UnixConn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	text, control := make([]byte, 1<<16), make([]byte, unix.CmsgSpace(8))
	n, m, _, _, err := conn.ReadMsgUnix(text, control)
	if errors.Is(err, io.EOF) {
		return // the start has failed
	}
	if err != nil {
		a.t.Errorf("the agent gets no state: %v", err)
		return
	}
	messages, err := unix.ParseSocketControlMessage(control[:m])
	if err != nil || len(messages) != 1 {
		a.t.Errorf("the agent gets no descriptor: %v", err)
		return
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		a.t.Errorf("the agent gets %d descriptors: %v", len(fds), err)
		return
	}
	var state specs.ContainerProcessState
	if err := json.Unmarshal(text[:n], &state); err != nil {
		a.t.Errorf("%v in %s", err, text[:n])
	}
	if n, err := conn.Read(text); n != 0 || err == nil {
		a.t.Errorf("the connection goes on: %d, %v", n, err)
	}
	a.states <- state
	a.answer(fds[0])
}

func (a *agent) answer(fd int) {
	defer unix.Close(fd)
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil && !errors.Is(err, unix.EINTR) || poll[0].Revents&unix.POLLHUP != 0 {
			return // nobody is left
		}
		// struct seccomp_notif and seccomp_notif_resp of seccomp_unotify(2).
		var call struct {
			id         uint64
			pid, flags uint32
			nr         int32
			rest       [60]byte
		}
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&call))); e != 0 {
			continue
		}
		reply := struct {
			id         uint64
			val        int64
			err, flags int32
		}{id: call.id}
		if call.nr != unix.SYS_MKDIRAT && call.nr != 83 { // mkdir of x86_64
			reply.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
		}
		unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&reply)))
	}
}

func (a *agent) state() specs.ContainerProcessState {
	a.t.Helper()
	select {
	case s := <-a.states:
		return s
	case <-time.After(patience):
		a.t.Fatal("no state came")
	}
	return specs.ContainerProcessState{}
}

// notifying is a configuration whose filter hands calls to the agent.
func (a *agent) notifying(privileges bool, names ...string) func(*specs.Spec) {
	return func(c *specs.Spec) {
		c.Process.NoNewPrivileges = !privileges
		c.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, ListenerPath: a.path, ListenerMetadata: "be kind",
			Syscalls: []specs.LinuxSyscall{{Names: append([]string{"mkdir", "mkdirat"}, names...), Action: specs.ActNotify}},
		}
	}
}

const makeDirectory = "busybox mkdir /new && echo made; test -e /new || echo not there"

func TestSeccompAgent(t *testing.T) {
	for name, calls := range map[string][]string{
		"mkdir":               nil,
		"all that is left":    {"sendmsg", "read", "write", "close_range", "execve", "openat2", "dup3", "setgroups", "capset", "prctl", "fchdir"},
		"and what it runs in": {"wait4", "exit_group", "rt_sigprocmask"},
	} {
		for _, privileges := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w, a := newWorld(t), startAgent(t)
				out := w.run("run", "--bundle", w.bundle(a.notifying(privileges, calls...), "sh", "-c", makeDirectory), w.id())
				if out != "made\nnot there\n" {
					t.Errorf("it wrote %q", out)
				}
				s := a.state()
				if s.Metadata != "be kind" || len(s.Fds) != 1 || s.Fds[0] != specs.SeccompFdName || s.Pid == 0 || s.Pid != s.State.Pid || s.State.Status != specs.StateCreating || s.Version == "" {
					t.Errorf("%+v", s)
				}
			})
		}
	}
	t.Run("exec", func(t *testing.T) {
		w, a := newWorld(t), startAgent(t)
		id := w.id()
		w.run("create", "--bundle", w.bundle(a.notifying(true, "write"), "sleep", "1000"), id)
		first := a.state()
		w.run("start", id)
		if out := w.run("exec", id, "sh", "-c", makeDirectory); out != "made\nnot there\n" {
			t.Errorf("it wrote %q", out)
		}
		if s := a.state(); s.Pid == 0 || s.Pid == first.Pid || s.State.Pid != first.Pid || s.State.Status != specs.StateRunning {
			t.Errorf("%+v behind %+v", s, first)
		}
		w.kill(id)
	})
	t.Run("with hooks in the container", func(t *testing.T) {
		w, a := newWorld(t), startAgent(t)
		change := func(c *specs.Spec) {
			a.notifying(false, "write", "read", "execve", "wait4", "clone")(c)
			c.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat >/state"}}}}
		}
		if out := w.run("run", "--bundle", w.bundle(change, "sh", "-c", makeDirectory+"; busybox grep -c ociVersion /state"), w.id()); out != "made\nnot there\n1\n" {
			t.Errorf("it wrote %q", out)
		}
	})
	t.Run("no agent", func(t *testing.T) {
		w, a := newWorld(t), startAgent(t)
		change := func(c *specs.Spec) { a.notifying(false)(c); c.Linux.Seccomp.ListenerPath += ".not" }
		w.fails(1, "cannot connect to the seccomp agent", "run", "--bundle", w.bundle(change, "true"), w.id())
	})
	t.Run("a start that fails first", func(t *testing.T) {
		w, a := newWorld(t), startAgent(t)
		change := func(c *specs.Spec) { a.notifying(false)(c); c.Process.Cwd = "/bin/busybox" }
		_, stderr, code := w.try("run", "--bundle", w.bundle(change, "true"), w.id())
		if code == 0 || !strings.Contains(stderr, "not a directory") {
			t.Errorf("%d: %s", code, stderr)
		}
		w.fails(1, "neither sendmsg nor sendmmsg", "run", "--bundle", w.bundle(a.notifying(false, "sendmsg", "sendmmsg"), "true"), w.id())
	})
}
