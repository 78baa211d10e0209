package api

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root: connects as other users")
		}
		t.Skip("needs root: connects as other users")
	}
}

// served runs a server of the stub and gives its socket's path.
func served(t *testing.T, roles Roles) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "berth.sock")
	s, err := Listen(path, stub{}, roles)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return path
}

// dialAs connects as a user: the kernel takes the credentials of the thread.
func dialAs(t *testing.T, path string, uid, gid int, groups ...uint32) net.Conn {
	t.Helper()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var r result
		defer func() { done <- r }()
		list := append(groups, 0)
		if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&list[0])), 0); e != 0 {
			r.err = e
			return
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); e != 0 {
			r.err = e
			return
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
			r.err = e
			return
		}
		r.conn, r.err = net.Dial("unix", path)
	}()
	r := <-done
	if r.err != nil {
		t.Fatalf("cannot connect as user %d: %v", uid, r.err)
	}
	t.Cleanup(func() { r.conn.Close() })
	return r.conn
}

// ask sends one request and gives the status, 0 when the connection was closed.
func ask(t *testing.T, conn net.Conn, method, path, body string) int {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: berth\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode
}

// TestPeerGroups gives roles by groups, the further ones of the peer included.
func TestPeerGroups(t *testing.T) {
	needRoot(t)
	path := served(t, Roles{ReadGID: 4242, OperateGID: 4343})
	many := make([]uint32, 200)
	for i := range many {
		many[i] = uint32(50000 + i)
	}
	for _, c := range []struct {
		name          string
		gid           int
		groups        []uint32
		read, operate int
	}{
		{"no group", 5555, nil, 403, 403},
		{"primary", 4242, nil, 200, 403},
		{"further", 5555, []uint32{4242}, 200, 403},
		{"operate", 5555, []uint32{9, 4343}, 200, 200},
		{"one of many", 5555, append(many, 4343), 200, 200},
		{"many others", 5555, many, 403, 403},
	} {
		conn := dialAs(t, path, 5555, c.gid, c.groups...)
		if got := ask(t, conn, "GET", "/v1/units", ""); got != c.read {
			t.Errorf("%s: reading gives %d, want %d", c.name, got, c.read)
		}
		if got := ask(t, conn, "POST", "/v1/command", `{"verb":"start","units":["web"]}`); got != c.operate {
			t.Errorf("%s: operating gives %d, want %d", c.name, got, c.operate)
		}
	}
}

// TestConnectionsPerUser opens more than one user may: the rest are closed, root
// and other users are served, and the user again once some have ended.
func TestConnectionsPerUser(t *testing.T) {
	needRoot(t)
	path := served(t, Roles{ReadGID: 4242, OperateGID: -1})
	var held []net.Conn
	for range maxConnectionsPerUser {
		held = append(held, dialAs(t, path, 5555, 4242))
	}
	if got := ask(t, held[len(held)-1], "GET", "/v1/units", ""); got != 200 {
		t.Fatalf("the last one that is allowed: %d", got)
	}
	if got := ask(t, dialAs(t, path, 5555, 4242), "GET", "/v1/units", ""); got != 0 {
		t.Errorf("one too many: %d", got)
	}
	if got := ask(t, dialAs(t, path, 5556, 4242), "GET", "/v1/units", ""); got != 200 {
		t.Errorf("another user: %d", got)
	}
	if got := ask(t, dialAs(t, path, 0, 0), "GET", "/v1/units", ""); got != 200 {
		t.Errorf("root: %d", got)
	}
	held[0].Close()
	for deadline := time.Now().Add(20 * time.Second); ask(t, dialAs(t, path, 5555, 4242), "GET", "/v1/units", "") != 200; {
		if time.Now().After(deadline) {
			t.Fatal("a connection that was closed still counts")
		}
	}
}

// TestTrailingBody refuses what follows the request's one value.
func TestTrailingBody(t *testing.T) {
	needRoot(t)
	path := served(t, Roles{-1, -1})
	for body, want := range map[string]int{
		`{"verb":"start","units":["web"]}`:                                  200,
		`{"verb":"start","units":["web"]} ` + "\n":                          200,
		`{"verb":"start","units":["web"]}{}`:                                400,
		`{"verb":"start","units":["web"],"more":1}`:                         400,
		`{"verb":"start","units":["` + strings.Repeat("a", maxBody) + `"]}`: 400,
	} {
		if got := ask(t, dialAs(t, path, 0, 0), "POST", "/v1/command", body); got != want {
			t.Errorf("%.60s: %d, want %d", body, got, want)
		}
	}
}
