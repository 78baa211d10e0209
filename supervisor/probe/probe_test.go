package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long what must come may take.
const patience = 60 * time.Second

// brief is the time of probes that must fail by it.
const brief = 300 * time.Millisecond

func TestMain(m *testing.M) {
	if os.Getenv("PROBE_TEST_SERVE") != "" {
		serve()
		return
	}
	os.Exit(m.Run())
}

// serve is the container's main process: it brings the loopback up, listens on
// 127.0.0.1:80 and answers each connection in the way that the path says.
func serve() {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		panic(err)
	}
	ifr.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go answer(c)
	}
}

func answer(c net.Conn) {
	defer c.Close()
	first, _ := bufio.NewReader(c).ReadString('\n')
	path := strings.Fields(first + " x x")[1]
	head := func(status string) { fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\n", status) }
	switch path {
	case "/up":
		head("200 OK")
		fmt.Fprint(c, "Content-Length: 2\r\n\r\nok")
	case "/early":
		fmt.Fprint(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
		head("204 No Content")
		fmt.Fprint(c, "\r\n")
	case "/moved":
		head("302 Found")
		fmt.Fprint(c, "Location: http://127.0.0.1/down\r\n\r\n")
	case "/down":
		head("503 Busy\x1b[31m")
		fmt.Fprint(c, "\r\nno database")
	case "/long":
		head("200 OK")
		fmt.Fprint(c, "\r\n"+strings.Repeat("x", 1<<20))
	case "/headers":
		head("200 OK")
		for {
			if _, err := fmt.Fprintf(c, "X: %s\r\n", strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	case "/drip":
		head("200 OK")
		fmt.Fprint(c, "\r\n")
		fallthrough
	case "/driphead":
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(brief / 20)
		}
	case "/closed":
	case "/silent":
		_, _ = io.Copy(io.Discard, c)
	default:
		fmt.Fprint(c, "what?\r\n\r\n")
	}
}

// container runs serve in a network namespace of its own.
func container(t testing.TB) Target {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "PROBE_TEST_SERVE=1")
	cmd.Stderr = os.Stderr
	pidfd := -1
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, PidFD: &pidfd, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); unix.Close(pidfd) })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatal("no server", line, err)
	}
	return Target{PID: cmd.Process.Pid, Network: true, Looks: make(chan struct{}, 1), Use: func(f func(int) error) error { return f(pidfd) }}
}

func own(t *testing.T) Target {
	return Target{PID: os.Getpid(), Looks: make(chan struct{}, 1), Use: func(f func(int) error) error {
		pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pidfd)
		return f(pidfd)
	}}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestTCP(t *testing.T) {
	c := container(t)
	namespace := func() string {
		s, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	here := namespace()
	for _, x := range []struct{ address, want string }{
		{"127.0.0.1:80", ""}, {"localhost:80", ""}, {"127.0.0.5:80", "cannot connect to 127.0.0.5:80: connection refused"},
		{"127.0.0.1:81", "cannot connect to 127.0.0.1:81: connection refused"},
		{"localhost:81", "cannot connect to localhost:81: connection refused"},
		{"192.0.2.1:80", "cannot connect to 192.0.2.1:80: network is unreachable"},
		{"shop:80", "cannot connect to shop:80: it is no IP address with a port"},
		{"127.0.0.1", "cannot connect to 127.0.0.1: it is no address with a port"},
	} {
		if got := text(TCP(within(t, patience), c, x.address)); got != x.want {
			t.Errorf("%s: %q, want %q", x.address, got, x.want)
		}
	}
	if namespace() != here {
		t.Error("a thread is left in the container's network namespace")
	}
	// The server is in its own namespace and not in this one.
	c.Network = false
	if err := TCP(within(t, patience), c, "127.0.0.5:80"); err == nil {
		t.Error("127.0.0.5:80 answers on the host too: the test shows nothing")
	}
}

// TestManyAtATime: goroutines that connect at once each get a socket of the
// right namespace, and no thread is left in the wrong one.
func TestManyAtATime(t *testing.T) {
	c := container(t)
	const n = 200
	errs := make(chan error, n)
	for range n {
		go func() { errs <- TCP(within(t, patience), c, "127.0.0.1:80") }()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(threads) == 0 {
		t.Fatal("no threads", err)
	}
	for _, th := range threads {
		if got, err := os.Readlink(th); err == nil && got != want {
			t.Errorf("%s is in %s", th, got)
		}
	}
}

func TestHTTP(t *testing.T) {
	c := container(t)
	for _, x := range []struct {
		path, output, want string
		time               time.Duration
	}{
		{"/up", "ok", "", patience},
		{"/early", "", "", patience},
		{"/moved", "", "", patience},
		{"/down", "no database", "status 503 Service Unavailable", patience},
		{"/long", strings.Repeat("x", OutputLimit), "", patience},
		{"/headers", "", "no answer from 127.0.0.1:80: its headers are longer than 64 KiB", patience},
		{"/what", "", "no answer from 127.0.0.1:80: what came is not HTTP", patience},
		{"/closed", "", "no answer from 127.0.0.1:80: it closed the connection", patience},
		{"/silent", "", "no answer from 127.0.0.1:80: timed out", brief},
		{"/driphead", "", "no answer from 127.0.0.1:80: timed out", brief},
		{"/drip", "x", "no answer from 127.0.0.1:80: timed out", brief},
	} {
		start := time.Now()
		output, err := HTTP(within(t, x.time), c, "http://127.0.0.1"+x.path)
		if x.path == "/drip" {
			output = output[:1]
		}
		if text(err) != x.want || output != x.output {
			t.Errorf("%s: %q, %q; want %q, %q", x.path, output, text(err), x.output, x.want)
		}
		if took := time.Since(start); took > x.time+patience/2 {
			t.Errorf("%s took %v", x.path, took)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := HTTP(ctx, c, "http://localhost/silent"); err == nil {
		t.Error("a probe that was given up succeeds")
	}
}

// TestHTTPS: certificates are not verified.
func TestHTTPS(t *testing.T) {
	s := httptest.NewTLSServer(nil) // answers 404
	defer s.Close()
	if _, err := HTTP(within(t, patience), own(t), s.URL); text(err) != "status 404 Not Found" {
		t.Error(err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"link": "fifo", "dangling": "nothing", "out": "/../../../../proc/self/cwd"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := own(t)
	for _, x := range []struct{ path, want string }{
		{dir, ""}, {dir + "/fifo", ""}, {dir + "/link", ""},
		{dir + "/dangling", dir + "/dangling does not exist"},
		{dir + "/fifo/x", dir + "/fifo/x does not exist"},
		{dir + "/out", "cannot look for " + dir + "/out: too many levels of symbolic links"}, // a magic link
	} {
		if got := text(File(within(t, patience), c, x.path)); got != x.want {
			t.Errorf("%s: %q, want %q", x.path, got, x.want)
		}
	}
	c.Looks <- struct{}{}
	if got := text(File(within(t, brief), c, dir)); !strings.HasSuffix(got, "an earlier look has not come back") {
		t.Errorf("beside a look that hangs: %q", got)
	}
	<-c.Looks
	c.Use = func(func(int) error) error { return unix.ESRCH }
	if got := text(File(within(t, patience), c, dir)); got != "the main process has ended" {
		t.Errorf("after the end: %q", got)
	}
}

func TestTail(t *testing.T) {
	var tail Tail
	var all []byte
	for i := range 3000 {
		p := []byte(fmt.Sprint(i, strings.Repeat("y", i*7%900)))
		all = append(all, p...)
		_, _ = tail.Write(p)
		if want := string(all[max(0, len(all)-OutputLimit):]); tail.String() != want {
			t.Fatalf("after %d bytes: %q", len(all), tail.String())
		}
	}
	_, _ = tail.Write(make([]byte, 3*OutputLimit))
	if len(tail.String()) != OutputLimit || tail.Total() != int64(len(all)+3*OutputLimit) {
		t.Error(len(tail.String()), tail.Total())
	}
}

// BenchmarkTCP is one connection in another network namespace.
func BenchmarkTCP(b *testing.B) {
	c := container(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := TCP(b.Context(), c, "127.0.0.1:80"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHTTP is one request there.
func BenchmarkHTTP(b *testing.B) {
	c := container(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := HTTP(b.Context(), c, "http://127.0.0.1/up"); err != nil {
			b.Fatal(err)
		}
	}
}
