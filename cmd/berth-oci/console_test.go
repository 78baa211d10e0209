package main

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// receiver takes terminals at a socket, as engines do.
type receiver struct {
	path   string
	listen *net.UnixListener
}

func newReceiver(t *testing.T, dir string) *receiver {
	t.Helper()
	r := &receiver{path: filepath.Join(dir, "console.sock")}
	var err error
	if r.listen, err = net.ListenUnix("unix", &net.UnixAddr{Name: r.path, Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.listen.Close() })
	return r
}

// take gives the terminal that has been sent.
func (r *receiver) take(t *testing.T) *os.File {
	t.Helper()
	_ = r.listen.SetDeadline(time.Now().Add(patience))
	conn, err := r.listen.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	name, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, c, _, _, err := conn.ReadMsgUnix(name, control)
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:c])
	if err != nil || len(messages) != 1 {
		t.Fatal(messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatal(fds, err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), string(name[:n]))
	t.Cleanup(func() { file.Close() })
	_ = file.SetDeadline(time.Now().Add(patience))
	return file
}

func withTerminal(c *specs.Spec) {
	c.Process.Terminal = true
	c.Process.ConsoleSize = &specs.Box{Height: 30, Width: 100}
}

func TestConsoleSocket(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, w.dir)
	id := w.id()
	bundle := w.bundle(withTerminal, "sh", "-c", "tty; stty size; ls -l /dev/console | cut -c1 2>/dev/null; read line; echo got $line; exec sleep 1000")
	w.run("create", "-b", bundle, "--console-socket", r.path, id)
	terminal := r.take(t)
	w.run("start", id)
	lines := bufio.NewReader(terminal)
	for _, want := range []string{"/dev/pts/0", "30 100"} {
		if line, err := lines.ReadString('\n'); err != nil || strings.TrimSpace(line) != want {
			t.Fatalf("%q, %v, want %q", line, err, want)
		}
	}
	if _, err := terminal.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(line) == "got hello" {
			break
		}
	}

	// A further process with a terminal of its own.
	pidFile := filepath.Join(w.dir, "pid")
	w.run("exec", "--detach", "--tty", "--console-socket", r.path, "--pid-file", pidFile, id, "sh", "-c", "tty; read line")
	second := r.take(t)
	if line, err := bufio.NewReader(second).ReadString('\n'); err != nil || strings.TrimSpace(line) != "/dev/pts/1" {
		t.Fatalf("%q, %v", line, err)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	w.ended(pid)
	w.kill(id)

	w.fails(1, "cannot allocate tty if berth-oci will detach without setting console socket", "create", "-b", bundle, w.id())
	w.fails(1, "cannot use console socket if berth-oci will not detach or allocate tty", "create", "--console-socket", r.path, "-b", w.bundle(nil, "true"), w.id())
	w.fails(1, "cannot connect to the console socket", "create", "-b", bundle, "--console-socket", w.dir+"/nothing", w.id())
}

// run and exec in the foreground relay the caller's terminal.
func TestForegroundTerminal(t *testing.T) {
	w := newWorld(t)
	id := w.id()
	w.run("run", "--detach", "-b", w.bundle(nil, "sleep", "1000"), id)
	const script = "stty size; read line; echo got $line; exit 5"
	for _, args := range [][]string{
		{"run", "-b", w.bundle(func(c *specs.Spec) { c.Process.Terminal = true }, "sh", "-c", script), w.id()},
		{"exec", "--tty", id, "sh", "-c", script},
	} {
		cmd := w.command(args...)
		terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 31, Cols: 101})
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(terminal)
		if line, err := lines.ReadString('\n'); err != nil || strings.TrimSpace(line) != "31 101" {
			t.Errorf("%v: %q, %v", args, line, err)
		}
		if _, err := terminal.WriteString("hello\r"); err != nil {
			t.Fatal(err)
		}
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("%v: %v", args, err)
			}
			if strings.TrimSpace(line) == "got hello" {
				break
			}
		}
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
			t.Errorf("%v: %v", args, cmd.ProcessState)
		}
		terminal.Close()
	}
	w.kill(id)
}

// A terminal has the path that the container knows it by, also where the mounts
// are cloned in the end: because of their order, or since there is no mount namespace.
func TestTerminalPath(t *testing.T) {
	w := newWorld(t)
	bindLast := func(c *specs.Spec) {
		c.Mounts = append(c.Mounts, specs.Mount{Destination: "/config", Type: "bind", Source: "config.json", Options: []string{"bind"}})
	}
	for name, change := range map[string]func(*specs.Spec){
		"plain": func(*specs.Spec) {}, "a bound mount at last": bindLast,
		"with a user namespace": func(c *specs.Spec) {
			bindLast(c)
			c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			c.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 1000}}
			c.Linux.GIDMappings = c.Linux.UIDMappings
		},
		"no mount namespace": func(c *specs.Spec) {
			c.Linux.Namespaces = slices.DeleteFunc(c.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.MountNamespace })
			c.Linux.MaskedPaths, c.Linux.ReadonlyPaths = nil, nil
		},
	} {
		bundle := w.bundle(func(c *specs.Spec) {
			c.Process.Terminal = true
			change(c)
		}, "readlink", "/proc/self/fd/0")
		cmd := w.command("run", "-b", bundle, w.id())
		terminal, err := pty.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(terminal)
		for lines.Scan() && strings.Contains(lines.Text(), "warning") {
		}
		if lines.Text() != "/dev/pts/0" {
			t.Errorf("%s: %q, %v", name, lines.Text(), lines.Err())
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		terminal.Close()
	}
}
