package launcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/reaper/internal/wire"

	"golang.org/x/sys/unix"
)

const deadline = 20 * time.Second

// The test binary is the launcher too.
func TestMain(m *testing.M) {
	forkers := map[string]Forker{"role-shell": shellForker{}, "role-program": NewProgramForker()}
	if fork := forkers[os.Args[len(os.Args)-1]]; fork != nil {
		if err := Serve(3, fork); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// shellForker runs the image as a shell script with the descriptors from 3 on.
type shellForker struct{}

func (shellForker) Ahead(uint64)  {}
func (shellForker) Waiting() bool { return false }
func (shellForker) Settle() error { return nil }

func (shellForker) Fork(image []byte, fds []int) (int, int, error) {
	if string(image) == "fail" {
		return 0, -1, fmt.Errorf("cannot do as told: %w", syscall.ENOTDIR)
	}
	files := []uintptr{0, 1, 2}
	for _, fd := range fds {
		files = append(files, uintptr(fd))
	}
	// A script may be longer than an argument can be: it comes on a pipe.
	script, w, err := os.Pipe()
	if err != nil {
		return 0, -1, err
	}
	defer script.Close()
	unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 1<<20)
	w.Write(image)
	w.Close()
	files[0] = script.Fd()
	pidfd := -1
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh"}, &syscall.ProcAttr{
		Files: files,
		Sys:   &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT, PidFD: &pidfd},
	})
	return pid, pidfd, err
}

// start starts a launcher and gives the supervisor's end of its connection.
func start(t *testing.T, role string) (*exec.Cmd, *os.File) {
	t.Helper()
	mine, theirs, err := wire.Pair()
	if err != nil {
		t.Fatal(err)
	}
	end := os.NewFile(uintptr(theirs), "theirs")
	defer end.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, role)
	cmd.ExtraFiles = []*os.File{end}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, os.NewFile(uintptr(mine), "mine")
}

func newClient(t *testing.T) (*exec.Cmd, *Client) {
	t.Helper()
	cmd, conn := start(t, "role-shell")
	c := NewClient(conn)
	t.Cleanup(func() { c.Close() })
	return cmd, c
}

// finish waits for a child by its pidfd and gives its exit status.
func finish(t *testing.T, pid int, pidfd *os.File) int {
	t.Helper()
	defer pidfd.Close()
	var status unix.WaitStatus
	fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(deadline/time.Millisecond))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n != 1 {
			t.Fatalf("process %d does not end: %v", pid, err)
		}
		break
	}
	// It is this process's child, not the launcher's.
	if got, err := unix.Wait4(pid, &status, 0, nil); err != nil || got != pid {
		t.Fatalf("wait for %d: %d, %v", pid, got, err)
	}
	return status.ExitStatus()
}

func TestFork(t *testing.T) {
	_, c := newClient(t)
	for _, size := range []int{0, maxInline - 100, maxInline + 1, 300 << 10} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		script := "exit_with() { exit $1; }\n" + strings.Repeat("#\n", size/2) + "echo hello >&3\nexit_with 7\n"
		pid, pidfd, err := c.Fork(context.Background(), []byte(script), []int{int(w.Fd())})
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		if out, err := io.ReadAll(r); string(out) != "hello\n" || err != nil {
			t.Errorf("size %d: read %q, %v", size, out, err)
		}
		r.Close()
		if status := finish(t, pid, pidfd); status != 7 {
			t.Errorf("size %d: exit status %d", size, status)
		}
	}
}

func TestForkAtOnce(t *testing.T) {
	cmd, c := newClient(t)
	pid, pidfd, err := c.Fork(context.Background(), []byte("exit 0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	finish(t, pid, pidfd)
	before := openFiles(t, cmd)
	var all sync.WaitGroup
	for i := range 50 {
		all.Add(1)
		go func() {
			defer all.Done()
			pid, pidfd, err := c.Fork(context.Background(), fmt.Appendf(nil, "exit %d", i), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if status := finish(t, pid, pidfd); status != i {
				t.Errorf("exit status %d, want %d", status, i)
			}
		}()
	}
	all.Wait()
	// The last one is closed after its answer is sent.
	for end := time.Now().Add(deadline); openFiles(t, cmd) > before; {
		if time.Now().After(end) {
			t.Fatalf("the launcher has %d descriptors, %d before", openFiles(t, cmd), before)
		}
	}
}

func openFiles(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestForkFails(t *testing.T) {
	cmd, c := newClient(t)
	_, _, err := c.Fork(context.Background(), []byte("fail"), nil)
	var typed *Error
	if !errors.Is(err, syscall.ENOTDIR) || !errors.As(err, &typed) || !strings.Contains(err.Error(), "cannot do as told") {
		t.Errorf("got %v", err)
	}
	for name, try := range map[string]func() error{
		"no image":     func() error { _, _, err := c.Fork(context.Background(), nil, nil); return err },
		"a huge image": func() error { _, _, err := c.Fork(context.Background(), make([]byte, MaxImage+1), nil); return err },
		"too many descriptors": func() error {
			_, _, err := c.Fork(context.Background(), []byte("x"), make([]int, MaxFiles+1))
			return err
		},
		"a closed descriptor": func() error { _, _, err := c.Fork(context.Background(), []byte("x"), []int{1 << 20}); return err },
	} {
		if err := try(); err == nil || errors.Is(err, ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// None of that has ended it, nor do these.
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		cmd.Process.Signal(s)
	}
	pid, pidfd, err := c.Fork(context.Background(), []byte("exit 3"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if status := finish(t, pid, pidfd); status != 3 {
		t.Errorf("exit status %d", status)
	}
}

func TestMostDescriptors(t *testing.T) {
	_, c := newClient(t)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fds := make([]int, MaxFiles)
	for i := range fds {
		fds[i] = int(null.Fd())
	}
	script := fmt.Sprintf("[ -e /proc/$$/fd/%d ] && exit 4\n%s", MaxFiles+2, strings.Repeat("#\n", maxInline))
	pid, pidfd, err := c.Fork(context.Background(), []byte(script), fds)
	if err != nil {
		t.Fatal(err)
	}
	if status := finish(t, pid, pidfd); status != 4 {
		t.Errorf("exit status %d", status)
	}
}

func TestLauncherIsKilled(t *testing.T) {
	cmd, c := newClient(t)
	cmd.Process.Signal(syscall.SIGSTOP)
	failed := make(chan error, 1)
	go func() {
		_, _, err := c.Fork(context.Background(), []byte("exit 0"), nil)
		failed <- err
	}()
	cmd.Process.Kill()
	select {
	case err := <-failed:
		if !errors.Is(err, ErrLost) {
			t.Errorf("got %v", err)
		}
	case <-time.After(deadline):
		t.Fatal("Fork waits for a dead launcher")
	}
	if _, _, err := c.Fork(context.Background(), []byte("exit 0"), nil); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
}

func TestForkIsGivenUp(t *testing.T) {
	cmd, c := newClient(t)
	cmd.Process.Signal(syscall.SIGSTOP)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := c.Fork(ctx, []byte("exit 0"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	cmd.Process.Signal(syscall.SIGCONT)
	// The answer that nobody waits for is passed over, and the next one found.
	pid, pidfd, err := c.Fork(context.Background(), []byte("exit 6"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if status := finish(t, pid, pidfd); status != 6 {
		t.Errorf("exit status %d", status)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(-1, &status, unix.WNOHANG, nil); err != nil { // the one given up
		t.Error(err)
	}
}

func TestLauncherEnds(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(conn *os.File)
		code int
	}{
		"with its connection": {func(conn *os.File) { conn.Close() }, 0},
		"on garbage": {func(conn *os.File) {
			wire.Descriptors([]*os.File{conn}, func(fds []int) error { return wire.Send(fds[0], []byte("garbage"), nil) })
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, conn := start(t, "role-shell")
			defer conn.Close()
			test.end(conn)
			ended := make(chan struct{})
			go func() {
				cmd.Wait()
				close(ended)
			}()
			select {
			case <-ended:
			case <-time.After(deadline):
				t.Fatal("it does not end")
			}
			if code := cmd.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
		})
	}
}

func TestUnsealedImageIsRefused(t *testing.T) {
	fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.Write(fd, []byte("exit 0"))
	if _, err := mapSealed(fd); !errors.Is(err, syscall.EPERM) {
		t.Errorf("got %v", err)
	}
	if _, err := mapSealed(0); err == nil {
		t.Error("standard input is mapped")
	}
}

func TestNewClientWithoutConnection(t *testing.T) {
	c := NewClient(nil)
	if _, _, err := c.Fork(context.Background(), []byte("x"), nil); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestProtocol(t *testing.T) {
	for _, q := range []request{{Number: 1, Image: []byte("x")}, {Number: 1 << 60, Sealed: true, Image: []byte{}}} {
		if got, ok := decodeRequest(q.encode(nil)); !ok || !reflect.DeepEqual(got, q) {
			t.Errorf("sent %+v, received %+v (%v)", q, got, ok)
		}
	}
	for _, a := range []answer{{Number: 1, PID: 5}, {Number: 2, Errno: 3, Text: "why"}} {
		if got, ok := decodeAnswer(a.encode(nil)); !ok || got != a {
			t.Errorf("sent %+v, received %+v (%v)", a, got, ok)
		}
	}
	for _, q := range []request{{Image: []byte("x")}, {Number: 1}, {Number: 1, Sealed: true, Image: []byte("x")}, {Number: 1, Image: make([]byte, maxInline+1)}} {
		if _, ok := decodeRequest(q.encode(nil)); ok {
			t.Errorf("%d: accepted", q.Number)
		}
	}
	for _, a := range []answer{{PID: 5}, {Number: 1}, {Number: 1, PID: 5, Text: "x"}, {Number: 1, PID: 5 << 20}} {
		if _, ok := decodeAnswer(a.encode(nil)); ok {
			t.Errorf("%+v: accepted", a)
		}
	}
}

// FuzzLauncherProtocol reads both directions.
func FuzzLauncherProtocol(f *testing.F) {
	f.Add((&request{Number: 1, Image: []byte("x")}).encode(nil))
	f.Add((&request{Number: 1, Sealed: true}).encode(nil))
	f.Add((&answer{Number: 1, PID: 5}).encode(nil))
	f.Add((&answer{Number: 1, Errno: 2, Text: "no"}).encode(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if q, ok := decodeRequest(data); ok && !bytes.Equal(q.encode(nil), data) {
			t.Errorf("%x is read as %+v", data, q)
		}
		if a, ok := decodeAnswer(data); ok && !bytes.Equal(a.encode(nil), data) {
			t.Errorf("%x is read as %+v", data, a)
		}
	})
}
