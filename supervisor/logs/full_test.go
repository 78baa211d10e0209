package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"berth/units"
)

func TestPlanDrop(t *testing.T) {
	var b batch
	in := input{data: []byte("rest\none\ntwo\nhalf"), limit: fileLineMax, rate: rate{lines: 1, per: time.Second}, now: 1, force: true, drop: true}
	b.plan(state{cont: [2]uint8{contOpen | 6}}, in)
	want := state{src: 17, dropped: 4, full: 1, cont: [2]uint8{contOpen | contDrop | 6}}
	if b.n != 0 || b.states[0] != want {
		t.Errorf("%d messages, and then %+v, want %+v", b.n, b.states[0], want)
	}
	// The next line that has room is behind the number of those that had none, be
	// the period over or not.
	in = input{data: []byte(" of it\nthree\n"), limit: fileLineMax, rate: in.rate, now: 2}
	b.plan(state{dropped: 4, full: 1, window: 1, cont: want.cont}, in)
	if b.n != 2 || !b.msgs[0].full || b.msgs[0].dropped != 4 || b.states[2].dropped != 0 || b.states[2].full != 0 {
		t.Errorf("%+v, and then %+v", b.msgs[:b.n], b.states[b.n])
	}
}

// A service whose log has no room writes on, and its log tells afterwards what
// is missing.
func TestDiskFullLasts(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	m := newManager(t, dir)
	m.log = zap.NewNop()
	s, w := newStreams(t, m, "web", units.Log{Target: "file", MaxSize: 1 << 30})
	write(t, w.Stdout, "first\n")
	eventually(t, "the first line is there", func() bool { return len(fileLines(t, dir, "web")) == 1 })
	ballast := filepath.Join(dir, "ballast")
	_ = os.WriteFile(ballast, make([]byte, 1<<20), 0o600) // as much of it as there is room for
	const many = 20000                                    // lines, of 100 bytes: more than the file and the pipe take
	written := make(chan struct{})
	go func() {
		defer close(written)
		for n := range many {
			if _, err := fmt.Fprintf(w.Stdout, "%094d line\n", n); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	select {
	case <-written:
	case <-time.After(time.Minute):
		t.Fatal("the service hangs in its log")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	write(t, w.Stdout, "last\n")
	finish(t, s)
	next, dropped := 0, 0
	lines := fileLines(t, dir, "web")
	for _, line := range lines[1 : len(lines)-1] {
		text, n := line[strings.Index(line, " F ")+3:], 0
		if _, err := fmt.Sscanf(text, "<4>%d lines dropped: the disk was full", &n); err == nil {
			next, dropped = next+n, dropped+n
			continue
		}
		if want := fmt.Sprintf("%094d line", next); text != want {
			t.Fatalf("%q is where %d should be, with %d dropped", text, next, dropped)
		}
		next++
	}
	if next != many || dropped == 0 || lines[0] != "stdout F first" || lines[len(lines)-1] != "stdout F last" {
		t.Errorf("%d of %d lines, %d of them dropped; the last is %q", next, many, dropped, lines[len(lines)-1])
	}
}
