package reaper

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestEachDescriptorFails lets the reaper open n descriptors more and no other,
// for every n up to more than it needs, so that each open, accept, pipe, socket,
// eventfd and memfd that it makes, and each descriptor that it is sent, is the
// first to fail once. Meanwhile supervisor and launcher die, processes end, and
// the reaper is told to execute itself anew. It goes on, and when there is room
// again, nothing was lost.
func TestEachDescriptorFails(t *testing.T) {
	w := newWorld(t)
	long := w.must(order{Do: "spawn", ID: 1 << 40, Script: "exec sleep 1000"}).PID
	w.must(order{Do: "store", Name: "kept", Data: "a\nb"})
	pid := w.cmd.Process.Pid
	for round := range 2 * 24 {
		n, anew := round/2, round%2 == 1
		id := uint64(round)*10 + 1
		mortal := w.must(order{Do: "spawn", ID: id, Script: "exec sleep 1000"}).PID
		w.limit(n)
		seen := len(w.log())
		w.tell(order{Do: "store", Name: "new", Data: "x\ny\nz"}) // refused, or not
		w.tell(order{Do: "spawn", ID: id + 1, Script: "exit 4"}) // as above
		if anew {
			w.tell(order{Do: "reexec"})
		} else {
			unix.Kill(w.now.hello.PID, unix.SIGKILL)
		}
		if launcher := w.launcherPID(); launcher != 0 {
			unix.Kill(launcher, unix.SIGKILL)
		}
		unix.Kill(mortal, unix.SIGKILL)
		// Something comes of it: another supervisor, or word that there can be none.
		for end := time.Now().Add(deadline); len(w.supervisors) == 0 && !strings.Contains(w.log()[seen:], "next try in"); {
			if w.cmd.ProcessState != nil || state(pid) == 'Z' || state(pid) == 0 {
				t.Fatalf("with %d descriptors: the reaper has ended", n)
			}
			if anew {
				// A re-execution that is refused leaves everything as it was.
				if _, ok := w.tell(order{Do: "stats"}); ok {
					break
				}
			}
			if time.Now().After(end) {
				t.Fatalf("with %d descriptors: nothing happens", n)
			}
		}
		w.limit(-1)
		if anew {
			if _, ok := w.tell(order{Do: "die"}); ok {
				t.Fatal("it does not die")
			}
		}
		h, exits := w.answering()
		if h.Registered[1<<40] != long || !h.Alive[1<<40] || !slices.Equal(h.Stored["kept"], []string{"a", "b"}) {
			t.Fatalf("with %d descriptors: handed over %+v", n, h)
		}
		for !slices.ContainsFunc(exits, func(x Exit) bool { return x.ID == id }) {
			r := w.event()
			if r.Exit != nil {
				exits = append(exits, *r.Exit)
			}
		}
		for _, x := range exits {
			if x.ID == id && (x.PID != mortal || x.Signal != syscall.SIGKILL) || x.ID == id+1 && x.Code != 4 {
				t.Errorf("with %d descriptors: %+v", n, x)
			}
			w.must(order{Do: "ack", ID: x.Seq})
		}
		for _, id := range h.Intents {
			w.must(order{Do: "abandon", ID: id})
		}
	}
	w.until("nothing is left", func(s Stats) bool { return s.Registered <= 2 && s.Intents == 0 && s.Held == 0 })
}

// TestNoProcesses takes away every process and thread that the reaper could make:
// its group may have no more, as when a fork bomb has filled the machine.
func TestNoProcesses(t *testing.T) {
	root := "/sys/fs/cgroup/pids"
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	group := filepath.Join(root, "reaper-test-"+strconv.Itoa(os.Getpid()))
	w := newWorld(t) // first, so that it ends before the group does
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skip("there are no control groups to make: ", err)
	}
	t.Cleanup(func() {
		w.cmd.Process.Kill()
		w.cmd.Wait()
		endChildren(t)
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(group, file), []byte(text), 0o644); err != nil {
			if os.IsNotExist(err) {
				t.Skip("there is no pids controller here")
			}
			t.Fatal(err)
		}
	}
	pid := w.cmd.Process.Pid
	running := w.must(order{Do: "spawn", ID: 1, Script: "exec sleep 1000"}).PID
	mortal := w.must(order{Do: "spawn", ID: 2, Script: "exec sleep 1000"}).PID
	write("pids.max", "max")
	write("cgroup.procs", fmt.Sprint(pid))
	for range 5 {
		write("pids.max", "1") // it has more threads than that already
		threads := countThreads(t, pid)
		seen := len(w.log())
		unix.Kill(w.now.hello.PID, unix.SIGKILL)
		for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGUSR1, unix.SIGWINCH} {
			unix.Kill(pid, s)
		}
		unix.Kill(mortal, unix.SIGKILL)
		for end := time.Now().Add(deadline); strings.Count(w.log()[seen:], "next try in") < 5; {
			if state(pid) == 'Z' || state(pid) == 0 {
				t.Fatalf("the reaper has ended:\n%s", w.log()[seen:])
			}
			if time.Now().After(end) {
				t.Fatal("nothing happens")
			}
		}
		if now := countThreads(t, pid); now > threads {
			t.Errorf("%d threads, %d before", now, threads)
		}
		write("pids.max", "max")
		h, _ := w.answering()
		if h.Registered[1] != running || !h.Alive[1] {
			t.Fatalf("handed over: %+v", h)
		}
	}
}

func countThreads(t *testing.T, pid int) int {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(tasks)
}

// What the runtime makes on first use is there from the beginning.
func TestThreadsAreThereFromTheBeginning(t *testing.T) {
	w := newWorld(t)
	if got := countThreads(t, w.cmd.Process.Pid); got < warmThreads {
		t.Errorf("%d threads, want %d at least", got, warmThreads)
	}
}

// An end that the reaper cannot look for, behind one that is kept, is noticed
// once it can.
func TestExitIsNoticedLater(t *testing.T) {
	w := newWorld(t)
	w.must(order{Do: "spawn", ID: 1, Script: "exit 1"})
	w.exit()
	pid := w.must(order{Do: "spawn", ID: 2, Script: "exec sleep 1000"}).PID
	w.limit(0)
	unix.Kill(pid, unix.SIGKILL)
	for end := time.Now().Add(deadline); state(pid) != 'Z'; {
		if time.Now().After(end) {
			t.Fatalf("process %d is in state %q", pid, state(pid))
		}
	}
	for range 10 {
		if s := w.stats(); s.Unacknowledged != 1 {
			t.Fatalf("got %+v: it could look", s)
		}
	}
	w.limit(-1)
	if x := w.exit(); x.ID != 2 || x.Signal != syscall.SIGKILL {
		t.Errorf("got %+v", x)
	}
}
