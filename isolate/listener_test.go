package isolate

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
	"berth/isolate/seccomp"
)

// filterOf compiles a profile that allows everything but what the rules say.
func filterOf(t testing.TB, rules string) []byte {
	t.Helper()
	p, err := seccomp.Parse([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[` + rules + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	filter, _, err := seccomp.Compile(p, seccomp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return filter
}

const notifyMkdir = `{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_NOTIFY"}`

// The structures of seccomp_unotify(2).
type (
	notification struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	answer struct {
		id    uint64
		val   int64
		error int32
		flags uint32
	}
)

// agent answers a listener's calls until nobody is left who could make one. It
// has mkdir succeed without doing anything and lets all else through, and
// counts both.
func agent(listener *os.File, faked, passed *int) error {
	fd := listener.Fd()
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 60_000); err == unix.EINTR {
			continue
		} else if err != nil || n == 0 {
			return errors.Join(err, errors.New("no call came"))
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return nil
		}
		var call notification
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&call))); e == unix.EINTR || e == unix.ENOENT {
			continue
		} else if e != 0 {
			return e
		}
		reply := answer{id: call.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if slices.Contains(mkdirNumbers, uint32(call.nr)) {
			reply.flags = 0
			*faked++
		} else {
			*passed++
		}
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&reply))); e != 0 && e != unix.ENOENT {
			return e
		}
	}
}

// withAgent runs a program with a listener and an agent.
func withAgent(t *testing.T, p *program.Program, f Files) (out string, faked, passed int) {
	t.Helper()
	own, child, err := ListenerPair()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f.Stdout, f.Stderr, f.Listener = w, w, child
	prep, err := Prepare(p, f)
	if err != nil {
		t.Fatal(err)
	}
	defer prep.Close()
	proc, err := prep.Fork()
	w.Close()
	child.Close()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := ReceiveListener(own, deadline())
	if err != nil {
		proc.Kill()
		proc.Wait()
		t.Fatalf("%v (%v)", err, prep.Wait(deadline()))
	}
	defer listener.Close()
	done := make(chan error, 1)
	go func() { done <- agent(listener, &faked, &passed) }()
	if err := prep.Proceed(); err != nil {
		t.Error(err)
	}
	if err := prep.Wait(deadline()); err != nil {
		t.Error(err)
		proc.Kill()
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	if ws, err := proc.Wait(); err != nil || ws != 0 {
		t.Errorf("it ended with %#x (%v) and wrote %s", uint32(ws), err, text)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	return strings.TrimSuffix(string(text), "\n"), faked, passed
}

func TestListener(t *testing.T) {
	needRoot(t)
	const script = "mkdir /tmp/x && echo made; test -e /tmp/x || echo but not there"
	const want = "made\nbut not there"
	for _, c := range []struct {
		name, rules string
		change      func(*Spec)
		passes      bool
	}{
		{"plain", notifyMkdir, func(*Spec) {}, false},
		{"with privileges", notifyMkdir, func(s *Spec) { s.Process.NoNewPrivileges = false }, false},
		{"with an init and a pre-start command", notifyMkdir, func(s *Spec) { s.Init, s.PreStart = true, [][]string{{"true"}} }, false},
		// A filter that hands over everything that is left to do, and one of the
		// two calls by which the listener can be sent.
		{"all that follows is handed over", notifyMkdir + `,{"names":["sendmsg","read","write","close_range","rt_sigprocmask","execve","execveat"],"action":"SCMP_ACT_NOTIFY"}`,
			func(s *Spec) { s.PreStart = [][]string{{"true"}} }, true},
		{"without privileges to give up, all is handed over", notifyMkdir + `,{"names":["sendmsg","openat2","fchdir","capset","setgroups","prctl","dup3"],"action":"SCMP_ACT_NOTIFY"}`,
			func(s *Spec) { s.Process.NoNewPrivileges = false }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := shell(script)
			spec.Process.Seccomp, spec.Process.SeccompListener = filterOf(t, c.rules), true
			spec.Process.SeccompFlags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
			c.change(spec)
			p, err := Compile(spec)
			if err != nil {
				t.Fatal(err)
			}
			out, faked, passed := withAgent(t, p, Files{})
			equal(t, "output", out, want)
			if faked != 1 || (passed > 0) != c.passes {
				t.Errorf("%d calls faked, %d let through", faked, passed)
			}
		})
	}
	t.Run("exec", func(t *testing.T) {
		_, pidfd := background(t, hostSpec("sleep", "1000"))
		p, err := CompileExec(&ExecSpec{Name: "test", PID: true, Mount: true,
			Process: Process{Args: []string{"sh", "-c", script}, NoNewPrivileges: true, Seccomp: filterOf(t, notifyMkdir), SeccompListener: true}})
		if err != nil {
			t.Fatal(err)
		}
		out, faked, _ := withAgent(t, p, Files{Processes: map[string]*os.File{TargetProcess: pidfd}})
		equal(t, "output", out, want)
		if faked != 1 {
			t.Errorf("%d calls faked", faked)
		}
	})
}

// TestListenerNeverComes holds that a start which fails first is noticed.
func TestListenerNeverComes(t *testing.T) {
	needRoot(t)
	spec := hostSpec("/bin/true")
	spec.Process.Seccomp, spec.Process.SeccompListener, spec.Process.Dir = filterOf(t, notifyMkdir), true, "/nowhere"
	p, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	own, child, err := ListenerPair()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	prep, err := Prepare(p, Files{Listener: child})
	if err != nil {
		t.Fatal(err)
	}
	defer prep.Close()
	proc, err := prep.Fork()
	child.Close()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := ReceiveListener(own, deadline())
	if err == nil || !strings.Contains(err.Error(), "the child has ended, or has failed") {
		t.Errorf("%v, %v", listener, err)
	}
	var step *StepError
	if err := prep.Wait(deadline()); !errors.As(err, &step) || step.Errno != syscall.ENOENT {
		t.Error(err)
	}
	prep.Close()
	proc.Wait()
	if _, err := ReceiveListener(own, time.Now()); err == nil {
		t.Error("a listener from nobody")
	}
}

func TestListenerThatCannotBeSent(t *testing.T) {
	for _, c := range []struct {
		rules string
		want  string
	}{
		{notifyMkdir + `,{"names":["sendmsg","sendmmsg"],"action":"SCMP_ACT_NOTIFY"}`, "neither sendmsg nor sendmmsg"},
		{notifyMkdir + `,{"names":["sendmsg","sendmmsg"],"action":"SCMP_ACT_ERRNO"}`, "neither sendmsg nor sendmmsg"},
	} {
		spec := hostSpec("/bin/true")
		spec.Process.Seccomp, spec.Process.SeccompListener = filterOf(t, c.rules), true
		if _, err := Compile(spec); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.rules, err)
		}
	}
	spec := hostSpec("/bin/true")
	spec.Process.Seccomp = filterOf(t, notifyMkdir)
	if _, err := Compile(spec); err == nil || !strings.Contains(err.Error(), "none was asked for") {
		t.Error(err)
	}
}
