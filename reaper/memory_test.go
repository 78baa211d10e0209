package reaper

import (
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// own gives how many KB of memory are the reaper's alone and dirty, from
// proc_pid_smaps_rollup(5).
func (w *world) own() int {
	w.t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(w.cmd.Process.Pid) + "/smaps_rollup")
	if err != nil {
		w.t.Fatal(err)
	}
	found := regexp.MustCompile(`Private_Dirty:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		w.t.Fatalf("no such line in:\n%s", text)
	}
	n, _ := strconv.Atoi(string(found[1]))
	return n
}

// TestMemoryStaysBounded does to the reaper what makes it keep much, and what a
// broken supervisor may do to it, and looks at its memory afterwards.
func TestMemoryStaysBounded(t *testing.T) {
	t.Setenv(trimVariable, "1")
	w := newWorld(t)
	allowed := 3 << 10 // KB more than before
	if raceDetector {
		allowed *= 8 // it keeps a shadow of everything
	}
	before := w.own()
	settle := func(what string) {
		t.Helper()
		now := 0
		for end := time.Now().Add(deadline); ; {
			if now = w.own(); now <= before+allowed {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("after %s: %d KB, before %d KB", what, now, before)
			}
		}
		t.Logf("after %s: %d KB, before %d KB", what, now, before)
	}

	const zombies = 5000
	w.must(order{Do: "begin", ID: 1})
	orphans := w.stats().Orphans
	w.must(order{Do: "orphans", Number: zombies})
	w.until("all are held", func(s Stats) bool { return s.Held >= zombies })
	t.Logf("with %d zombies: %d KB", zombies, w.own())
	w.must(order{Do: "abandon", ID: 1})
	w.until("all are reaped", func(s Stats) bool { return s.Orphans >= orphans+zombies })
	settle("5000 zombies")

	// Each of these starts a supervisor, and ends it.
	for i := range 30 {
		w.tell(order{Do: "garbage", Number: i})
		w.next()
	}
	settle("30 supervisors that sent garbage")

	w.must(order{Do: "deaf"})
	for range 20 { // it goes on doing its work meanwhile
		old := w.launcher(0)
		unix.Kill(old, unix.SIGKILL)
		w.launcher(old)
		unix.Kill(w.cmd.Process.Pid, unix.SIGHUP)
	}
	t.Logf("under a supervisor that does not read: %d KB", w.own())
	w.crash()
	settle("a supervisor that asks and does not read")

	for id := range uint64(3000) {
		if r, ok := w.tell(order{Do: "begin", ID: id + 100}); !ok || r.Err != "" {
			t.Fatalf("got %+v", r)
		}
	}
	for range 50 {
		w.crash()
	}
	if h := w.crash(); len(h.Intents) != 3000 {
		t.Errorf("%d intents are handed over", len(h.Intents))
	}
	settle("3000 starts that nobody settled, and 51 supervisors")
}
