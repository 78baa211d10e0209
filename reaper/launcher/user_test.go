package launcher

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"berth/isolate"
	"berth/isolate/program"

	"golang.org/x/sys/unix"
)

// startUser starts a program in a user namespace by the launcher and gives its
// pid, pidfd and output. Namespaces made ahead must not get into it.
func startUser(t *testing.T, c *Client, user *isolate.UserNamespace, script string) (pid int, pidfd, out *os.File) {
	t.Helper()
	compiled, err := isolate.Compile(&isolate.Spec{
		Name: "test", RootFS: isolate.RootFS{Host: true}, Namespaces: isolate.Namespaces{User: user},
		Process: isolate.Process{Args: []string{"/bin/sh", "-c", script}, NoNewPrivileges: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Ahead(program.AheadFlags)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	t.Cleanup(func() { r.Close() })
	prepared, err := isolate.Prepare(compiled, isolate.Files{Stdout: w, Stderr: w})
	if err != nil {
		t.Fatal(err)
	}
	defer prepared.Close()
	image, fds := prepared.Encode()
	if pid, pidfd, err = c.Fork(context.Background(), image, fds); err != nil {
		t.Fatal(err)
	}
	prepared.Launched()
	if err := prepared.Forked(pid, int(pidfd.Fd())); err != nil {
		t.Fatal(err)
	}
	if err := prepared.Proceed(); err != nil {
		t.Fatal(err)
	}
	return pid, pidfd, r
}

// TestUserNamespaces starts one container in a user namespace of its own, and one
// that is born in that.
func TestUserNamespaces(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root: it makes containers")
	}
	_, conn := start(t, "role-program")
	c := NewClient(conn)
	t.Cleanup(func() { c.Close() })
	ids := isolate.IDMap{UIDs: []isolate.IDRange{{Inside: 0, Outside: 300000, Count: 65536}}, GIDs: []isolate.IDRange{{Inside: 0, Outside: 300000, Count: 65536}}}
	const look = "readlink /proc/self/ns/user; echo $$; id -u; cat /sys/class/net/lo/flags; ip link add type veth 2>/dev/null || echo refused; "
	pid, pidfd, out := startUser(t, c, &isolate.UserNamespace{Map: ids}, look+"exec 1>&- 2>&-; exec sleep 1000")
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	user, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		t.Fatal(err)
	}
	want := user + " 1 0 0x9 refused"
	if got := strings.Join(strings.Fields(string(text)), " "); got != want {
		t.Errorf("a new one: %q, want %q", got, want)
	}

	join := &isolate.Namespace{Mode: isolate.NSJoin, Path: fmt.Sprintf("/proc/%d/ns/user", pid)}
	second, secondFD, out := startUser(t, c, &isolate.UserNamespace{Join: join, Map: ids}, look)
	if text, err = io.ReadAll(out); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(strings.Fields(string(text)), " "); got != want {
		t.Errorf("a joined one: %q, want %q", got, want)
	}
	if status := finish(t, second, secondFD); status != 0 {
		t.Errorf("exit status %d", status)
	}
	// The process in between was this one's child too: nothing else of it may be left.
	var between unix.WaitStatus
	if reaped, err := unix.Wait4(-1, &between, unix.WNOHANG|unix.WALL, nil); err != nil || reaped <= 0 || between.ExitStatus() != 0 {
		t.Errorf("the process in between: %d, %#x, %v", reaped, uint32(between), err)
	}
	if err := unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0); err != nil {
		t.Error(err)
	}
	finish(t, pid, pidfd)
}
