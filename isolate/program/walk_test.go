package program

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// walkIn makes a path in a root of the test.
func walkIn(t testing.TB, root, path string, flags uint64) error {
	t.Helper()
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if e := new(walk).make(int32(fd), append([]byte(path), 0, 'x'), flags); e != 0 {
		return e
	}
	return nil
}

func openFDs(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestMakePath(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	long := strings.Repeat("n", 255)
	for _, c := range []struct {
		links map[string]string
		path  string
		flags uint64
		made  string // what is there then, below the root
		dir   bool
		err   error
	}{
		{nil, "/a/b/c", 0, "a/b/c", true, nil},
		{nil, "//a/./b//c/", MakeFile, "a/b/c", false, nil},
		{nil, "/x/../y", 0, "y", true, nil},
		{nil, "/../../a/../../b/c", MakeFile, "b/c", false, nil},
		{nil, "/", 0, ".", true, nil},
		{map[string]string{"l": "/to/there"}, "/l/file", MakeFile, "to/there/file", false, nil},
		{map[string]string{"l": "../../../to"}, "/l", MakeFile, "to", false, nil},
		{map[string]string{"d/l": "../run/systemd/resolve/stub"}, "/d/l", MakeFile, "run/systemd/resolve/stub", false, nil},
		{map[string]string{"d/l": "/"}, "/d/l/x", 0, "x", true, nil},
		{map[string]string{"a": "b", "b": "c"}, "/a", 0, "c", true, nil},
		{map[string]string{"a": "b", "b": "a"}, "/a", 0, "", false, unix.ELOOP},
		{map[string]string{"a": "a/a/a"}, "/a/x", 0, "", false, unix.ELOOP},
		{map[string]string{"a": "b"}, "/a/c", NoLinks, "", false, unix.ELOOP},
		{map[string]string{"f": "/etc/passwd"}, "/f", MakeFile, "etc/passwd", false, nil},
		{nil, "/file/x", 0, "", false, unix.ENOTDIR},
		{nil, "/" + long, 0, long, true, nil},
		{nil, "/" + long + "n", 0, "", false, unix.ENAMETOOLONG},
		{nil, strings.Repeat("/"+strings.Repeat("n", 100), 50), 0, "", false, nil}, // cut at PATH_MAX, as the kernel would refuse it
	} {
		root := t.TempDir()
		outside := t.TempDir()
		os.Mkdir(filepath.Join(root, "d"), 0o755)
		os.WriteFile(filepath.Join(root, "file"), nil, 0o644)
		for name, to := range c.links {
			if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
		}
		before := openFDs(t)
		for range 2 { // the second time all is there
			if err := walkIn(t, root, c.path, c.flags); err != c.err {
				if c.err != nil || !strings.HasPrefix(c.path, "/nnn") {
					t.Errorf("%s: %v, want %v", c.path, err, c.err)
				}
			}
		}
		if after := openFDs(t); after != before {
			t.Errorf("%s: %d descriptors were left", c.path, after-before)
		}
		if c.made != "" {
			st, err := os.Lstat(filepath.Join(root, c.made))
			if err != nil || st.IsDir() != c.dir || !c.dir && !st.Mode().IsRegular() {
				t.Errorf("%s: %v, %v", c.path, st, err)
			} else if want := os.FileMode(0o755); c.dir && c.made != "." && st.Mode().Perm() != want {
				t.Errorf("%s: mode %v", c.path, st.Mode())
			}
		}
		if left, _ := os.ReadDir(outside); len(left) > 0 {
			t.Errorf("%s: outside is %v", c.path, left)
		}
	}
}

// Whatever links there are, nothing is made outside, and nothing is left open.
func FuzzMakePath(f *testing.F) {
	f.Add("/a/b", "../x", "/b/../a")
	f.Add("a/../../c", "/", "a")
	f.Add("/l/m/l", "m", "../l/..")
	f.Fuzz(func(t *testing.T, path, first, second string) {
		top := t.TempDir()
		root := filepath.Join(top, "root")
		os.Mkdir(root, 0o755)
		os.Symlink(first, filepath.Join(root, "a"))
		os.Symlink(second, filepath.Join(root, "b"))
		before := openFDs(t)
		walkIn(t, root, path, MakeFile)
		if after := openFDs(t); after != before {
			t.Errorf("%d descriptors were left", after-before)
		}
		if left, _ := os.ReadDir(top); len(left) != 1 {
			t.Errorf("outside is %v", left)
		}
	})
}
