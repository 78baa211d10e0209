package notify

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func listen(t *testing.T) (*Socket, string) {
	t.Helper()
	// Longer than the address of a socket may be.
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	s, err := Listen(dir, "7")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.File().SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), "7")
	return s, short
}

func send(t *testing.T, path, text string, fds ...int) {
	t.Helper()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(s, []byte(text), oob, &unix.SockaddrUnix{Name: path}, 0); err != nil {
		t.Fatal(err)
	}
}

func TestReceive(t *testing.T) {
	s, path := listen(t)
	if s.Waiting() {
		t.Error("something waits")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	send(t, path, "READY=1\nFDNAME=x", int(w.Fd()), int(w.Fd()))
	w.Close()
	if !s.Waiting() {
		t.Error("nothing waits")
	}
	if err := s.Wait(); err != nil {
		t.Fatal(err)
	}
	m, err := s.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if !m.Ready || m.FDName != "x" || len(m.Files) != 2 || m.Sender.PID != os.Getpid() || m.Sender.UID != uint32(os.Getuid()) {
		t.Errorf("%+v", m)
	}
	if err := m.Sender.Hold(); err != nil || !m.Sender.Is() {
		t.Errorf("we do not exist: %v", err)
	}
	if _, ended := m.Sender.Group(); ended {
		t.Error("we have ended")
	}
	m.Close()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the descriptors that came are not closed: %d %v", n, err)
	}
}

// TestMalformed: what is not taken is dropped with its descriptors, and what comes
// after it is taken.
func TestMalformed(t *testing.T) {
	s, path := listen(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	send(t, path, "STATUS="+strings.Repeat("x", maxMessage), int(w.Fd()))
	w.Close()
	send(t, path, "STATUS="+strings.Repeat("x", 5000))
	if _, err := s.Receive(); !errors.Is(err, ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("its descriptor is not closed: %d %v", n, err)
	}
	m, err := s.Receive()
	if err != nil || m.Status == nil {
		t.Fatalf("the next: %+v %v", m, err)
	}
	m.Close()
}

// TestSenderThatEnded: of a sender that is gone its pid says nothing any more, and
// from Linux 6.16 on the kernel knows its group.
func TestSenderThatEnded(t *testing.T) {
	s, path := listen(t)
	dir, err := os.Readlink(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `cd "$1" && NOTIFY_SOCKET=./7 exec /proc/self/fd/3 -test.run=TestHelperSends`, "sh", dir)
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd.ExtraFiles = []*os.File{self}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m, err := s.Receive()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Sender.PID != cmd.Process.Pid {
		t.Errorf("sender %d, want %d", m.Sender.PID, cmd.Process.Pid)
	}
	if err := m.Sender.Hold(); err == nil && m.Sender.Is() {
		t.Error("it is still there")
	}
	if id, ok := m.Sender.Group(); ok && id == 0 {
		t.Error("group 0")
	} else {
		t.Logf("group %d, known: %v", id, ok)
	}
}

// TestHelperSends is the other process of TestSenderThatEnded.
func TestHelperSends(t *testing.T) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path != "./7" {
		return
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("READY=1")); err != nil {
		t.Fatal(err)
	}
}

// TestExitOf: how a process ended is known before its parent has waited for it.
func TestExitOf(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "exit 7")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	if pid, err := PIDOf(pidfd); err != nil || pid != cmd.Process.Pid {
		t.Errorf("pid %d, %v", pid, err)
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for n := 0; n == 0; {
		if n, err = unix.Poll(poll, 60_000); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
	if status, ok := ExitOf(cmd.Process.Pid, pidfd); !ok || status.ExitStatus() != 7 {
		t.Errorf("%v %v", status, ok)
	}
	if !Exists(pidfd) {
		t.Error("a zombie does not exist")
	}
	if pids, err := PIDs(cmd.Process.Pid); err != nil || pids[0] != cmd.Process.Pid {
		t.Errorf("pids %v, %v", pids, err)
	}
}

func TestClosed(t *testing.T) {
	s, _ := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Wait() }()
	s.Close()
	if err := <-done; err == nil {
		t.Error("there is something to receive from a closed socket")
	}
	if s.Waiting() {
		t.Error("something waits in a closed socket")
	}
}
