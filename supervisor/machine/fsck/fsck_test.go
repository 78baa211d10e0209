package fsck

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestJudge has each status of fsck(8).
func TestJudge(t *testing.T) {
	for status, want := range map[int]string{
		0: "", 1: "fixed", 2: "reboot", 3: "fixed reboot",
		4: "!errors that were not corrected", 5: "!errors that were not corrected", 8: "!the check itself failed", 16: "!does not know its options",
		32: "!ended before it was done", 128: "!status 128", 127: "!not corrected", -1: "!ended before",
	} {
		r, err := judge("/dev/x", status, "out")
		got := ""
		if r.Fixed {
			got = "fixed"
		}
		if r.Reboot {
			got = strings.TrimSpace(got + " reboot")
		}
		if rest, bad := strings.CutPrefix(want, "!"); bad {
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), rest) || !strings.Contains(err.Error(), "out") {
				t.Errorf("%d: %v, want %s", status, err, rest)
			}
			continue
		}
		if err != nil || got != want || !r.Checked {
			t.Errorf("%d: %q, %v; want %q", status, got, err, want)
		}
	}
}

func TestArgs(t *testing.T) {
	for _, c := range []struct{ mode, repair, kind, want string }{
		{"auto", "preen", "ext4", "-a"}, {"force", "yes", "ext4", "-y -f"}, {"force", "no", "vfat", "-n"},
	} {
		if got := strings.Join(Options{Mode: c.mode, Repair: c.repair}.Args(c.kind), " "); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestRun checks a file system in a file by the program of the host, whole and
// damaged.
func TestRun(t *testing.T) {
	if Program("ext4") == "" {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("there is no fsck.ext4")
		}
		t.Skip("there is no fsck.ext4")
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	o := Options{Mode: "force", Repair: "preen", Locks: filepath.Join(dir, "locks")}
	if err := os.WriteFile(image, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	r, err := Run(t.Context(), image, "ext4", o)
	if err != nil || !r.Checked || r.Fixed || !strings.Contains(r.Output, "files") {
		t.Errorf("a whole one: %+v, %v", r, err)
	}
	f, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(4096); at < 512<<10; at += 4096 { // group descriptors, bitmaps, inodes
		if _, err := f.WriteAt([]byte(strings.Repeat("\xa5", 4096)), at); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	_, err = Run(t.Context(), image, "ext4", o)
	var bad *Error
	if !errors.As(err, &bad) || bad.Status&(uncorrected|failed) == 0 || bad.Output == "" {
		t.Errorf("a damaged one: %v", err)
	}
	if r, err := Run(t.Context(), image, "ext4", Options{Mode: "skip", Locks: o.Locks}); err != nil || r.Checked {
		t.Errorf("fsck.mode=skip: %+v, %v", r, err)
	}
	if r, err := Run(t.Context(), image, "nofs", o); err != nil || r.Checked {
		t.Errorf("no program: %+v, %v", r, err)
	}
}

// TestLock: a second check of the same device waits.
func TestLock(t *testing.T) {
	o := Options{Locks: t.TempDir()}
	first, err := o.lock("/dev/x/y")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(o.Locks + "/x!y")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("locked twice: %v", err)
	}
	first.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Error(err)
	}
}

func TestTail(t *testing.T) {
	var out tail
	for range 3000 {
		_, _ = out.Write([]byte("\x1b[1mab\r\x01\n"))
	}
	if s := out.String(); len(s) > maxTail || strings.ContainsAny(s, "\x1b\r\x01") || !strings.HasSuffix(s, "ab") {
		t.Errorf("%d bytes, %q", len(s), s[:20])
	}
}
