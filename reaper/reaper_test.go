package reaper

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestExitIsKeptUntilAcknowledged(t *testing.T) {
	w := newWorld(t)
	pid := w.must(order{Do: "spawn", ID: 7, Script: "exit 5"}).PID
	x := w.exit()
	if x.ID != 7 || x.PID != pid || x.Code != 5 || x.Signal != 0 || x.Seq == 0 || x.Rusage == nil || x.Rusage.Maxrss == 0 {
		t.Errorf("got %+v", x)
	}
	if state(pid) != 'Z' {
		t.Errorf("process is in state %q before the acknowledgement", state(pid))
	}
	h := w.crash()
	if len(h.Exits) != 1 || h.Exits[0].Seq != x.Seq || h.Exits[0].Code != 5 || h.Registered[7] != pid || h.Alive[7] {
		t.Errorf("a new supervisor is told %+v", h)
	}
	w.must(order{Do: "ack", ID: x.Seq})
	if s := w.stats(); s.Registered != 0 || s.Unacknowledged != 0 {
		t.Errorf("after the acknowledgement: %+v", s)
	}
	if state(pid) != 0 {
		t.Errorf("process is in state %q after the acknowledgement", state(pid))
	}
	w.must(order{Do: "ack", ID: x.Seq}) // again: no fault
	if h := w.crash(); len(h.Exits) != 0 || len(h.Registered) != 0 {
		t.Errorf("after the acknowledgement a new supervisor is told %+v", h)
	}
}

func TestExitBySignal(t *testing.T) {
	w := newWorld(t)
	w.must(order{Do: "spawn", ID: 1, Script: "kill -USR2 $$"})
	if x := w.exit(); x.Signal != syscall.SIGUSR2 || x.Code != 0 || x.Core {
		t.Errorf("got %+v", x)
	}
}

func TestRunningProcessIsHandedOver(t *testing.T) {
	w := newWorld(t)
	pid := w.must(order{Do: "spawn", ID: 3, Script: "exec sleep 1000"}).PID
	for i := range 5 {
		h := w.crash()
		if h.Registered[3] != pid || !h.Alive[3] || len(h.Exits) != 0 || h.Supervisors != i+2 || h.Orphans != 0 {
			t.Fatalf("handed over: %+v", h)
		}
	}
	unix.Kill(pid, unix.SIGKILL)
	if x := w.exit(); x.ID != 3 || x.Signal != syscall.SIGKILL {
		t.Errorf("got %+v", x)
	}
}

func TestRegisterRefuses(t *testing.T) {
	w := newWorld(t)
	w.must(order{Do: "begin", ID: 1})
	w.refused(order{Do: "begin", ID: 1}, syscall.EEXIST)
	pid := w.must(order{Do: "fork", ID: 1, Script: "exit 0"}).PID
	w.refused(order{Do: "register", ID: 1, Number: w.now.hello.PID}, syscall.EINVAL) // another process
	w.refused(order{Do: "register", ID: 1, Number: 1}, syscall.ECHILD)
	other := w.must(order{Do: "fork", ID: 5, Script: "exit 0"}).PID
	w.refused(order{Do: "register", ID: 1, Number: other}, syscall.EINVAL)
	w.must(order{Do: "register", ID: 1})
	w.refused(order{Do: "register", ID: 1}, syscall.EEXIST)
	w.refused(order{Do: "begin", ID: 1}, syscall.EEXIST)
	w.must(order{Do: "open", ID: 1})
	if x := w.exit(); x.PID != pid {
		t.Errorf("got %+v", x)
	}
	if s := w.stats(); s.Registered != 1 || s.Intents != 0 {
		t.Errorf("got %+v", s)
	}
	w.must(order{Do: "begin", ID: 2})
	w.refused(order{Do: "fork", ID: 2, Script: "fail"}, syscall.ENOTDIR)
}

func TestIntentHoldsUnknownZombies(t *testing.T) {
	w := newWorld(t)
	w.must(order{Do: "begin", ID: 1})
	w.must(order{Do: "begin", ID: 2})
	pid := w.must(order{Do: "fork", ID: 1, Script: "exit 4"}).PID
	w.must(order{Do: "shut", ID: 1}) // it ends before it is registered
	w.until("the process is held", func(s Stats) bool { return s.Held == 1 })
	w.must(order{Do: "begin", ID: 3}) // too late to hold it
	w.must(order{Do: "abandon", ID: 2})
	if s := w.stats(); s.Held != 1 || state(pid) != 'Z' {
		t.Errorf("the intent that it was born under is still open: %+v, state %q", s, state(pid))
	}
	w.must(order{Do: "register", ID: 1})
	if x := w.exit(); x.ID != 1 || x.PID != pid || x.Code != 77 {
		t.Errorf("got %+v", x)
	}
}

func TestAbandonedIntentsReleaseOrphans(t *testing.T) {
	w := newWorld(t)
	before := w.stats().Orphans
	w.must(order{Do: "begin", ID: 1})
	w.must(order{Do: "begin", ID: 2})
	pid := w.must(order{Do: "fork", ID: 1, Script: "exit 4"}).PID
	w.must(order{Do: "shut", ID: 1})
	w.until("the process is held", func(s Stats) bool { return s.Held == 1 })
	w.must(order{Do: "begin", ID: 3})
	w.must(order{Do: "abandon", ID: 1})
	if s := w.stats(); s.Held != 1 {
		t.Errorf("released while an intent is open: %+v", s)
	}
	w.must(order{Do: "abandon", ID: 2})
	if s := w.stats(); s.Held != 0 || s.Orphans != before+1 || s.Intents != 1 || state(pid) != 0 {
		t.Errorf("not released: %+v, state %q", s, state(pid))
	}
}

// A supervisor that dies before it has registered leaves a child that ends at
// its gate without having run anything, and an intent that is abandoned.
func TestSupervisorDiesBeforeRegister(t *testing.T) {
	w := newWorld(t)
	w.must(order{Do: "begin", ID: 9})
	w.must(order{Do: "begin", ID: 10})
	pid := w.must(order{Do: "fork", ID: 9, Script: "exit 0"}).PID
	h := w.crash()
	if !slices.Equal(h.Intents, []uint64{9, 10}) || len(h.Registered) != 0 {
		t.Errorf("handed over: %+v", h)
	}
	w.until("the child is reaped", func(s Stats) bool { return state(pid) == 0 })
	w.must(order{Do: "abandon", ID: 9})
	if h = w.crash(); !slices.Equal(h.Intents, []uint64{10}) {
		t.Errorf("intents handed over again: %v", h.Intents)
	}
}

func TestStoreIsHandedBack(t *testing.T) {
	w := newWorld(t)
	w.must(order{Do: "store", Name: "a", Data: "one\ntwo\nthree"})
	w.must(order{Do: "store", Name: "b", Data: "old"})
	w.must(order{Do: "store", Name: "b", Data: "new"})
	w.must(order{Do: "store", Name: "c", Data: "gone"})
	w.must(order{Do: "drop", Name: "c"})
	w.must(order{Do: "drop", Name: "never"})
	fds := w.fds()
	for range 10 {
		w.must(order{Do: "store", Name: "b", Data: "new"})
		w.must(order{Do: "store", Name: "c", Data: "gone"})
		w.must(order{Do: "drop", Name: "c"})
	}
	if now := w.fds(); now != fds {
		t.Errorf("%d descriptors, %d before", now, fds)
	}
	for range 3 {
		h := w.crash()
		if len(h.Stored) != 2 || !slices.Equal(h.Stored["a"], []string{"one", "two", "three"}) || !slices.Equal(h.Stored["b"], []string{"new"}) {
			t.Fatalf("handed back: %v", h.Stored)
		}
	}
	if s := w.stats(); s.Descriptors != 4 {
		t.Errorf("%d descriptors stored", s.Descriptors)
	}
}

func TestSignalsAreRelayed(t *testing.T) {
	w := newWorld(t)
	pid := w.cmd.Process.Pid
	for _, s := range relayed() {
		unix.Kill(pid, s.(syscall.Signal))
		if r := w.event(); r.Signal != int(s.(syscall.Signal)) {
			t.Errorf("signal %v came as %+v", s, r)
		}
	}
	// Without a supervisor it waits for the next.
	unix.Kill(w.now.hello.PID, unix.SIGSTOP)
	unix.Kill(w.now.hello.PID, unix.SIGKILL)
	for state(w.now.hello.PID) != 0 {
		unix.Kill(pid, unix.SIGPIPE) // means nothing
	}
	unix.Kill(pid, unix.SIGHUP)
	// What asked for an end is told again: nobody knows what became of it.
	w.next()
	for _, s := range []unix.Signal{unix.SIGPWR, unix.SIGHUP} {
		if r := w.event(); r.Signal != int(s) {
			t.Errorf("got %+v, want %v", r, s)
		}
	}
}

func TestLauncherIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.must(order{Do: "spawn", ID: 1, Script: "exec sleep 1000"})
	for i := range 10 {
		old := w.launcher(0)
		unix.Kill(old, unix.SIGKILL)
		if r := w.event(); !r.Launcher {
			t.Fatalf("got %+v", r)
		}
		w.launcher(old)
		w.must(order{Do: "spawn", ID: uint64(i + 2), Script: "exit 1"})
		x := w.exit()
		w.must(order{Do: "ack", ID: x.Seq})
	}
	if s := w.stats(); s.Launchers != 11 || s.Supervisors != 1 || s.Registered != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestOrphans(t *testing.T) {
	const count = 10000
	for name, held := range map[string]bool{"alone": false, "behind a kept zombie": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			kept := 0
			if held {
				kept = w.must(order{Do: "spawn", ID: 1, Script: "exit 1"}).PID
				w.exit()
			}
			before := w.stats().Orphans
			w.must(order{Do: "orphans", Number: count})
			// The maker is the supervisor's own child, so only its children are orphans.
			w.until("they pile up", func(s Stats) bool { return s.Orphans > before })
			began := time.Now()
			slowest, asked := time.Duration(0), began
			w.until("all are reaped", func(s Stats) bool {
				slowest, asked = max(slowest, time.Since(asked)), time.Now()
				return s.Orphans >= before+count
			})
			t.Logf("%d orphans reaped in %v, meanwhile the slowest answer took %v", count, time.Since(began), slowest)
			zombies := w.zombies()
			if held && !slices.Equal(zombies, []int{kept}) || !held && len(zombies) > 0 {
				t.Errorf("zombies left: %v", zombies)
			}
		})
	}
}

func TestReexecKeepsEverything(t *testing.T) {
	w := newWorld(t)
	reaper := w.cmd.Process.Pid
	running := w.must(order{Do: "spawn", ID: 1, Script: "exec sleep 1000"}).PID
	ended := w.must(order{Do: "spawn", ID: 2, Script: "exit 9"}).PID
	seq := w.exit().Seq
	w.must(order{Do: "store", Name: "pair", Data: "x\ny"})
	w.must(order{Do: "begin", ID: 3})
	fds := w.fds()
	for i := range 5 {
		old := w.now.hello.PID
		if r, ok := w.tell(order{Do: "reexec"}); ok && !strings.Contains(r.Err, ErrLost.Error()) {
			t.Fatalf("the old supervisor lives on: %+v", r)
		}
		h := w.next()
		if state(old) != 0 || h.Orphans != 0 {
			t.Errorf("the old supervisor is in state %q, %d orphans", state(old), h.Orphans)
		}
		if h.Registered[1] != running || !h.Alive[1] || h.Registered[2] != ended || h.Alive[2] {
			t.Fatalf("registered: %+v", h)
		}
		if len(h.Exits) != 1 || h.Exits[0].Seq != seq || h.Exits[0].Code != 9 || h.Exits[0].Rusage == nil {
			t.Fatalf("exits: %+v", h.Exits)
		}
		if !slices.Equal(h.Stored["pair"], []string{"x", "y"}) || !slices.Equal(h.Intents, []uint64{3}) || h.Supervisors != i+2 {
			t.Fatalf("handed over: %+v", h)
		}
		if w.cmd.Process.Pid != reaper || state(reaper) == 0 {
			t.Fatal("the reaper is another process")
		}
	}
	unix.Kill(reaper, unix.SIGINT)
	if r := w.event(); r.Signal != int(unix.SIGINT) {
		t.Errorf("got %+v", r)
	}
	// The signals that the reaper blocked meanwhile are not blocked in what it started.
	// (Some threads of a Go process block what others handle.)
	launcher := w.launcher(0)
	w.until("the launcher has no signals blocked", func(Stats) bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", launcher))
		return slices.ContainsFunc(threads, func(thread string) bool {
			status, _ := os.ReadFile(thread)
			return strings.Contains(string(status), "\nSigBlk:\t0000000000000000\n")
		})
	})
	w.must(order{Do: "spawn", ID: 4, Script: "exit 1"})
	if x := w.exit(); x.Seq != seq+1 || x.ID != 4 {
		t.Errorf("got %+v, want seq %d", x, seq+1)
	} else {
		w.must(order{Do: "ack", ID: x.Seq})
	}
	w.until("the launchers of before are reaped", func(Stats) bool { return len(w.zombies()) == 1 })
	if now := w.fds(); now > fds {
		t.Errorf("%d descriptors, %d before", now, fds)
	}
}

func TestReexecFailureChangesNothing(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldWith(t, "/nonexistent/berthd", exe, "role-reaper")
	w.must(order{Do: "store", Name: "a", Data: "x"})
	pid := w.must(order{Do: "spawn", ID: 1, Script: "exec sleep 1000"}).PID
	w.refused(order{Do: "reexec"}, syscall.ENOENT)
	unix.Kill(w.cmd.Process.Pid, unix.SIGHUP)
	if r := w.event(); r.Signal != int(unix.SIGHUP) {
		t.Errorf("got %+v", r)
	}
	if h := w.crash(); h.Registered[1] != pid || h.Stored["a"] == nil {
		t.Errorf("handed over: %+v", h)
	}
}

func TestExit(t *testing.T) {
	w := newWorld(t)
	pid := w.must(order{Do: "spawn", ID: 1, Script: "exit 0"}).PID
	w.exit()
	w.must(order{Do: "exit", Number: 42})
	w.now.conn.Close() // the test's supervisor then ends
	err := w.cmd.Wait()
	if code := w.cmd.ProcessState.ExitCode(); code != 42 {
		t.Errorf("exit code %d, %v", code, err)
	}
	if state(pid) != 0 {
		t.Errorf("left a process in state %q", state(pid))
	}
}

func TestGarbageEndsTheSupervisorOnly(t *testing.T) {
	w := newWorld(t)
	running := w.must(order{Do: "spawn", ID: 1, Script: "exec sleep 1000"}).PID
	w.must(order{Do: "store", Name: "kept", Data: "x"})
	fds := w.fds()
	good := message{Kind: kindBegin, Request: 1, ID: 5}
	store := message{Kind: kindStore, Request: 1, Name: "s"}
	reply := message{Kind: kindReply, Request: 1}
	for name, o := range map[string]order{
		"unknown kind":             {Data: "\x01\xff\x00\x00\x00\x00\x00\x00\x00\x00"},
		"wrong version":            {Data: "\x02\x07\x01\x00\x00\x00\x00\x00\x00\x00"},
		"cut short":                {Data: string(good.encode(nil)[:12])},
		"too much":                 {Data: string(good.encode(nil)) + "x"},
		"message of the reaper's":  {Data: string(reply.encode(nil))},
		"descriptors from nowhere": {Data: string(good.encode(nil)), Number: 3},
		"no descriptors":           {Data: string(store.encode(nil))},
		"long":                     {Data: string(make([]byte, 65000)), Number: 200},
	} {
		o.Do = "raw"
		w.tell(o)
		h := w.next()
		if h.Registered[1] != running || !h.Alive[1] || len(h.Stored["kept"]) != 1 {
			t.Fatalf("%s: handed over %+v", name, h)
		}
	}
	w.until("launchers are reaped", func(Stats) bool { return len(w.zombies()) == 0 })
	if now := w.fds(); now > fds {
		t.Errorf("%d descriptors, %d before", now, fds)
	}
}

// A supervisor that does not read neither blocks the reaper nor loses anything.
func TestStuckSupervisor(t *testing.T) {
	const count = 400
	w := newWorld(t)
	pids := map[int]bool{}
	for id := range uint64(count) {
		pids[w.must(order{Do: "spawn", ID: id + 1, Script: "exec sleep 1000"}).PID] = true
	}
	unix.Kill(w.now.hello.PID, unix.SIGSTOP)
	for pid := range pids {
		unix.Kill(pid, unix.SIGKILL)
	}
	for range 10 {
		unix.Kill(w.cmd.Process.Pid, unix.SIGHUP)
	}
	for pid := range pids {
		for end := time.Now().Add(deadline); state(pid) != 'Z'; {
			if time.Now().After(end) {
				t.Fatalf("process %d is in state %q", pid, state(pid))
			}
		}
	}
	// It still looks after the launcher.
	old := w.launcher(0)
	unix.Kill(old, unix.SIGKILL)
	w.launcher(old)
	unix.Kill(w.now.hello.PID, unix.SIGCONT)
	exits, signals, launchers := 0, 0, 0
	for exits < count || signals == 0 || launchers == 0 {
		switch r := w.event(); {
		case r.Exit != nil:
			exits++
			delete(pids, r.Exit.PID)
			w.must(order{Do: "ack", ID: r.Exit.Seq})
		case r.Signal != 0:
			signals++
		case r.Launcher:
			launchers++
		}
	}
	if len(pids) > 0 {
		t.Errorf("%d exits were not told", len(pids))
	}
	if s := w.stats(); s.Registered != 0 || s.Supervisors != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestStoreIsBounded(t *testing.T) {
	w := newWorld(t)
	data := strings.Repeat("x\n", 249) + "x"
	kept := 0
	for ; ; kept++ {
		r, ok := w.tell(order{Do: "store", Name: fmt.Sprint(kept), Data: data})
		if !ok || kept > maxStored/250 {
			t.Fatalf("the store took %d times 250 descriptors", kept)
		}
		if r.Err != "" {
			if syscall.Errno(r.Errno) != syscall.EMFILE {
				t.Fatal(r.Err)
			}
			break
		}
	}
	// It works on, and so does what needs descriptors of its own.
	if s := w.stats(); s.Descriptors != kept*250 {
		t.Errorf("%d descriptors in the store, want %d", s.Descriptors, kept*250)
	}
	if h := w.crash(); len(h.Stored) != kept {
		t.Errorf("%d names handed back, want %d", len(h.Stored), kept)
	}
	w.must(order{Do: "drop", Name: "0"})
	w.must(order{Do: "spawn", ID: 1, Script: "exit 1"})
	w.exit()
	t.Logf("%d descriptors were taken", kept*250)
}

// Where the reaper may open few files, it refuses to keep more and works on.
func TestFewDescriptors(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldWith(t, exe, "prlimit", "--nofile=64:64", exe, "role-reaper")
	running := w.must(order{Do: "spawn", ID: 1, Script: "exec sleep 1000"}).PID
	w.refused(order{Do: "store", Name: "many", Data: strings.Repeat("x\n", 40)}, syscall.EMFILE)
	refused := false
	for i := 0; i < 64 && !refused; i++ {
		r, ok := w.tell(order{Do: "store", Name: fmt.Sprint(i), Data: "x"})
		if !ok {
			t.Fatal("the supervisor died")
		}
		refused = syscall.Errno(r.Errno) == syscall.EMFILE
	}
	if !refused {
		t.Error("64 descriptors are stored")
	}
	w.refused(order{Do: "spawn", ID: 2, Script: "exit 1"}, syscall.EMFILE)
	w.must(order{Do: "drop", Name: "0"})
	w.must(order{Do: "spawn", ID: 3, Script: "exit 1"})
	if x := w.exit(); x.ID != 3 || x.Code != 1 {
		t.Errorf("got %+v", x)
	}
	if h := w.crash(); h.Registered[1] != running || len(h.Stored) == 0 {
		t.Errorf("handed over: %+v", h)
	}
}

// Without /proc, as PID 1 is before it is mounted, an exit that waits for its
// acknowledgement hides others, but none is lost.
func TestWithoutProc(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldWith(t, exe, "unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc && exec "+exe+" role-reaper")
	const count = 20
	for id := range uint64(count) {
		w.must(order{Do: "spawn", ID: id + 1, Script: fmt.Sprint("exit ", id+1)})
	}
	w.must(order{Do: "begin", ID: 100})
	pid := w.must(order{Do: "fork", ID: 100, Script: "exit 0"}).PID
	w.must(order{Do: "shut", ID: 100})
	w.must(order{Do: "abandon", ID: 100})
	told := map[uint64]bool{}
	for range count {
		x := w.exit()
		if told[x.ID] || x.Code != int(x.ID) {
			t.Errorf("got %+v", x)
		}
		told[x.ID] = true
		w.must(order{Do: "ack", ID: x.Seq})
	}
	w.until("the orphan is reaped", func(s Stats) bool { return state(pid) == 0 && s.Registered == 0 })
	if h := w.crash(); h.Supervisors != 2 || !h.Launcher {
		t.Errorf("handed over: %+v", h)
	}
}

func TestChildrenAreFoundByTheirParentToo(t *testing.T) {
	w := newWorld(t)
	if !slices.Contains(listed(children(nil)), w.cmd.Process.Pid) {
		t.Errorf("children: %v, without %d", listed(children(nil)), w.cmd.Process.Pid)
	}
	if got := listed(childrenByParent(nil)); !slices.Contains(got, w.cmd.Process.Pid) || slices.Contains(got, w.now.hello.PID) {
		t.Errorf("children by parent: %v, want %d and not %d", got, w.cmd.Process.Pid, w.now.hello.PID)
	}
}

// A process with the same capabilities, of which CAP_SYS_PTRACE is none, can look
// into a service, but not into any of the three.
func TestAllThreeAreProtected(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	without := []string{"setpriv", "--bounding-set=-sys_ptrace"}
	w := newWorldWith(t, exe, append(without, exe, "role-reaper")...)
	service := w.must(order{Do: "spawn", ID: 1, Script: "exec sleep 1000"}).PID
	look := func(pid int) error {
		command := append(without, "readlink", fmt.Sprintf("/proc/%d/exe", pid))
		return exec.Command(command[0], command[1:]...).Run()
	}
	if err := look(service); err != nil {
		t.Fatalf("cannot look into a service, so this test tells nothing: %v", err)
	}
	for _, pid := range []int{w.cmd.Process.Pid, w.now.hello.PID, w.launcher(0)} {
		if look(pid) == nil {
			t.Errorf("process %d can be looked into", pid)
		}
	}
}

// What a container's process could get hold of that sees the launcher, or a child
// of it that has not executed anything yet, leads to no file that can be written,
// not now and not when it has ended, and to no environment.
func TestLauncherIsApart(t *testing.T) {
	w := newWorld(t)
	pid := w.launcher(0)
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err != nil || len(env) != 0 {
		t.Errorf("its environment: %q, %v", env, err)
	}
	exe, err := unix.Open(fmt.Sprintf("/proc/%d/exe", pid), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(exe)
	// While it runs elsewhere too the kernel says ETXTBSY before it looks at the mount.
	readOnly := func(when string) {
		var fs unix.Statfs_t
		if err := unix.Fstatfs(exe, &fs); err != nil || fs.Flags&unix.ST_RDONLY == 0 {
			t.Errorf("its executable can be opened for writing %s: %#x, %v", when, fs.Flags, err)
		}
	}
	readOnly("while it runs")
	attr := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(exe, "", unix.AT_EMPTY_PATH, &attr); err != unix.EINVAL {
		t.Errorf("making it writable: %v", err)
	}
	unix.Kill(pid, unix.SIGKILL)
	w.launcher(pid)
	readOnly("when it has ended")
}

// As PID 1 the reaper survives every signal that another may send, and takes in
// orphans without being a subreaper.
func TestAsPID1(t *testing.T) {
	w := newInit(t)
	inits := w.children()
	if len(inits) != 1 {
		t.Fatalf("children of unshare: %v", inits)
	}
	for _, s := range []unix.Signal{unix.SIGABRT, unix.SIGALRM, unix.SIGVTALRM, unix.SIGPIPE, unix.SIGIO, unix.SIGXCPU,
		unix.SIGXFSZ, unix.SIGSTKFLT, unix.SIGSYS, 34} {
		unix.Kill(inits[0], s)
	}
	unix.Kill(inits[0], unix.SIGTERM)
	if r := w.event(); r.Signal != int(unix.SIGTERM) {
		t.Errorf("got %+v", r)
	}
	w.must(order{Do: "spawn", ID: 1, Script: "(sh -c 'exit 5' &) ; (sh -c 'exit 6' &); exit 3"})
	if x := w.exit(); x.ID != 1 || x.Code != 3 {
		t.Errorf("got %+v", x)
	}
	w.until("two orphans are reaped", func(s Stats) bool { return s.Orphans == 2 })
	if r, ok := w.tell(order{Do: "reexec"}); ok && !strings.Contains(r.Err, ErrLost.Error()) {
		t.Fatalf("the old supervisor lives on: %+v", r)
	}
	if h := w.next(); len(h.Exits) != 1 || h.Supervisors != 2 {
		t.Errorf("handed over: %+v", h)
	}
}
