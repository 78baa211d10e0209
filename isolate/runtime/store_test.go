package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func testStore(t *testing.T) *store {
	t.Helper()
	s, err := openStore(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCheckID(t *testing.T) {
	for _, id := range []string{"a", "web-1", "a.b_c+d", "0", ".hidden", strings.Repeat("x", 255)} {
		if err := CheckID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", ".", "..", "a/b", "../x", "a b", "a\x00", "ä", "a~", "a\n", strings.Repeat("x", 256)} {
		if CheckID(id) == nil {
			t.Errorf("%q passes", id)
		}
	}
}

func TestRootOfOthersIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(dir); err == nil || !strings.Contains(err.Error(), "others can write to it") {
		t.Fatal(err)
	}
}

// One of many that claim the same name at once gets it.
func TestClaimIsExclusive(t *testing.T) {
	s := testStore(t)
	for range 50 {
		var won atomic.Int32
		var holder atomic.Pointer[locked]
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				l, err := s.claim("c")
				switch {
				case err == nil:
					won.Add(1)
					holder.Store(l)
					if err := l.write(&Record{ID: "c"}); err != nil {
						t.Error(err)
					}
				case err != ErrExist:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d have it", won.Load())
		}
		l := holder.Load()
		if err := l.remove(); err != nil {
			t.Fatal(err)
		}
		l.unlock()
	}
}

// Whoever waits for the lock of a container that is deleted meanwhile finds none.
func TestLockOfDeleted(t *testing.T) {
	s := testStore(t)
	l, err := s.claim("c")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() {
		other, err := s.lock("c", time.Minute)
		if err == nil {
			other.unlock()
		}
		got <- err
	}()
	if _, err := s.lock("c", 10*time.Millisecond); !errors.Is(err, errBusy) {
		t.Fatal(err)
	}
	if err := l.remove(); err != nil {
		t.Fatal(err)
	}
	l.unlock()
	if err := <-got; err != ErrNotExist {
		t.Fatal(err)
	}
}

// What a creation left that was killed before its first record is no container
// and does not keep the name.
func TestClaimTakesOver(t *testing.T) {
	s := testStore(t)
	l, err := s.claim("c")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{stateFile + ".new", gateFIFO} {
		if err := os.WriteFile(l.file(name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.unlock() // as the kernel does for a process that is killed
	if _, err := s.read("c"); err != ErrNotExist {
		t.Fatal(err)
	}
	if l, err = s.claim("c"); err != nil {
		t.Fatal(err)
	}
	defer l.unlock()
	if names, _ := filepath.Glob(l.file("*")); len(names) != 0 {
		t.Fatal(names)
	}
}

// A reader sees a whole record, whenever it looks.
func TestRecordIsReplacedWhole(t *testing.T) {
	s := testStore(t)
	l, err := s.claim("c")
	if err != nil {
		t.Fatal(err)
	}
	defer l.unlock()
	long := strings.Repeat("x", 1<<16)
	if err := l.write(&Record{ID: "c", Bundle: "0"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 500 {
			if err := l.write(&Record{ID: "c", Bundle: long[:i*100]}); err != nil {
				t.Error(err)
			}
		}
	}()
	for {
		if _, err := s.read("c"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestRecordIsChecked(t *testing.T) {
	s := testStore(t)
	l, err := s.claim("c")
	if err != nil {
		t.Fatal(err)
	}
	defer l.unlock()
	for _, text := range []string{"", "{", `{"id":"d"}`, `[]`} {
		if err := os.WriteFile(l.file(stateFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.read("c"); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	if err := os.Remove(l.file(stateFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", l.file(stateFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.read("c"); err == nil || err == ErrNotExist {
		t.Errorf("a link: %v", err)
	}
}
