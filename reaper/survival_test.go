package reaper

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWatchdogsTimes(t *testing.T) {
	start := time.Now()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	var w watchdog
	w.begin(at(0))
	if got := w.overdue(at(1e6)); got != 0 {
		t.Errorf("off: %v", got)
	}
	steps := []struct {
		at   float64
		beat bool
		want syscall.Signal
	}{
		{at: 0, beat: true},
		{at: 9},
		{at: 9.5, beat: true},
		{at: 19.4},
		{at: 19.5, want: syscall.SIGABRT},
		{at: 20, beat: true}, // too late
		{at: 24.4},
		{at: 24.5, want: syscall.SIGKILL},
		{at: 24.6},
		{at: 29.5, want: syscall.SIGKILL}, // it was in the kernel for so long
	}
	for _, s := range steps {
		if s.beat {
			w.beat(10*time.Second, at(s.at))
		}
		if got := w.overdue(at(s.at)); got != s.want {
			t.Errorf("at %v: %v, want %v", s.at, got, s.want)
		}
	}
	// The next one takes over first.
	w.begin(at(100))
	if got := w.overdue(at(129.9)); got != 0 {
		t.Errorf("while it takes over: %v", got)
	}
	if got := w.overdue(at(130.1)); got != syscall.SIGABRT {
		t.Errorf("when it has not beaten at all: %v", got)
	}
	// The whole machine was paused: the reaper wakes long after the moment.
	w.begin(at(200))
	w.beat(10*time.Second, at(200))
	if got := w.overdue(at(5000)); got != 0 {
		t.Errorf("after a pause: %v", got)
	}
	if got := w.overdue(at(5009)); got != 0 {
		t.Errorf("within a period after a pause: %v", got)
	}
	if got := w.overdue(at(5010)); got != syscall.SIGABRT {
		t.Errorf("a period after a pause: %v", got)
	}
}

// A supervisor that stands still is ended and replaced; what runs goes on.
func TestHungSupervisorIsReplaced(t *testing.T) {
	w := newWorld(t)
	pid := w.must(order{Do: "spawn", ID: 1, Script: "exec sleep 1000"}).PID
	w.must(order{Do: "beat", Within: 200 * time.Millisecond})
	h := w.next() // it does not beat again
	if h.Registered[1] != pid || !h.Alive[1] {
		t.Errorf("handed over: %+v", h)
	}
	if log := w.log(); !strings.Contains(log, "SIGABRT: abort") || !strings.Contains(log, "goroutine ") {
		t.Errorf("it did not tell what it hung on:\n%s", log)
	}
	// One that is stopped does not get away either. It is not watched before its
	// first beat for a while, and then at once.
	w.must(order{Do: "beat", Within: time.Second})
	w.tell(order{Do: "stop"})
	if h := w.next(); h.Registered[1] != pid || !h.Alive[1] {
		t.Errorf("handed over: %+v", h)
	}
	// The watch outlives the reaper's own execve.
	if r, ok := w.tell(order{Do: "reexec"}); ok && !strings.Contains(r.Err, ErrLost.Error()) {
		t.Fatalf("the old supervisor lives on: %+v", r)
	}
	w.next()
	if h := w.next(); h.Registered[1] != pid || !h.Alive[1] {
		t.Errorf("handed over: %+v", h)
	}
	w.must(order{Do: "beat"}) // no more
	supervisors := w.stats().Supervisors
	w.must(order{Do: "spawn", ID: 2, Script: "sleep 4"})
	w.exit()
	if got := w.stats().Supervisors; got != supervisors {
		t.Errorf("%d supervisors, %d before", got, supervisors)
	}
}

func TestLauncherIsReplacedWhenAsked(t *testing.T) {
	w := newWorld(t)
	old := w.launcher(0)
	syscall.Kill(old, syscall.SIGSTOP)
	w.must(order{Do: "replace"})
	if now := w.launcher(old); state(old) != 0 && state(old) != 'Z' {
		t.Errorf("launcher %d is in state %q beside %d", old, state(old), now)
	}
	if r := w.event(); !r.Launcher {
		t.Fatalf("got %+v", r)
	}
	w.must(order{Do: "spawn", ID: 1, Script: "exit 4"})
	if x := w.exit(); x.Code != 4 {
		t.Errorf("got %+v", x)
	}
}

func TestNeitherFinishNorEmergencyButAsPID1(t *testing.T) {
	w := newWorld(t)
	w.refused(order{Do: "finish", Args: []string{"x"}}, syscall.EPERM)
	w.refused(order{Do: "emergency"}, syscall.EPERM)
	w.must(order{Do: "finish"}) // withdraws nothing
	for range emergencyAfter + 2 {
		w.tell(order{Do: "die"})
		w.next()
	}
	select {
	case l := <-w.others:
		t.Errorf("got %+v", l.first)
	default:
	}
}

// The last stage is executed in the reaper's place once the supervisor has gone.
func TestFinish(t *testing.T) {
	w := newInit(t)
	w.must(order{Do: "spawn", ID: 1, Script: "exec sleep 1000"})
	w.must(order{Do: "store", Name: KeptPrefix + "watchdog", Data: "fed"})
	w.must(order{Do: "store", Name: KeptPrefix + "not this", Data: "x"})
	w.must(order{Do: "store", Name: "other", Data: "x"})
	w.must(order{Do: "finish", Args: []string{"berthd", "role-final", "halt"}, Within: time.Hour})
	w.must(order{Do: "finish", Args: []string{"berthd", "role-final", "poweroff"}, Within: time.Hour})
	// It outlives what may happen meanwhile.
	w.tell(order{Do: "die"})
	w.next()
	if r, ok := w.tell(order{Do: "reexec"}); ok && !strings.Contains(r.Err, ErrLost.Error()) {
		t.Fatalf("the old supervisor lives on: %+v", r)
	}
	w.next()
	w.must(order{Do: "exit", Number: 3})
	w.now.conn.Close() // the test's supervisor then ends
	checkFinal(t, w, "fed")
}

// It is also executed when the supervisor does not end, and a supervisor that
// comes again and asks for more time does not get it.
func TestFinishInTime(t *testing.T) {
	w := newInit(t)
	w.must(order{Do: "finish", Args: []string{"berthd", "role-final", "halt"}, Within: 24 * time.Hour})
	w.must(order{Do: "finish"})
	w.must(order{Do: "finish", Args: []string{"berthd", "role-final", "poweroff"}, Within: 500 * time.Millisecond})
	w.tell(order{Do: "die"})
	w.next()
	if _, ok := w.tell(order{Do: "finish", Args: []string{"berthd", "role-final", "poweroff"}, Within: time.Hour}); ok {
		w.tell(order{Do: "stop"})
	}
	checkFinal(t, w, "")
}

func checkFinal(t *testing.T, w *world, kept string) {
	t.Helper()
	l := w.other()
	f := l.first.Final
	if f == nil {
		t.Fatalf("got %+v", l.first)
	}
	if f.PID != 1 || !slices.Equal(f.Args, []string{"berthd", "role-final", "poweroff"}) {
		t.Errorf("got %+v", f)
	}
	want := 0
	if kept != "" {
		want++
	}
	if f.Kept["watchdog"] != kept || f.Kept["other"] != "" || len(f.Open) != want {
		t.Errorf("got %+v, want %d open", f, want)
	}
	if strings.Trim(f.Blocked, "0") != "" {
		t.Errorf("signals are blocked: %s", f.Blocked)
	}
	if err := l.out.Encode(order{Number: 7}); err != nil {
		t.Error(err)
	}
	w.cmd.Wait()
	if code := w.cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d", code)
	}
}

// A supervisor that cannot be kept alive brings the emergency role, once; it is
// tried on, and at once when that has ended.
func TestCrashLoopBringsTheEmergencyRole(t *testing.T) {
	t.Setenv(healthyVariable, "1h")
	w := newInit(t)
	crash := func(times int) {
		for range times {
			w.tell(order{Do: "die"})
			w.next()
		}
	}
	// leave ends the emergency role, which is told to the supervisor there is.
	leave := func(l *link) {
		l.out.Encode(order{Number: 0})
		for r := w.event(); !r.EmergencyEnded; r = w.event() {
			if !r.Launcher {
				t.Fatalf("got %+v", r)
			}
		}
	}
	crash(emergencyAfter)
	l := w.other()
	if want := "exited with status 9"; !strings.Contains(l.first.Emergency, want) {
		t.Errorf("it was told %q, want %q", l.first.Emergency, want)
	}
	crash(emergencyAfter + 3)
	if r, ok := w.tell(order{Do: "reexec"}); ok && !strings.Contains(r.Err, ErrLost.Error()) {
		t.Fatalf("the old supervisor lives on: %+v", r)
	}
	w.next()
	w.must(order{Do: "emergency"}) // it runs
	leave(l)
	if s := w.stats(); s.Orphans != 0 { // it was a child of the reaper's own
		t.Errorf("%d orphans", s.Orphans)
	}
	select {
	case l := <-w.others:
		t.Fatalf("a second one: %+v", l.first)
	default:
	}
	crash(emergencyAfter) // of the new reaper
	leave(w.other())
	crash(1) // nothing was mended
	leave(w.other())
	w.must(order{Do: "emergency"})
	if l = w.other(); l.first.Emergency != "the supervisor asks for it" {
		t.Errorf("it was told %q", l.first.Emergency)
	}
}

// A request that a reaper does not know is answered, and its descriptors closed.
func TestUnknownRequestIsAnswered(t *testing.T) {
	w := newWorld(t)
	w.stats()
	fds := w.fds()
	w.refused(order{Do: "future", Number: 3}, syscall.ENOSYS)
	w.refused(order{Do: "future"}, syscall.ENOSYS)
	w.must(order{Do: "raw", Data: "\x01\x3f\x00\x00\x00\x00\x00\x00\x00\x00"}) // one that wants no answer
	if s := w.stats(); s.Supervisors != 1 {
		t.Errorf("got %+v", s)
	}
	if now := w.fds(); now > fds {
		t.Errorf("%d descriptors, %d before", now, fds)
	}
}

// A supervisor of today goes on under a reaper of before, which would take what
// it does not know for garbage; and passes over what one of tomorrow says.
func TestClientOfAnotherReaper(t *testing.T) {
	p := newPeer(t)
	future := message{Kind: lastTold + 1}
	p.send(message{Kind: kindHello})
	p.send(future, 0, 1)
	p.send(message{Kind: kindDone})
	t.Setenv(revisionVariable, "")
	c, _, err := Connect(p.fd)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, err := range map[string]error{
		"beat": c.Beat(time.Second), "finish": c.Finish([]string{"x"}, 0), "emergency": c.Emergency(), "replace": c.ReplaceLauncher(),
	} {
		if errnoOf(err) != syscall.ENOSYS || !strings.Contains(err.Error(), "daemon-reexec") {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.send(future, 0)
	p.send(message{Kind: kindSignal, Number: 1})
	if e := <-c.Events(); e != (Signal{1}) {
		t.Errorf("got %v", e)
	}
	if err := c.Ack(5); err != nil {
		t.Error(err)
	}
	if m := p.receive(); m.Kind != kindAck { // and nothing before it
		t.Errorf("sent %+v", m)
	}
	if _, ok := os.LookupEnv(revisionVariable); ok {
		t.Error("the variable is left to others")
	}
}

// The kernel kills neither the reaper nor the supervisor for their memory before
// anything else; services do not get that from them.
func TestSparedWhenMemoryRunsOut(t *testing.T) {
	score := func(pid any) string {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%v/oom_score_adj", pid))
		return strings.TrimSpace(string(text))
	}
	own := score("self")
	w := newWorld(t)
	want := []string{"-1000", "-900", own, own}
	if strings.HasPrefix(own, "-") {
		want[2], want[3] = "0", "0"
	}
	if err := writeScore("/proc/self/oom_score_adj", reaperScore); err != nil {
		want = []string{own, own, own, own} // nor may the reaper
	} else if n, err := strconv.Atoi(own); err != nil || writeScore("/proc/self/oom_score_adj", n) != nil {
		t.Fatal("the score of the test itself is lost")
	}
	t.Log("want", want)
	for id := range uint64(2) {
		service := w.must(order{Do: "spawn", ID: id + 1, Script: "exec sleep 1000"}).PID
		got := []string{score(w.cmd.Process.Pid), score(w.now.hello.PID), score(w.launcher(0)), score(service)}
		if !slices.Equal(got, want) {
			t.Errorf("reaper, supervisor, launcher, service: %v, want %v", got, want)
		}
		if r, ok := w.tell(order{Do: "reexec"}); ok && !strings.Contains(r.Err, ErrLost.Error()) {
			t.Fatalf("the old supervisor lives on: %+v", r)
		}
		w.next()
	}
}
