package config

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

const deadline = 10 * time.Second

// heard waits for one telling.
func heard(t *testing.T, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case _, ok := <-ch:
		if !ok {
			t.Fatalf("%s: the channel was closed", what)
		}
	case <-time.After(deadline):
		t.Fatalf("%s: not noticed in %s", what, deadline)
	}
}

// silent wants nothing told for several settle times.
func silent(t *testing.T, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ch:
		t.Fatalf("%s: told, though nothing that matters changed", what)
	case <-time.After(4 * testSettle):
	}
}

const testSettle = 20 * time.Millisecond

func watch(t *testing.T, dirs ...string) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ch, err := Watch(ctx, WatchOptions{Dirs: dirs, Settle: testSettle, Log: t.Logf})
	must(t, err)
	t.Cleanup(func() {
		cancel()
		for range ch { // closed when all is released
		}
	})
	return ch
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchFiles(t *testing.T) {
	top := realTemp(t)
	units := filepath.Join(top, "units")
	web := filepath.Join(units, "web.toml")
	write(t, web, "a")
	ch := watch(t, units)

	steps := []struct {
		what string
		do   func() error
	}{
		{"write in place", func() error { return os.WriteFile(web, []byte("b"), 0o644) }},
		{"rename over it, as editors do", func() error {
			tmp := filepath.Join(units, "4913")
			if err := os.WriteFile(tmp, []byte("c"), 0o644); err != nil {
				return err
			}
			return os.Rename(tmp, web)
		}},
		{"move away and write anew, as editors with backups do", func() error {
			if err := os.Rename(web, web+"~"); err != nil {
				return err
			}
			return os.WriteFile(web, []byte("d"), 0o644)
		}},
		{"mode", func() error { return os.Chmod(web, 0o600) }},
		{"drop-in directory", func() error { return os.Mkdir(web+".d", 0o755) }},
		{"drop-in", func() error { return os.WriteFile(filepath.Join(web+".d", "10-x.toml"), nil, 0o644) }},
		{"drop-in again", func() error { return os.WriteFile(filepath.Join(web+".d", "10-x.toml"), []byte("x"), 0o644) }},
		{"drop-in directory removed", func() error { return os.RemoveAll(web + ".d") }},
		{"mask", func() error { return os.Symlink("/dev/null", filepath.Join(units, "db.toml")) }},
		{"remove", func() error { return os.Remove(web) }},
	}
	for _, s := range steps {
		must(t, s.do())
		heard(t, ch, s.what)
	}
}

func TestWatchIgnoresWhatIsNotRead(t *testing.T) {
	top := realTemp(t)
	units := filepath.Join(top, "units")
	write(t, filepath.Join(units, "web.toml"), "a")
	ch := watch(t, units)
	for _, name := range []string{".#web.toml", ".web.toml.swp", "web.toml~", "#web.toml#", "4913", "README"} {
		write(t, filepath.Join(units, name), "x")
	}
	write(t, filepath.Join(top, "beside.toml"), "x")
	silent(t, ch, "editors' files")
}

func TestWatchDirectories(t *testing.T) {
	top := realTemp(t)
	units := filepath.Join(top, "etc", "berth", "units")
	ch := watch(t, units)

	must(t, os.MkdirAll(filepath.Join(top, "etc"), 0o755))
	heard(t, ch, "a parent appears")
	write(t, filepath.Join(units, "web.toml"), "a")
	heard(t, ch, "the directory appears with a file in it")

	// The directory itself, then its parent, are replaced by another one.
	for _, dir := range []string{units, filepath.Dir(units)} {
		must(t, os.Rename(dir, dir+".old"))
		must(t, os.MkdirAll(units, 0o755))
		heard(t, ch, "replace "+dir)
		drain(ch)
		write(t, filepath.Join(units, "web.toml"), "b")
		heard(t, ch, "write after the replacing of "+dir)
		drain(ch)
	}
	must(t, os.RemoveAll(filepath.Join(top, "etc")))
	heard(t, ch, "remove everything")
	drain(ch)
	write(t, filepath.Join(units, "web.toml"), "c")
	heard(t, ch, "make everything again")
}

// drain takes what is left of a change that was told in more than one piece.
func drain(ch <-chan struct{}) {
	for {
		select {
		case <-ch:
		case <-time.After(4 * testSettle):
			return
		}
	}
}

func TestWatchLinks(t *testing.T) {
	top := realTemp(t)
	for _, g := range []string{"gen1", "gen2", "gen3"} {
		write(t, filepath.Join(top, "store", g, "web.toml"), g)
	}
	link := func(target, name string) {
		t.Helper()
		tmp := filepath.Join(top, "tmp-link")
		must(t, os.Symlink(target, tmp))
		must(t, os.Rename(tmp, filepath.Join(top, name)))
	}
	link("store/gen1", "current")
	link("current", "units")
	ch := watch(t, filepath.Join(top, "units"))

	link("store/gen2", "current")
	heard(t, ch, "a link on the way is swapped")
	link("store/gen3", "units")
	heard(t, ch, "the search directory, a link itself, is swapped")
	write(t, filepath.Join(top, "store/gen3/web.toml"), "new")
	heard(t, ch, "write behind the links")
	write(t, filepath.Join(top, "store/gen1/web.toml"), "old")
	silent(t, ch, "write in a generation that is no more linked")

	// A unit file that is a link through a hidden link: a ConfigMap's way.
	write(t, filepath.Join(top, "data1/db.toml"), "1")
	write(t, filepath.Join(top, "data2/db.toml"), "2")
	must(t, os.Symlink("../../data1", filepath.Join(top, "store/gen3/..data")))
	must(t, os.Symlink("..data/db.toml", filepath.Join(top, "store/gen3/db.toml")))
	heard(t, ch, "linked file appears")
	drain(ch)
	link("../../data2", "store/gen3/..data")
	heard(t, ch, "hidden link swapped")
	drain(ch)
	write(t, filepath.Join(top, "data2/db.toml"), "3")
	heard(t, ch, "write to the linked file")
}

func TestWatchTellsDuringAStream(t *testing.T) {
	units := realTemp(t)
	ctx, cancel := context.WithCancel(context.Background())
	// Long enough that a busy machine makes no pause of it.
	ch, err := Watch(ctx, WatchOptions{Dirs: []string{units}, Settle: 200 * time.Millisecond})
	must(t, err)
	defer func() {
		cancel()
		for range ch {
		}
	}()
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				os.WriteFile(filepath.Join(units, "web.toml"), []byte(fmt.Sprint(n)), 0o644)
			}
		}
	})
	heard(t, ch, "changes without a pause")
	close(stop)
	writer.Wait()
}

// TestWatchOverflow: when the kernel's queue was full (inotify(7), IN_Q_OVERFLOW)
// nobody knows what has changed, so everything may have.
func TestWatchOverflow(t *testing.T) {
	units := realTemp(t)
	w := &watcher{
		WatchOptions: WatchOptions{Dirs: []string{units}, Settle: testSettle, Poll: defaultPoll, Log: t.Logf},
		out:          make(chan struct{}, 1), what: "the unit directories", look: survey, print: fingerprint,
	}
	w.arm()
	kernel := w.notify
	ctx, cancel := context.WithCancel(context.Background())
	go w.run(ctx)
	defer func() {
		cancel()
		for range w.out {
		}
	}()
	kernel.Errors <- fsnotify.ErrEventOverflow
	heard(t, w.out, "overflow")
	write(t, filepath.Join(units, "web.toml"), "x")
	heard(t, w.out, "change after the overflow")
}

func TestWatchLeavesNothing(t *testing.T) {
	units := realTemp(t)
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	routines, fds := runtime.NumGoroutine(), descriptors()
	for range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		ch, err := Watch(ctx, WatchOptions{Dirs: []string{units}, Settle: testSettle})
		must(t, err)
		write(t, filepath.Join(units, "web.toml"), "x")
		heard(t, ch, "write")
		cancel()
		for range ch {
		}
	}
	end := time.Now().Add(deadline)
	for runtime.NumGoroutine() > routines || descriptors() > fds {
		if time.Now().After(end) {
			t.Fatalf("left: %d goroutines and %d descriptors more than before", runtime.NumGoroutine()-routines, descriptors()-fds)
		}
		runtime.Gosched()
	}
}

// TestWatchPolls runs itself in a user namespace that may have no inotify
// instance (user_namespaces(7), /proc/sys/user/max_inotify_instances).
func TestWatchPolls(t *testing.T) {
	if os.Getenv("BERTH_TEST_POLL") != "" {
		pollInside(t)
		return
	}
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root, to make a user namespace with limits of its own")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestWatchPolls$", "-test.v")
	cmd.Env = append(os.Environ(), "BERTH_TEST_POLL=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestWatchPolls") {
		t.Fatalf("in a user namespace: %v\n%s", err, out)
	}
}

func pollInside(t *testing.T) {
	must(t, os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("0"), 0))
	units := realTemp(t)
	messages := make(chan string, 10)
	ctx, cancel := context.WithCancel(context.Background())
	ch, err := Watch(ctx, WatchOptions{Dirs: []string{filepath.Join(units, "x")}, Settle: testSettle, Poll: testSettle,
		Log: func(format string, args ...any) { messages <- fmt.Sprintf(format, args...) }})
	must(t, err)
	defer func() {
		cancel()
		for range ch {
		}
	}()
	if m := <-messages; !strings.Contains(m, "looking every") {
		t.Errorf("logged %q", m)
	}
	write(t, filepath.Join(units, "x", "web.toml"), "a")
	heard(t, ch, "a new directory with a file, by polling")
	drain(ch)
	write(t, filepath.Join(units, "x", "web.toml.d", "1.toml"), "b")
	heard(t, ch, "a drop-in, by polling")
	drain(ch)

	must(t, os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("10"), 0))
	select {
	case m := <-messages:
		if !strings.Contains(m, "available again") {
			t.Errorf("logged %q", m)
		}
	case <-time.After(deadline):
		t.Fatal("does not go back to inotify")
	}
	write(t, filepath.Join(units, "x", "web.toml"), "c")
	heard(t, ch, "a write, by inotify again")
}

// realTemp is a temporary directory whose path has no link in it.
func realTemp(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	return dir
}
