package emergency

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/supervisor/pty"

	"golang.org/x/sys/unix"
)

// terminals gives consoles that are pseudo-terminals, and their other sides.
func terminals(t *testing.T, n int) (list []*console, masters []*os.File) {
	t.Helper()
	for range n {
		master, tty, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { master.Close(); tty.Close() })
		fd, err := unix.FcntlInt(tty.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		list, masters = append(list, &console{name: filepath.Base(tty.Name()), fd: fd}), append(masters, master)
	}
	return list, masters
}

// reads waits until the terminal has said the word.
func reads(t *testing.T, master *os.File, word string) {
	t.Helper()
	found := make(chan bool, 1)
	go func() {
		for sc := bufio.NewScanner(master); sc.Scan(); {
			if strings.Contains(sc.Text(), word) {
				found <- true
				return
			}
		}
		found <- false
	}()
	select {
	case ok := <-found:
		if !ok {
			t.Fatalf("the terminal has not said %q", word)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the terminal has not said %q in time", word)
	}
}

// TestServe has a shell on two consoles. It ends when one of them does, and the
// other shell ends with it, though it does not want to.
func TestServe(t *testing.T) {
	list, masters := terminals(t, 2)
	over := make(chan error, 1)
	go func() {
		over <- serve(list, []string{"/bin/sh", "-c", `trap "" HUP TERM; echo "TERM=$TERM on $(tty)"; read x; sleep 1; exit 3`})
	}()
	for _, m := range masters {
		reads(t, m, "TERM=vt220 on /dev/pts/")
	}
	if _, err := masters[1].WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-over:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("one shell has ended, and the other has not been")
	}
	for _, c := range list {
		if c.running || c.pidfd >= 0 {
			t.Errorf("%s: %+v", c.name, c)
		}
	}
}

// TestServeNothing: a program that fails at once on every console is an error.
func TestServeNothing(t *testing.T) {
	list, _ := terminals(t, 2)
	if err := serve(list, []string{"/bin/false"}); err == nil {
		t.Error("no error")
	}
	list, _ = terminals(t, 1)
	if err := serve(list, []string{"/does/not/exist"}); err == nil {
		t.Error("no error")
	}
}

func TestFindShell(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", "relative:"+dir+"/none:"+dir)
	if got := findShell(); got != nil {
		t.Errorf("found %q", got)
	}
	for _, c := range []struct {
		name string
		want []string
	}{{"busybox", []string{"busybox", "sh"}}, {"sh", []string{"sh"}}, {"sulogin", []string{"sulogin"}}} {
		if err := os.WriteFile(filepath.Join(dir, c.name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		c.want[0] = filepath.Join(dir, c.want[0])
		if got := findShell(); !slices.Equal(got, c.want) {
			t.Errorf("found %q, want %q", got, c.want)
		}
	}
}

func TestTell(t *testing.T) {
	list, masters := terminals(t, 1)
	defer closeAll(list)
	tell(list, shellText(Options{Why: "Because.", Next: "Then."}))
	reads(t, masters[0], "Because.")
}
