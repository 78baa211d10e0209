package isolate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hungDirectory makes a directory on a file system whose server does not answer;
// answer ends that, with errors.
func hungDirectory(t *testing.T) (dir string, answer func()) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip("no FUSE: ", err)
	}
	answer = func() {
		if fd >= 0 {
			unix.Close(fd)
		}
		fd = -1
	}
	t.Cleanup(answer)
	dir = t.TempDir()
	if err := unix.Mount("hung", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		answer()
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, answer
}

// A file system that does not answer holds up the preparation and nobody else; when
// it answers, nothing is left of what was given up.
func TestPrepareOnAHungFileSystem(t *testing.T) {
	needRoot(t)
	dir, answer := hungDirectory(t)
	before := descriptors(t)
	spec := hostSpec("/bin/true")
	spec.Mounts = []Mount{{Type: Bind, Source: filepath.Join(dir, "sub"), Target: "/run/sub"}}
	p, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	groups := 0
	_, err = PrepareContext(ctx, p, Files{Stdout: w, Groups: func() (*os.File, map[string]*os.File, error) { groups++; return nil, nil, nil }})
	var step *StepError
	if !errors.As(err, &step) || step.Path != filepath.Join(dir, "sub") || step.Text == "" || step.Hint == "" || groups != 1 {
		t.Errorf("%v, after %d groups", err, groups)
	}
	w.Close()
	stopped, stop := context.WithCancel(context.Background())
	stop()
	if _, err := PrepareContext(stopped, p, Files{}); err != context.Canceled {
		t.Errorf("given up: %v", err)
	}
	answer()
	if err := r.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a copy of the caller's descriptor is still open: %d, %v", n, err)
	}
	r.Close()
	for deadline := time.Now().Add(30 * time.Second); descriptors(t) >= before; {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors are open, %d before", descriptors(t), before)
		}
		time.Sleep(time.Millisecond) // between two looks
	}
}

// descriptors is how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
