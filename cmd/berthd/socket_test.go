package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"berth/isolate/vmtest"
	"berth/supervisor/core"

	// What testdata/listener imports, which is no package to the go command.
	_ "github.com/coreos/go-systemd/v22/activation"
)

// listener gives the path of the program in testdata/listener, built once.
var listener = sync.OnceValues(func() (string, error) {
	dir, err := programs()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "listener")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "berth/cmd/berthd/testdata/listener")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the listener: %w\n%s", err, out)
	}
	return path, nil
})

// listening is a unit file that runs testdata/listener with these sockets.
func listening(t testing.TB, arg string, more ...string) string {
	t.Helper()
	path, err := listener()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("[service]\ncommand = ['/run/listener/listener', '%s']\n[rootfs]\nhost = true\n[[mount]]\nsource = '%s'\ntarget = '/run/listener'\n%s\n",
		arg, filepath.Dir(path), strings.Join(more, "\n"))
}

// freePort gives a port that nobody listens on now.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// say sends a line over a new connection and gives the answer.
func say(network, address, text string) (string, error) {
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintln(c, text); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(answer), err
}

// TestSockets passes sockets of all kinds to systemd's own library, and keeps
// them over restarts.
func TestSockets(t *testing.T) {
	if vmtest.Current() != "" {
		t.Skip("the programs are not in the virtual machine")
	}
	run := t.TempDir()
	if err := os.Chmod(run, 0o755); err != nil {
		t.Fatal(err)
	}
	// What a daemon that was killed leaves: nobody listens on it any more.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(run, "stream"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	port := freePort(t)
	sockets := strings.NewReplacer("PORT", fmt.Sprint(port), "RUN", run).Replace(`
[[socket]]
listen = "127.0.0.1:PORT"
name = "http"
[[socket]]
listen = "RUN/stream"
mode = "0660"
group = "nogroup"
[[socket]]
listen = "RUN/datagram"
type = "datagram"
name = "dgram"
[[socket]]
listen = "RUN/packet"
type = "seqpacket"
name = "packet"
[[socket]]
listen = "RUN/fifo"
type = "fifo"
name = "pipe"
[[socket]]
listen = "127.0.0.1:PORT"
type = "datagram"
name = "udp"
[[socket]]
listen = "@berth-test-PORT"
name = "abstract"`)
	d := start(t, map[string]string{"web.toml": listening(t, "stay", sockets)})
	d.wait("web", core.Running)
	d.eventuallyLogs("web", "fd 3 http", "fd 4 web", "fd 5 dgram", "fd 6 packet", "fd 7 pipe", "fd 8 udp", "fd 9 abstract", "sockets 7 left in the environment: ")
	st, err := os.Stat(filepath.Join(run, "stream"))
	if err != nil || st.Mode().Perm() != 0o660 || st.Sys().(*syscall.Stat_t).Gid != 65534 {
		t.Errorf("the socket's file: %v, %v", st, err)
	}
	all := func() {
		t.Helper()
		for _, c := range [][3]string{{"tcp", fmt.Sprint("127.0.0.1:", port), "http 1 x"}, {"unix", filepath.Join(run, "stream"), "web 1 x"}, {"unix", fmt.Sprint("@berth-test-", port), "abstract 1 x"}} {
			if got, err := say(c[0], c[1], "x"); got != c[2] || err != nil {
				t.Errorf("%s %s: %q, %v", c[0], c[1], got, err)
			}
		}
		udp, err := net.Dial("udp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		_ = udp.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(udp, "x")
		buf := make([]byte, 100)
		if n, err := udp.Read(buf); string(buf[:n]) != "udp 1 x" {
			t.Errorf("udp: %q, %v", buf[:n], err)
		}
		if c, err := net.Dial("unixgram", filepath.Join(run, "datagram")); err != nil {
			t.Error(err)
		} else {
			fmt.Fprint(c, "x")
			c.Close()
		}
		if c, err := net.Dial("unixpacket", filepath.Join(run, "packet")); err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
		f, err := os.OpenFile(filepath.Join(run, "fifo"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(f, "x")
		f.Close()
	}
	all()
	d.eventually("all have come", func() bool {
		l := d.logs("web")
		return slices.Contains(l, "datagram dgram x") && slices.Contains(l, "served packet") && slices.Contains(l, "line pipe x")
	})

	// Nothing is lost over restarts of the unit, nor when the supervisor is killed:
	// what knocks meanwhile waits.
	inode := func() uint64 {
		st, err := os.Stat(filepath.Join(run, "stream"))
		if err != nil {
			t.Fatal(err)
		}
		return st.Sys().(*syscall.Stat_t).Ino
	}
	was := inode()
	ended := make(chan error)
	stop := make(chan struct{})
	asked := 0
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if got, err := say("tcp", fmt.Sprint("127.0.0.1:", port), "x"); err != nil && !errors.Is(err, syscall.ECONNRESET) && err.Error() != "EOF" || err == nil && got != "http 1 x" {
				ended <- fmt.Errorf("%q, %w", got, err)
				return
			}
			asked++
		}
	}()
	for i := range 5 {
		if i%2 == 0 {
			d.killSupervisor(func() {})
		}
		d.ok("restart", "web")
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Errorf("after %d requests: %v", asked, err)
	}
	t.Logf("%d requests over 5 restarts and 3 killed supervisors", asked)
	if inode() != was {
		t.Error("the socket was opened anew")
	}
	all()

	// A reload opens only what is new, and closes what is gone.
	d.write("web.toml", listening(t, "stay", strings.Replace(sockets, "packet\"\ntype", "other\"\ntype", 1)))
	d.eventually("the new one is there", func() bool { _, err := os.Stat(filepath.Join(run, "other")); return err == nil })
	d.wait("web", core.Running)
	if _, err := os.Stat(filepath.Join(run, "packet")); err == nil || inode() != was {
		t.Errorf("after a reload: %v, same socket: %v", err, inode() == was)
	}

	// After a stop nothing is left.
	d.ok("stop", "web")
	if _, err := say("tcp", fmt.Sprint("127.0.0.1:", port), "x"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after a stop: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(run, "*")); len(left) > 0 {
		t.Errorf("after a stop: %v", left)
	}
	// What is somebody else's is not replaced.
	if err := os.WriteFile(filepath.Join(run, "stream"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := d.berth("start", "web"); code == 0 || !strings.Contains(errs, "is there, and is no socket") {
		t.Errorf("over a file: %d, %s", code, errs)
	}
	d.ok("stop", "web")
	if _, err := os.Stat(filepath.Join(run, "stream")); err != nil {
		t.Error(err)
	}
}

// TestActivation starts units by the first traffic on their sockets.
func TestActivation(t *testing.T) {
	if vmtest.Current() != "" {
		t.Skip("the programs are not in the virtual machine")
	}
	run := t.TempDir()
	port, busy := freePort(t), freePort(t)
	taken, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", busy))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	activate := func(listen, kind string) string {
		return fmt.Sprintf("[[socket]]\nlisten = '%s'\ntype = '%s'\nactivate = true\n", listen, kind)
	}
	d := start(t, map[string]string{
		"lazy.toml":  listening(t, "once", activate(fmt.Sprint("127.0.0.1:", port), "stream")),
		"gram.toml":  listening(t, "once", activate(run+"/gram", "datagram")),
		"pipe.toml":  listening(t, "once", activate(run+"/pipe", "fifo")),
		"init.toml":  with(listening(t, "once", activate(run+"/init", "stream")), "init = true"),
		"spin.toml":  listening(t, "leave", activate(run+"/spin", "stream")),
		"taken.toml": listening(t, "once", activate(fmt.Sprint("127.0.0.1:", busy), "stream")),
	})
	address := fmt.Sprint("127.0.0.1:", port)
	if st := d.wait("lazy", core.Inactive); !st.Listening {
		t.Errorf("lazy: %+v", st)
	}
	if out := d.ok("list"); !strings.Contains(out, "listening") {
		t.Errorf("berth list:\n%s", out)
	}
	for range 3 { // it ends after each, and is listened for again
		if got, err := say("tcp", address, "x"); got != "web 1 x" && got != "lazy 1 x" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		d.eventually("it has ended", func() bool { return d.status("lazy").Listening })
	}
	// While nobody supervises, connections wait.
	got := make(chan string)
	d.killSupervisor(func() {
		go func() {
			s, err := say("tcp", address, "waits")
			got <- fmt.Sprint(s, err)
		}()
	})
	if s := <-got; s != "lazy 1 waits<nil>" {
		t.Errorf("over a killed supervisor: %s", s)
	}
	if s, err := say("unix", run+"/init", "x"); s != "init 2 x" || err != nil {
		t.Errorf("below an init: %q, %v", s, err)
	}

	c, err := net.Dial("unixgram", run+"/gram")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "hello")
	c.Close()
	d.eventually("the datagram is there", func() bool { return slices.Contains(d.logs("gram"), "datagram gram hello") })
	f, err := os.OpenFile(run+"/pipe", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "hello")
	f.Close()
	d.eventually("the line is there", func() bool { return slices.Contains(d.logs("pipe"), "line pipe hello") })

	// A program that does not take what comes is not started for ever.
	if c, err = net.Dial("unix", run+"/spin"); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if st := d.wait("spin", core.Failed); !strings.Contains(st.Reason, "started 20 times in 10s by its sockets") {
		t.Errorf("spin: %s", st.Reason)
	}
	if st := d.wait("taken", core.Failed); !strings.Contains(st.Reason, "address already in use") {
		t.Errorf("taken: %s", st.Reason)
	}

	// Stopped, it does not come by itself.
	d.ok("stop", "lazy")
	if _, err := say("tcp", address, "x"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after a stop: %v", err)
	}
	d.ok("start", "lazy")
	if s, err := say("tcp", address, "x"); s != "lazy 1 x" || err != nil {
		t.Errorf("after a start: %q, %v", s, err)
	}
}

// TestSocketNginx gives nginx its socket as it takes one from a predecessor of its
// own (NGINX), and lets it be restarted, and the supervisor be killed, under
// requests of which none may fail.
func TestSocketNginx(t *testing.T) {
	if vmtest.Current() != "" {
		t.Skip("nginx is not in the virtual machine")
	}
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("nginx is not installed: .ci/install does it")
		}
		t.Skip("nginx is not installed")
	}
	port := freePort(t)
	address := fmt.Sprint("127.0.0.1:", port)
	conf := filepath.Join(t.TempDir(), "nginx.conf")
	text := "worker_processes 1;\npid /tmp/nginx.pid;\nevents {}\nhttp { access_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += fmt.Sprintf("%s_temp_path /tmp/%s;\n", kind, kind)
	}
	text += fmt.Sprintf("server { listen %s; location / { return 200 \"hello\\n\"; } } }\n", address)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d := start(t, map[string]string{"nginx.toml": fmt.Sprintf(`
[service]
command = ["%s", "-e", "stderr", "-c", "/run/nginx.conf", "-g", "daemon off;"]
user = "nobody"
environment = { NGINX = "3;" }
[stop]
signal = "QUIT"
[rootfs]
host = true
[[mount]]
source = "%s"
target = "/run/nginx.conf"
[[socket]]
listen = "%s"
activate = true
`, nginx, conf, address)})
	if st := d.status("nginx"); st.Phase != core.Inactive || !st.Listening {
		t.Errorf("before the first request: %+v", st)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	get := func() error {
		r, err := client.Get("http://" + address + "/")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "hello\n" {
			return fmt.Errorf("%q, %w", body, err)
		}
		return nil
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	d.wait("nginx", core.Running)
	stop, ended, asked := make(chan struct{}), make(chan error, 4), atomic.Int64{}
	for range cap(ended) {
		go func() {
			for {
				select {
				case <-stop:
					ended <- nil
					return
				default:
				}
				if err := get(); err != nil {
					ended <- err
					return
				}
				asked.Add(1)
			}
		}()
	}
	for i := range 6 {
		if i%2 == 1 {
			d.killSupervisor(func() {})
		}
		d.ok("restart", "nginx")
	}
	close(stop)
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Errorf("a request failed: %v", err)
		}
	}
	t.Logf("%d requests over 6 restarts and 3 killed supervisors", asked.Load())
}
