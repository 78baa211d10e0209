package reaper

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKilledAtRandom kills supervisor and launcher at random moments, also in
// the middle of a start, and re-executes the reaper, while processes start and
// end. Whatever happens: a process runs only if it was registered, each
// registered one is told as ended, with one Seq and its own status, long-running
// ones are not disturbed, and nothing is left.
func TestKilledAtRandom(t *testing.T) {
	const starts = 300
	w := newWorld(t)
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	ranDir := t.TempDir()

	long := w.must(order{Do: "spawn", ID: 1 << 40, Script: "exec sleep 1000"}).PID
	w.must(order{Do: "store", Name: "kept", Data: "a\nb"})
	for w.fdsSettled() != nil {
	}
	fds := w.fds()

	seen := map[uint64]Exit{} // by seq
	byID := map[uint64]Exit{}
	registered := map[uint64]bool{}
	note := func(x Exit) {
		registered[x.ID] = true
		if old, ok := seen[x.Seq]; ok {
			if old.ID != x.ID || old.Code != x.Code || old.PID != x.PID {
				t.Errorf("seq %d told as %+v and as %+v", x.Seq, old, x)
			}
			return
		}
		if old, ok := byID[x.ID]; ok {
			t.Errorf("start %d ended twice: %+v and %+v", x.ID, old, x)
		}
		seen[x.Seq], byID[x.ID] = x, x
	}
	// A new supervisor: what it is told, it acknowledges, or dies before.
	var arrive func()
	died := 0
	arrive = func() {
		h := w.next()
		died++
		for id := range h.Registered {
			registered[id] = true
		}
		if h.Registered[1<<40] != long || !h.Alive[1<<40] || !slices.Equal(h.Stored["kept"], []string{"a", "b"}) {
			t.Fatalf("handed over: %+v", h)
		}
		for _, x := range h.Exits {
			note(x)
			if _, ok := w.tell(order{Do: "ack", ID: x.Seq}); !ok {
				arrive()
				return
			}
		}
		for _, id := range h.Intents {
			if _, ok := w.tell(order{Do: "abandon", ID: id}); !ok {
				arrive()
				return
			}
		}
	}
	// take acknowledges what was told meanwhile.
	take := func() {
		for {
			select {
			case r, ok := <-w.now.events:
				if !ok {
					return
				}
				if r.Exit != nil {
					note(*r.Exit)
					if rng.IntN(4) > 0 { // else it is told again after the next death
						w.tell(order{Do: "ack", ID: r.Exit.Seq})
					}
				}
			default:
				return
			}
		}
	}

	for id := uint64(1); id <= starts; id++ {
		switch victim := w.now.hello.PID; rng.IntN(6) {
		case 0: // the supervisor, somewhere in what follows
			time.AfterFunc(time.Duration(rng.IntN(4000))*time.Microsecond, func() { unix.Kill(victim, unix.SIGKILL) })
		case 1:
			if launcher := w.launcherPID(); launcher != 0 {
				time.AfterFunc(time.Duration(rng.IntN(2000))*time.Microsecond, func() { unix.Kill(launcher, unix.SIGKILL) })
			}
		case 2:
			if rng.IntN(4) == 0 {
				w.tell(order{Do: "reexec"})
				arrive()
			}
		}
		script := fmt.Sprintf("echo >%s/%d; exit %d", ranDir, id, id%64)
		r, ok := w.tell(order{Do: "spawn", ID: id, Script: script})
		if !ok {
			arrive()
		} else if r.Err == "" {
			registered[id] = true
		}
		take()
	}
	// All that is registered ends by itself: acknowledge until only the long one is left.
	for end := time.Now().Add(deadline); ; {
		take()
		r, ok := w.tell(order{Do: "stats"})
		if !ok {
			arrive()
			continue
		}
		if r.Stats.Registered == 1 && r.Stats.Held == 0 {
			break
		}
		if r.Stats.Registered-1 == r.Stats.Unacknowledged && len(w.now.events) == 0 {
			unix.Kill(w.now.hello.PID, unix.SIGKILL) // to be told again what was not acknowledged
			arrive()
		}
		if time.Now().After(end) {
			t.Fatalf("still %+v", r.Stats)
		}
	}
	for id := range registered {
		if id == 1<<40 {
			continue
		}
		x, ok := byID[id]
		if !ok {
			t.Errorf("start %d was registered and is never told as ended", id)
		} else if x.Code != int(id%64) && x.Code != 77 {
			t.Errorf("start %d: %+v", id, x)
		}
		_, err := os.Stat(filepath.Join(ranDir, fmt.Sprint(id)))
		if ran := err == nil; ok && ran != (x.Code != 77) {
			t.Errorf("start %d: ran %v, %+v", id, ran, x)
		}
	}
	ran, _ := os.ReadDir(ranDir)
	for _, entry := range ran {
		var id uint64
		fmt.Sscan(entry.Name(), &id)
		if !registered[id] {
			t.Errorf("start %d ran and was never registered", id)
		}
	}
	t.Logf("%d starts, %d ran, %d supervisors died", starts, len(ran), died)
	for end := time.Now().Add(deadline); ; {
		err := w.fdsSettled()
		if err == nil && w.fds() <= fds {
			break
		}
		if time.Now().After(end) {
			t.Errorf("%d descriptors, %d before; %v", w.fds(), fds, err)
			break
		}
	}
	if state(long) != 'S' {
		t.Errorf("the long-running process is in state %q", state(long))
	}
}

// fdsSettled tells whether the reaper has nothing under way.
func (w *world) fdsSettled() error {
	var left []string
	for _, pid := range w.zombies() {
		left = append(left, fmt.Sprint(pid))
	}
	if len(left) > 0 || w.launcherPID() == 0 {
		return fmt.Errorf("zombies %s, launcher %d", strings.Join(left, " "), w.launcherPID())
	}
	return nil
}
