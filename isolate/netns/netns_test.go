package netns

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const own = "/proc/thread-self/ns/net"

// No thread stays in a namespace that something was done in.
func TestIn(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	here, err := os.Readlink(own)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		there := ""
		failed := errors.New("failed")
		if err := In(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
			if there, err = os.Readlink(own); err != nil {
				return err
			}
			return failed
		}); err != failed || there == here {
			t.Fatalf("in %s: %v", there, err)
		}
		threads, err := filepath.Glob("/proc/self/task/*/ns/net")
		if err != nil || len(threads) == 0 {
			t.Fatal(threads, err)
		}
		for _, thread := range threads {
			if is, err := os.Readlink(thread); is == there {
				t.Errorf("%s is still %s (%v)", thread, is, err)
			}
		}
	}
	if err := In(func() error { return unix.EPERM }, func() error { t.Error("it is done"); return nil }); !errors.Is(err, unix.EPERM) {
		t.Error(err)
	}
}
