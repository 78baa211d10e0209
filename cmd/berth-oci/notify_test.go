package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A container has a notify socket where the caller has one, whoever its user is,
// and the caller is told that it is ready, with its pid, and nothing else.
func TestNotifySocket(t *testing.T) {
	w := newWorld(t)
	ready := filepath.Join(w.dir, "ready")
	build := exec.Command("go", "build", "-o", ready, "./testdata/ready")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	change := func(c *specs.Spec) { c.Process.User = specs.User{UID: 1000, GID: 1000} }
	stays, ends := w.bundle(change, "/bin/ready", "stay"), w.bundle(change, "/bin/ready")
	silent := w.bundle(change, "true")
	for _, bundle := range []string{stays, ends} {
		w.shell(bundle, "cp "+ready+" rootfs/bin/ready")
	}
	path := filepath.Join(w.dir, "caller.sock")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	run := func(args ...string) {
		t.Helper()
		cmd := w.command(args...)
		cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
		if out, err := w.output(cmd); err != nil {
			t.Fatalf("%v: %v, %s", args, err, out)
		}
	}
	// heard gives what the caller has been told by the end of the command.
	heard := func() string {
		t.Helper()
		_ = socket.SetReadDeadline(time.Now().Add(patience))
		message := make([]byte, 4096)
		n, err := socket.Read(message)
		if err != nil {
			t.Fatal(err)
		}
		return string(message[:n])
	}
	nothing := func() {
		t.Helper()
		_ = socket.SetReadDeadline(time.Now().Add(time.Millisecond))
		if n, err := socket.Read(make([]byte, 4096)); err == nil {
			t.Errorf("the caller is told %d bytes more", n)
		}
	}

	id := w.id()
	run("create", "-b", stays, id)
	nothing()
	run("start", id)
	if got, want := heard(), fmt.Sprintf("READY=1\nMAINPID=%d\n", w.state(id).PID); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	nothing()
	w.kill(id)

	id = w.id()
	run("run", "--detach", "-b", stays, id)
	if got, want := heard(), fmt.Sprintf("READY=1\nMAINPID=%d\n", w.state(id).PID); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	w.kill(id)

	run("run", "-b", ends, w.id())
	heard()
	run("run", "-b", silent, w.id())
	nothing()
	// Without a caller's socket the container has none either.
	if _, _, code := w.try("run", "-b", ends, w.id()); code != 1 {
		t.Error("there is a notify socket though nobody wants to be told")
	}
}
