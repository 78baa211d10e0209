package core

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestActivationLimit: a program that ends without taking what came is not
// started for ever, whatever its restart policy says, and a user can have it again.
func TestActivationLimit(t *testing.T) {
	for _, options := range []string{"policy=never", "limit=0/1s", "type=task"} {
		p := play(t, "unit x socket=s "+options+";load boot")
		starts := 0
		for p.s.Units["x"].Phase != Failed && starts < 100 {
			act(p, "activated x s;spawned x;exited x 0;released x;wait 1ms")
			starts++
		}
		if got := p.show("x"); starts != activationBurst+1 || !strings.Contains(got, "started 20 times in 10s by its sockets") {
			t.Errorf("%s: after %d starts %s", options, starts, got)
		}
		if got := act(p, "activated x s"); got != "-" {
			t.Errorf("%s: still listening: %s", options, got)
		}
		if got := act(p, "cmd 1 start x;spawned x;exited x 0;released x;activated x s"); !strings.Contains(got, "], listen") || !strings.Contains(got, "spawn x#22") {
			t.Errorf("%s: after a start by hand: %s", options, got)
		}
	}
	// Slower than that it may end and start as often as it likes.
	p := play(t, "unit x socket=s;load boot")
	for range 100 {
		act(p, "activated x s;spawned x;wait 1s;exited x 0;released x")
	}
	if got := p.show("x"); !strings.HasPrefix(got, "x: inactive") {
		t.Error(got)
	}
}

// TestManyRuns: a year of a calendar on the virtual clock, with a supervisor that
// is lost all the time and a clock that is set: every day has its run, and one.
func TestManyRuns(t *testing.T) {
	p := play(t, "unit x type=task timer=*-*-*_02:30_Europe/Berlin;load boot")
	runs := map[string]int{}
	for day := range 365 {
		act(p, "fire x calendar;spawned x;exited x 0;released x")
		runs[fmt.Sprint(p.now.Add(2*60*60*1e9).YearDay())]++
		switch day % 3 {
		case 0:
			act(p, "crash")
		case 1:
			act(p, "clock 3h;clock -4h")
		}
	}
	if len(runs) != 365 {
		t.Errorf("runs on %d days", len(runs))
	}
}

// TestWallClock: what a calendar is compared by has no reading of the monotonic
// clock, which time.Now gives and which knows nothing of a clock that is set.
func TestWallClock(t *testing.T) {
	p := play(t, "unit x type=task timer=hourly jitter=1m")
	p.now = time.Now()
	look := func(when string) {
		t.Helper()
		u := p.s.Units["x"]
		for what, at := range map[string]time.Time{"the timer": u.Timers[TimerCalendar].At, "the base": u.Schedule.Base, "the due run": u.Schedule.Due, "the last run": u.Schedule.LastRun} {
			if at != at.Round(0) {
				t.Errorf("%s, %s is %v", when, what, at)
			}
		}
	}
	act(p, "load boot")
	look("at first")
	p.now = p.now.Add(2 * time.Hour)
	p.step(TimerFired{"x", TimerCalendar, p.s.Units["x"].Timers[TimerCalendar].Seq})
	look("after a run")
	p.now = p.now.Add(2 * time.Hour)
	p.step(ClockChanged{})
	look("after the clock was set")
}
