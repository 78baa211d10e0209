package listen

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/units"

	"golang.org/x/sys/unix"
)

func socket(listen, kind string) units.Socket {
	return units.Socket{Listen: listen, Type: kind, Mode: "0600", Backlog: 16}
}

// dir is a directory that can be trusted, which /tmp in the way does not harm.
func dir(t *testing.T) string {
	t.Helper()
	d := t.TempDir()
	if err := os.Chmod(d, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

func mustOpen(t *testing.T, s units.Socket) *Socket {
	t.Helper()
	out, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestInternet: families, and what the options do.
func TestInternet(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	if _, err := Open(socket(fmt.Sprint("127.0.0.1:", port), "stream")); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a port in use: %v", err)
	}
	free.Close()
	for listen, domain := range map[string]int{fmt.Sprint("127.0.0.1:", port): unix.AF_INET, fmt.Sprintf("[::1]:%d", port): unix.AF_INET6, fmt.Sprint(port): unix.AF_INET6} {
		for _, kind := range []string{"stream", "datagram"} {
			s, err := Open(socket(listen, kind))
			if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT) {
				continue // no IPv6 here
			}
			if err != nil {
				t.Error(err)
				continue
			}
			if got, err := unix.GetsockoptInt(int(s.File.Fd()), unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || got != domain {
				t.Errorf("%s: domain %d, %v", listen, got, err)
			}
			if flags, err := unix.FcntlInt(s.File.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: flags %x, %v", listen, flags, err)
			}
			s.Close()
		}
	}
	shared := socket(fmt.Sprint("127.0.0.1:", port), "stream")
	shared.ReusePort = true
	a, b := mustOpen(t, shared), mustOpen(t, shared)
	a.Close()
	b.Close()
	// An address of a documentation net, which this machine does not have.
	away := socket("192.0.2.7:8080", "stream")
	if _, err := Open(away); !errors.Is(err, unix.EADDRNOTAVAIL) || !strings.Contains(err.Error(), "free-bind") {
		t.Errorf("an address that is not there: %v", err)
	}
	away.FreeBind = true
	mustOpen(t, away).Close()
}

// TestFiles: a socket's file has its owner and mode from the beginning, is
// removed with it, and nothing of somebody else is.
func TestFiles(t *testing.T) {
	d := dir(t)
	for _, kind := range []string{"stream", "datagram", "seqpacket", "fifo"} {
		path := filepath.Join(d, kind)
		def := socket(path, kind)
		if os.Getuid() == 0 {
			def.User, def.Group = "nobody", "65534"
		}
		s := mustOpen(t, def)
		st, err := os.Lstat(path)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", kind, st, err)
		}
		var raw unix.Stat_t
		if err := unix.Lstat(path, &raw); err != nil || os.Getuid() == 0 && (raw.Uid != 65534 || raw.Gid != 65534) {
			t.Errorf("%s: %d:%d, %v", kind, raw.Uid, raw.Gid, err)
		}
		if kind != "fifo" {
			if _, err := Open(def); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("%s: opened twice: %v", kind, err)
			}
		}
		// The supervisor is lost: another one has the descriptor.
		fd, err := unix.Dup(int(s.File.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		s.File.Close()
		Adopt(def, os.NewFile(uintptr(fd), kind)).Close()
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: left: %v", kind, err)
		}
		// A daemon that was killed leaves the file.
		s = mustOpen(t, def)
		s.File.Close()
		s = mustOpen(t, def)
		// Somebody has put something else there.
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s: what is another's was removed: %v", kind, err)
		}
		if _, err := Open(def); err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: over a file: %v", kind, err)
		}
	}
	if _, err := Open(socket(filepath.Join(d, "missing", "s"), "stream")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
}

// TestTrusted: no file is made where others could replace it.
func TestTrusted(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	d := dir(t)
	make := func(name string, mode os.FileMode, uid int) string {
		t.Helper()
		path := filepath.Join(d, name)
		for _, err := range []error{os.Mkdir(path, 0o755), os.Chmod(path, mode), os.Chown(path, uid, uid)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	others, open := make("others", 0o755, 65534), make("open", 0o777, 0)
	sticky, below := make("sticky", os.ModeSticky|0o777, 0), ""
	if below = filepath.Join(others, "below"); os.Mkdir(below, 0o755) != nil {
		t.Fatal("cannot make a directory")
	}
	if err := os.Symlink(others, filepath.Join(d, "link")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{others: "belongs to user 65534", below: "belongs to user 65534", open: "others may write", filepath.Join(d, "link"): "belongs to user 65534"} {
		for _, kind := range []string{"stream", "fifo"} {
			if _, err := Open(socket(filepath.Join(path, "s"), kind)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s: %v", kind, path, err)
			}
		}
	}
	mustOpen(t, socket(filepath.Join(sticky, "s"), "stream")).Close()
	// In /tmp what somebody else left stays, and so does a link of theirs.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(sticky, "theirs"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := os.Chown(filepath.Join(sticky, "theirs"), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(sticky, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"theirs", "link"} {
		for _, kind := range []string{"stream", "fifo"} {
			if _, err := Open(socket(filepath.Join(sticky, name), kind)); err == nil || !strings.Contains(err.Error(), "remove it") {
				t.Errorf("%s over %s: %v", kind, name, err)
			}
		}
	}
}

// TestPoller: the first traffic is told once, until it is asked for again.
func TestPoller(t *testing.T) {
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	await := func(ch <-chan int) int {
		t.Helper()
		select {
		case n := <-ch:
			return n
		case <-time.After(30 * time.Second):
			t.Fatal("not told")
			return 0
		}
	}
	told := make(chan int, 10)
	var pipes [3][2]*os.File
	for i := range pipes {
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
		if err := p.Add(pipes[i][0], func() { told <- i }); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.WriteString(pipes[1][1], "x")
	if n := await(told); n != 1 {
		t.Errorf("told of %d", n)
	}
	_, _ = io.WriteString(pipes[1][1], "x")
	p.Remove(pipes[0][0])
	_, _ = io.WriteString(pipes[0][1], "x")
	_, _ = io.WriteString(pipes[2][1], "x")
	if n := await(told); n != 2 {
		t.Errorf("told of %d", n)
	}
	if err := p.Add(pipes[1][0], func() { told <- 11 }); err != nil { // what is there is told at once
		t.Fatal(err)
	}
	if n := await(told); n != 11 {
		t.Errorf("told of %d", n)
	}
	for i := range pipes {
		p.Remove(pipes[i][0])
		pipes[i][0].Close()
		pipes[i][1].Close()
	}
	if len(told) > 0 {
		t.Errorf("told of %d too", <-told)
	}
}
