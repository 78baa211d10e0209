package switchroot

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDeviceName(t *testing.T) {
	for source, want := range map[string]string{
		"/dev/vda1": "/dev/vda1", "UUID=x": "UUID=x", "PARTLABEL=a b": "PARTLABEL=a b",
		"PARTUUID=x/PARTNROFF=1": "!PARTNROFF= is not covered",
		"/dev/nfs":               "!it is no block device", "vda1": "!it is no block device", "UUID=": "!it is no block device",
		"4095:1": "!there is no such device", "8:x": "!it is no block device", "": "!it is no block device",
	} {
		got, err := deviceName(source)
		if rest, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), rest) {
				t.Errorf("%q: %q, %v; want %s", source, got, err, rest)
			}
		} else if err != nil || got != want {
			t.Errorf("%q: %q, %v", source, got, err)
		}
	}
}

func TestFindInit(t *testing.T) {
	root := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(root+"/usr/sbin", 0o755), os.Symlink("usr/sbin", root+"/sbin"),
		os.WriteFile(root+"/usr/sbin/berthd", nil, 0o755), os.WriteFile(root+"/usr/sbin/plain", nil, 0o644),
		os.Symlink("/usr/sbin/berthd", root+"/absolute"), os.Symlink("/bin/sh", root+"/usr/sbin/init"), // leads nowhere in there
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for asked, want := range map[string]string{"": "/usr/sbin/berthd", "/absolute": "/absolute", "/usr/sbin/plain": "", "/none": "", "/usr": "", "/usr/sbin/init": ""} {
		got, err := findInit(root, asked)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", asked, got, err, want)
		}
	}
	if _, err := findInit(root, "/none"); err == nil || !strings.Contains(err.Error(), "there is no program /none on it; name one by init=") {
		t.Error(err)
	}
}

// TestEmpty empties a directory, and not what is mounted in it.
func TestEmpty(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root, to mount")
		}
		t.Skip("needs root, to mount")
	}
	dir := t.TempDir()
	runtime.LockOSThread() // never unlocked
	if err := errors.Join(unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("tmpfs", dir, "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	outside := t.TempDir()
	put := func(paths ...string) {
		for _, p := range paths {
			if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte("x"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(dir+"/a/b/c", dir+"/a/d", dir+"/mounted/below", outside+"/kept")
	if err := errors.Join(os.Symlink(outside, dir+"/link"), unix.Mount("tmpfs", dir+"/mounted", "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	put(dir + "/mounted/kept")
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	empty(fd, st.Dev, 0)
	var left []string
	_ = filepath.WalkDir(dir, func(p string, _ os.DirEntry, _ error) error {
		left = append(left, strings.TrimPrefix(p, dir))
		return nil
	})
	if got := strings.Join(left, " "); got != " /mounted /mounted/kept" {
		t.Errorf("left: %s", got)
	}
	if _, err := os.Stat(outside + "/kept"); err != nil {
		t.Error("what a link leads to is gone")
	}
}

// TestPossible: this process is in no initramfs.
func TestPossible(t *testing.T) {
	if Possible() {
		t.Error("this is taken for an initramfs")
	}
}
