package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for field, want := range map[string]string{
		"defaults":               "",
		"ro,noatime,nosuid":      "set 13 clear 70 fs [ro]",
		"noatime,relatime":       "clear 70",
		"strictatime,nodiratime": "set a0 clear 70",
		"nosuid,suid":            "clear 2",
		"users,exec":             "set 6 clear 8 user [users]",
		"user=web,noauto,nofail,x-a=b,_netdev,comment=c": "set e user [user=web noauto nofail x-a=b _netdev comment=c]",
		"bind,ro":                         "set 1 fs [ro] bind",
		"rbind,rslave":                    "bind recursive propagation 84000",
		"remount,rw":                      "clear 1 fs [rw] remount",
		`size=1m,context="a,b",mode=0700`: "fs [size=1m context=a,b mode=0700]",
		"sync,lazytime,data=journal":      "fs [sync lazytime data=journal]",
		"ro,rw":                           "clear 1 fs [ro rw]",
		"loop":                            "!the option loop is not covered; set up",
		"offset=512":                      "!the option offset is not covered",
	} {
		o, err := Parse(Split(field))
		if rest, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), rest) {
				t.Errorf("%s: %v, want %s", field, err, rest)
			}
			continue
		}
		var words []string
		add := func(yes bool, format string, args ...any) {
			if yes {
				words = append(words, fmt.Sprintf(format, args...))
			}
		}
		add(o.Set != 0, "set %x", o.Set)
		add(o.Clear != 0, "clear %x", o.Clear)
		add(len(o.FS) > 0, "fs %v", o.FS)
		add(len(o.User) > 0, "user %v", o.User)
		add(o.Bind, "bind")
		add(o.Recursive, "recursive")
		add(o.Remount, "remount")
		add(o.Propagation != 0, "propagation %x", o.Propagation)
		if got := strings.Join(words, " "); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", field, got, err, want)
		}
	}
	o, _ := Parse([]string{"x-a=1", "x-a=2", "nofail"})
	if v, ok := o.Value("x-a"); v != "2" || !ok || !o.Has("nofail") || o.Has("x") {
		t.Errorf("%+v", o)
	}
}

// private gives this goroutine's thread, which ends with the test, a mount
// namespace of its own, and a directory in it.
func private(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root, to mount")
		}
		t.Skip("needs root, to mount")
	}
	dir := t.TempDir()
	runtime.LockOSThread() // never unlocked
	if err := errors.Join(unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func do(source, target, kind, options string) error {
	o, err := Parse(Split(options))
	if err != nil {
		return err
	}
	m := &Mount{Source: source, Target: target, Type: kind, Options: o}
	return m.Do(context.Background())
}

// line gives what the kernel says of a mount.
func line(t *testing.T, target string) string {
	t.Helper()
	table, err := os.ReadFile("/proc/thread-self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	for l := range strings.Lines(string(table)) {
		if f := strings.Fields(l); f[1] == target {
			found = f[2] + " " + f[3]
		}
	}
	return found
}

func TestDo(t *testing.T) {
	dir := private(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c := dir+"/a", dir+"/b", dir+"/c"
	long := "mpol=" + strings.Repeat("x", 300)
	for _, s := range []struct {
		source, target, kind, options string
		want                          string // of the mount table, or "!" and a part of the error
	}{
		{"tmpfs", a, "tmpfs", "size=1m,mode=0711,nosuid,noatime", "tmpfs rw,nosuid,noatime,size=1024k,mode=711"},
		{"none", a, "none", "remount,ro", "tmpfs ro,nosuid,noatime,size=1024k,mode=711"},
		{"none", a, "none", "remount,rw,suid,nodev,relatime,size=2m", "tmpfs rw,nodev,relatime,size=2048k,mode=711"},
		{a, b, "none", "bind,ro,noexec", "tmpfs ro,nodev,noexec,relatime,size=2048k,mode=711"},
		{"none", b, "none", "remount,bind,rw", "tmpfs rw,nodev,noexec,relatime,size=2048k,mode=711"},
		{dir, c, "none", "rbind,rprivate", "tmpfs rw,relatime"},
		{"tmpfs", a, "tmpfs", "size=lots", "!the option size=lots: invalid argument (tmpfs: Bad value for 'size')"},
		{"tmpfs", a, "tmpfs", "nonsense=1", "!the option nonsense=1: invalid argument (tmpfs: Unknown parameter 'nonsense')"},
		{"x", a, "nofs", "", "!cannot mount x on " + a + " as nofs: no such device (the kernel does not know this type"},
		{"tmpfs", dir + "/none", "tmpfs", "", "!attaching it: no such file or directory"},
		{dir + "/none", a, "none", "bind", "!opening the source: no such file or directory"},
		{"tmpfs", a, "tmpfs", long, "!invalid argument"}, // by mount(2)
	} {
		err := do(s.source, s.target, s.kind, s.options)
		if rest, ok := strings.CutPrefix(s.want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), rest) {
				t.Errorf("%s %s: %v, want %s", s.target, s.options, err, rest)
			}
			continue
		}
		if got := line(t, s.target); err != nil || !strings.HasPrefix(got, s.want) {
			t.Errorf("%s: %s, %v; want %s", s.options, got, err, s.want)
		}
	}
	if line(t, c+"/a") == "" {
		t.Error("a recursive bind mount lacks what is mounted below")
	}
	if !At(a) || At(dir+"/d") || At(dir+"/none") {
		t.Error("what is mounted where is not told apart")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`ro,noatime,x="a,b",user,size=1`)
	f.Fuzz(func(t *testing.T, field string) {
		o, err := Parse(Split(field))
		if err == nil && o.Set&o.Clear&^unix.MOUNT_ATTR__ATIME != 0 {
			t.Errorf("%q sets and clears %x", field, o.Set&o.Clear)
		}
	})
}
