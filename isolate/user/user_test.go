package user

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func root(t *testing.T, passwd, group string) (dir string, fd int) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"passwd": passwd, "group": group} {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return dir, fd
}

func TestLookup(t *testing.T) {
	_, fd := root(t, "web:x:10:20:W:/srv:/bin/sh\n77:x:5:6::rel:\nroot:x:0:0:::\nbig:x:99999999999:1:::\nneg:x:-1:1:::\nshort:x:1\n",
		"web:x:20:\na:x:30:x,web\nb:x:31:web\n88:x:40:\n")
	for _, c := range []struct {
		user, group string
		extra       []string
		uid, gid    uint32
		groups      []uint32
		home        string
	}{
		{"web", "", nil, 10, 20, []uint32{30, 31}, "/srv"},
		{"10", "", nil, 10, 20, []uint32{30, 31}, "/srv"},
		{"web", "a", []string{"b", "50"}, 10, 30, []uint32{30, 31, 50}, "/srv"},
		{"77", "", nil, 5, 6, nil, "/"},     // a name made of digits comes before an id
		{"78", "88", nil, 78, 40, nil, "/"}, // no entry
		{"", "", nil, 0, 0, nil, "/"},
	} {
		u, err := Lookup(fd, c.user, c.group, c.extra)
		if err != nil {
			t.Errorf("%q: %v", c.user, err)
			continue
		}
		if u.UID != c.uid || u.GID != c.gid || !slices.Equal(u.Groups, c.groups) || u.Home != c.home {
			t.Errorf("%q %q: %+v", c.user, c.group, u)
		}
	}
	for _, c := range [][2]string{{"big", ""}, {"neg", ""}, {"short", ""}, {"nobody", ""}, {"web", "nogroup"}, {"4294967295", ""}, {"-1", ""}, {"web", "4294967295"}} {
		if u, err := Lookup(fd, c[0], c[1], nil); err == nil {
			t.Errorf("%q gave %+v", c, u)
		}
	}
}

func TestHostileFiles(t *testing.T) {
	for name, spoil := range map[string]func(string) error{
		"a FIFO":      func(f string) error { return unix.Mkfifo(f, 0o644) },
		"a directory": func(f string) error { return os.Mkdir(f, 0o755) },
		"huge":        func(f string) error { return os.WriteFile(f, make([]byte, maxFile+1), 0o644) },
		"a loop":      func(f string) error { return os.Symlink("passwd", f) },
	} {
		dir, fd := root(t, "", "")
		file := filepath.Join(dir, "etc/passwd")
		os.Remove(file)
		if err := spoil(file); err != nil {
			t.Fatal(err)
		}
		if u, err := Lookup(fd, "0", "", nil); err == nil {
			t.Errorf("%s gave %+v", name, u)
		}
	}
	// A link that leads to the host's file leads into the root instead.
	dir, fd := root(t, "", "")
	outside := filepath.Join(t.TempDir(), "passwd")
	os.WriteFile(outside, []byte("evil:x:1:1:::\n"), 0o644)
	os.Remove(filepath.Join(dir, "etc/passwd"))
	if err := os.Symlink(outside, filepath.Join(dir, "etc/passwd")); err != nil {
		t.Fatal(err)
	}
	if u, err := Lookup(fd, "evil", "", nil); err == nil || !strings.Contains(err.Error(), "no user") {
		t.Errorf("%+v, %v", u, err)
	}
}
