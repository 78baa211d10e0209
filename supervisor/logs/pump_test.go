package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"berth/units"
)

func TestFileLines(t *testing.T) {
	dir := t.TempDir()
	m := newManager(t, dir)
	s, w := newStreams(t, m, "web", units.Log{Target: "file", MaxSize: 1 << 20, Keep: 3})
	long := strings.Repeat("é", 20<<10/2) + "!"
	write(t, w.Stdout, "one\n\n<3>three\n"+long+"\nbin\x00\xff\x01ary\r\nlast without newline")
	_ = w.Stdout.Close()
	finish(t, s)
	cut := fileLineMax
	want := []string{
		"stdout F one", "stdout F ", "stdout F <3>three",
		"stdout P " + long[:cut], "stdout F " + long[cut:],
		"stdout F bin\x00\xff\x01ary\r", "stdout F last without newline",
	}
	if diff := cmp.Diff(want, fileLines(t, dir, "web")); diff != "" {
		t.Error(diff)
	}
}

// After a reset of the machine a file may end anywhere.
func TestTornLine(t *testing.T) {
	for _, torn := range []string{"", "2", "2026-01-01T00:00:00.000000000Z stdout F tor", strings.Repeat("x", 20)} {
		dir := t.TempDir()
		const whole = "2026-01-01T00:00:00.000000000Z stdout F whole\n"
		if err := os.Mkdir(filepath.Join(dir, "web"), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "web", currentLog), []byte(whole+torn), 0o640); err != nil {
			t.Fatal(err)
		}
		m := newManager(t, dir)
		s, w := newStreams(t, m, "web", units.Log{Target: "file"})
		write(t, w.Stdout, "next\n")
		finish(t, s)
		if diff := cmp.Diff([]string{"stdout F whole", "stdout F next"}, fileLines(t, dir, "web")); diff != "" {
			t.Errorf("after %q: %s", torn, diff)
		}
	}
}

func TestRate(t *testing.T) {
	dir := t.TempDir()
	m := newManager(t, dir)
	s, w := newStreams(t, m, "web", units.Log{Target: "file", Rate: units.Rate{Lines: 3, Per: units.Duration(200 * time.Millisecond)}})
	write(t, w.Stdout, strings.Repeat("line\n", 100))
	notice := "stderr F <4>97 lines dropped: more than 3 in 200ms (log.rate)"
	want := []string{"stdout F line", "stdout F line", "stdout F line", notice}
	eventually(t, "the notice comes by itself", func() bool { return len(fileLines(t, dir, "web")) == 4 })
	write(t, w.Stdout, "one\ntwo\nthree\nfour\n")
	finish(t, s) // tells about the fourth at once
	want = append(want, "stdout F one", "stdout F two", "stdout F three", strings.Replace(notice, "97", "1", 1))
	if diff := cmp.Diff(want, fileLines(t, dir, "web")); diff != "" {
		t.Error(diff)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	m := newManager(t, dir)
	s, w := newStreams(t, m, "web", units.Log{Target: "file", MaxSize: 8 << 10, Keep: 3})
	var want []string
	for i := range 1000 {
		line := fmt.Sprintf("line %d %s", i, strings.Repeat("x", 100))
		write(t, w.Stdout, line+"\n")
		want = append(want, "stdout F "+line)
	}
	finish(t, s)
	names, err := os.ReadDir(filepath.Join(dir, "web"))
	if err != nil || len(names) != 4 {
		t.Fatalf("files: %v, %v", names, err)
	}
	for _, n := range names {
		info, err := n.Info()
		if err != nil || info.Size() > 16<<10 || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: %d bytes, %v, %v", n.Name(), info.Size(), info.Mode(), err)
		}
	}
	got := fileLines(t, dir, "web")
	if diff := cmp.Diff(want[len(want)-len(got):], got); diff != "" {
		t.Error(diff)
	}
}

// TestRotateInterrupted: a rotation that was killed between two renames is done
// again without losing a file.
func TestRotateInterrupted(t *testing.T) {
	dir := t.TempDir()
	f := &logFile{base: dir, unit: "web", dir: -1, fd: -1}
	defer f.close()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, "web", name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.open(); err != nil {
		t.Fatal(err)
	}
	put("current.log", "new")
	put("current.log.2", "old") // was .1 a moment ago
	put("current.log.3", "oldest")
	if err := f.rotate(3); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"current.log.1": "new", "current.log.2": "old", "current.log.3": "oldest"} {
		if got, err := os.ReadFile(filepath.Join(dir, "web", name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if err := f.open(); err != nil {
		t.Fatal(err)
	}
	if err := f.rotate(1); err != nil { // fewer than before
		t.Fatal(err)
	}
	if names, _ := os.ReadDir(filepath.Join(dir, "web")); len(names) != 1 {
		t.Errorf("left: %v", names)
	}
}

// TestFinishLeaked: someone outside the unit's group still holds the pipe.
func TestFinishLeaked(t *testing.T) {
	dir := t.TempDir()
	m := newManager(t, dir)
	s, w := newStreams(t, m, "web", units.Log{Target: "file"})
	write(t, w.Stdout, "line\nrest")
	finish(t, s) // w is still open
	if diff := cmp.Diff([]string{"stdout F line", "stdout F rest"}, fileLines(t, dir, "web")); diff != "" {
		t.Error(diff)
	}
	s.Close()
	if _, err := w.Stdout.WriteString("late\n"); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("writing after the end: %v", err)
	}
	if _, err := s.Writers(); err == nil {
		t.Error("the ended log gives writers")
	}
}

// TestHangUp: between two programs of a unit nobody holds the pipe. What the
// first left without newline is a line, and the second's lines come too.
func TestHangUp(t *testing.T) {
	dir := t.TempDir()
	m := newManager(t, dir)
	s, w := newStreams(t, m, "web", units.Log{Target: "file"})
	write(t, w.Stdout, "pre-start")
	_ = w.Stdout.Close()
	eventually(t, "the rest is written", func() bool { return len(fileLines(t, dir, "web")) == 1 })
	again, err := s.Writers()
	if err != nil {
		t.Fatal(err)
	}
	defer again.Stdout.Close()
	defer again.Stderr.Close()
	write(t, again.Stdout, "main\n")
	finish(t, s)
	if diff := cmp.Diff([]string{"stdout F pre-start", "stdout F main"}, fileLines(t, dir, "web")); diff != "" {
		t.Error(diff)
	}
}

// TestTinyBuffers: a pipe whose buffers hold a byte each is full before a line
// is long. The line goes in parts.
func TestTinyBuffers(t *testing.T) {
	dir := t.TempDir()
	m := newManager(t, dir)
	s, w := newStreams(t, m, "web", units.Log{Target: "file"})
	if err := unix.SetNonblock(int(w.Stdout.Fd()), false); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(w.Stdout.Fd(), unix.F_SETFL, unix.O_WRONLY|unix.O_DIRECT); err != nil { // each write a buffer
		t.Fatal(err)
	}
	for i := range 1000 {
		write(t, w.Stdout, string(rune('a'+i%26)))
	}
	write(t, w.Stdout, "\n")
	finish(t, s)
	got := ""
	for _, line := range fileLines(t, dir, "web") {
		got += line[len("stdout F "):]
	}
	want := ""
	for i := range 1000 {
		want += string(rune('a' + i%26))
	}
	if got != want {
		t.Errorf("got %q", got)
	}
}

func TestDiskFull(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	m := newManager(t, dir)
	m.log = zap.NewNop()
	s, w := newStreams(t, m, "web", units.Log{Target: "file"})
	var want []string
	for i := range 1000 {
		line := fmt.Sprintf("line %d %s", i, strings.Repeat("x", 100))
		write(t, w.Stdout, line+"\n")
		want = append(want, "stdout F "+line)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := s.Finish(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Finish on a full disk: %v", err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=1M"); err != nil {
		t.Fatal(err)
	}
	finish(t, s)
	if diff := cmp.Diff(want, fileLines(t, dir, "web")); diff != "" {
		t.Error(diff)
	}
}

func TestConsole(t *testing.T) {
	r, c, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m, err := NewManager(Options{Dir: t.TempDir(), Console: c})
	if err != nil {
		t.Fatal(err)
	}
	s, w := newStreams(t, m, "web", units.Log{Target: "console"})
	write(t, w.Stdout, "<3>one\ntwo\n")
	finish(t, s)
	m.Close()
	_ = c.Close()
	if out, err := io.ReadAll(r); err != nil || string(out) != "web | one\nweb | two\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestNullAndUpdate(t *testing.T) {
	dir := t.TempDir()
	m := newManager(t, dir)
	s, w := newStreams(t, m, "web", units.Log{Target: "null"})
	write(t, w.Stdout, strings.Repeat("never seen\n", 100_000)+"begin of a line")
	eventually(t, "all is read", func() bool { n, err := pending(s.pipes[0].fd()); return err == nil && n == 0 })
	if err := s.Update(units.Log{Target: "file"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the target has changed", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.update == nil && !s.running
	})
	write(t, w.Stdout, "seen\n")
	finish(t, s)
	if diff := cmp.Diff([]string{"stdout F seen"}, fileLines(t, dir, "web")); diff != "" {
		t.Error(diff)
	}
}

// TestAdoptWrong: streams of something else are refused, and their descriptors closed.
func TestAdoptWrong(t *testing.T) {
	m := newManager(t, t.TempDir())
	s, _ := newStreams(t, m, "web", units.Log{Target: "null"})
	copies := func() (files []*os.File) {
		for _, f := range s.Descriptors()["log/7"] {
			d, err := dup(f)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, d)
		}
		return files
	}
	if _, err := m.Adopt("other", 7, copies()); err == nil || !strings.Contains(err.Error(), "unit web") {
		t.Errorf("another unit's streams: %v", err)
	}
	if _, err := m.Adopt("web", 7, copies()[:3]); err == nil {
		t.Error("too few descriptors were taken")
	}
	s.page.magic++
	if _, err := m.Adopt("web", 7, copies()); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("a damaged page: %v", err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestLeaks(t *testing.T) {
	dir := t.TempDir()
	round := func() {
		m, err := NewManager(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			s, err := m.NewStreams(fmt.Sprint("u", i), uint64(i), units.Log{Target: "file"})
			if err != nil {
				t.Fatal(err)
			}
			w, err := s.Writers()
			if err != nil {
				t.Fatal(err)
			}
			write(t, w.Stdout, "line\n")
			_ = w.Stdout.Close()
			_ = w.Stderr.Close()
			if i%2 == 0 {
				finish(t, s)
				s.Close()
			}
		}
		m.Close()
		m.mu.Lock()
		if len(m.streams) != 0 || len(m.files) != 0 {
			t.Errorf("left: %d streams, %d files", len(m.streams), len(m.files))
		}
		m.mu.Unlock()
	}
	round()
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	for range 3 {
		round()
	}
	if n := descriptors(t); n != fds {
		t.Errorf("%d descriptors, %d before", n, fds)
	}
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
}
