package launcher

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/isolate"
	"berth/isolate/program"

	"golang.org/x/sys/unix"
)

// namespaces gives this process's own, in the order in which showNamespaces gives them.
func namespaces(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for _, kind := range []string{"net", "ipc", "uts"} {
		name, err := os.Readlink(filepath.Join(dir, "ns", kind))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, name)
	}
	return out
}

// showNamespaces starts a program by the launcher, announced or not, and gives
// its namespaces and the state of its loopback interface.
func showNamespaces(t *testing.T, c *Client, ahead uint64, ns isolate.Namespaces) (names []string, loopback string) {
	t.Helper()
	script := "cd /proc/self/ns; readlink net ipc uts; cat /sys/class/net/lo/flags"
	compiled, err := isolate.Compile(&isolate.Spec{
		Name:       "test",
		RootFS:     isolate.RootFS{Host: true},
		Namespaces: ns,
		Process:    isolate.Process{Args: []string{"/bin/sh", "-c", script}, NoNewPrivileges: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Ahead(ahead)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	prepared, err := isolate.Prepare(compiled, isolate.Files{Stdout: w})
	if err != nil {
		t.Fatal(err)
	}
	defer prepared.Close()
	image, fds := prepared.Encode()
	pid, pidfd, err := c.Fork(context.Background(), image, fds)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	for _, kind := range []string{"net", "ipc", "uts"} {
		held, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)) // or its number is given to another
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { held.Close() })
	}
	prepared.Launched()
	if err := prepared.Proceed(); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if status := finish(t, pid, pidfd); status != 0 {
		t.Fatalf("exit status %d: %s", status, out)
	}
	lines := strings.Fields(string(out))
	if len(lines) != 4 {
		t.Fatalf("printed %q", out)
	}
	return lines[:3], lines[3]
}

// TestAhead: whatever was made ahead, and for whom, every program is in
// namespaces that nobody else is in, or in the host's if it is to be, and the
// launcher itself comes back.
func TestAhead(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root: it makes containers")
	}
	cmd, conn := start(t, "role-program")
	c := NewClient(conn)
	t.Cleanup(func() { c.Close() })
	own := namespaces(t, "/proc/self")
	host := isolate.Namespace{Mode: isolate.NSHost}
	seen := slices.Clone(own)
	for _, ahead := range []uint64{program.AheadFlags, 0, program.AheadFlags, unix.CLONE_NEWNET, program.AheadFlags | unix.CLONE_NEWUSER} {
		names, loopback := showNamespaces(t, c, ahead, isolate.Namespaces{})
		for _, n := range names {
			if slices.Contains(seen, n) {
				t.Errorf("announced %#x: %s is somebody else's", ahead, n)
			}
		}
		seen = append(seen, names...)
		if loopback != "0x9" { // IFF_UP | IFF_LOOPBACK
			t.Errorf("announced %#x: the loopback interface has the flags %s", ahead, loopback)
		}
	}
	names, _ := showNamespaces(t, c, program.AheadFlags, isolate.Namespaces{Network: host})
	if names[0] != own[0] || slices.Contains(seen, names[1]) || slices.Contains(seen, names[2]) {
		t.Errorf("a program in the host's network is in %v", names)
	}
	if names, _ := showNamespaces(t, c, program.AheadFlags, isolate.Namespaces{Network: host, IPC: host, UTS: host}); !slices.Equal(names, own) {
		t.Errorf("a program in the host's namespaces is in %v, want %v", names, own)
	}

	// One that does not come.
	inside := func() bool {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", cmd.Process.Pid))
		if err != nil || len(tasks) == 0 {
			t.Fatal(tasks, err)
		}
		return slices.ContainsFunc(tasks, func(dir string) bool { return !slices.Equal(namespaces(t, dir), own) })
	}
	c.Ahead(program.AheadFlags)
	end := time.Now().Add(deadline)
	for !inside() {
		if time.Now().After(end) {
			t.Fatal("nothing is made ahead")
		}
	}
	for inside() {
		if time.Now().After(end) {
			t.Fatal("what was made ahead is not given up")
		}
	}
}

// TestSealed: what is compiled for a launcher whose executable nobody can write
// is not forked by another one.
func TestSealed(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root: it makes a container")
	}
	compiled, err := isolate.Compile(&isolate.Spec{
		Name: "test", RootFS: isolate.RootFS{Host: true}, SealedStarter: true,
		Process: isolate.Process{Args: []string{"/bin/true"}, NoNewPrivileges: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, conn := start(t, "role-program")
	c := NewClient(conn)
	t.Cleanup(func() { c.Close() })
	prepared, err := isolate.Prepare(compiled, isolate.Files{})
	if err != nil {
		t.Fatal(err)
	}
	defer prepared.Close()
	image, fds := prepared.Encode()
	if _, _, err := c.Fork(context.Background(), image, fds); err == nil || !strings.Contains(err.Error(), "nobody can write") {
		t.Errorf("forked: %v", err)
	}
	if c.Sealed() {
		t.Error("the launcher of the test says that it is sealed")
	}
}
