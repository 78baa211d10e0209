package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"

	"golang.org/x/sys/unix"
)

// shiftClock sets the machine's wall clock; only the virtual machine's may be.
func shiftClock(t *testing.T, by time.Duration) {
	t.Helper()
	now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatal(err)
	}
}

// TestClockSet sets the clock, forward over runs and back, while timers wait.
func TestClockSet(t *testing.T) {
	if !guest(t) {
		return
	}
	began, mono := time.Now(), time.Now()
	t.Cleanup(func() { // as if nothing had been
		now := unix.NsecToTimespec(began.Round(0).Add(time.Since(mono)).UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
			t.Error(err)
		}
	})
	d := guestStart(t, map[string]string{
		"made.toml":  task("echo run", "[timer]\ncalendar = '*-*-* 03:00:00'"),
		"skip.toml":  task("echo run", "[timer]\ncalendar = '*-*-* 03:00:00'\nmissed = 'skip'"),
		"every.toml": task("echo run", "[timer]\nevery = '10h'"),
	})
	runs := func(unit string) int { return len(d.logs(unit)) }
	d.eventually("the interval has begun", func() bool { return runs("every") == 1 })
	due := *d.status("made").Timer.Next
	shiftClock(t, 50*time.Hour) // over two runs, or three
	d.wait("made", core.Completed)
	d.eventually("the next run is after the new time", func() bool {
		next := d.status("made").Timer.Next
		return next != nil && time.Until(*next) > 0 && time.Until(*next) <= 25*time.Hour
	})
	d.eventually("what was missed is told", func() bool { return strings.Contains(d.log.String(), "was missed and is left out") })
	if n := runs("made"); n != 1 || runs("skip") != 0 || runs("every") != 1 {
		t.Errorf("runs: made %d, skip %d, every %d", n, runs("skip"), runs("every"))
	}
	next := *d.status("made").Timer.Next
	shiftClock(t, -20*time.Hour) // what was run is not run again
	d.eventually("it is noticed", func() bool { return strings.Count(d.log.String(), "the clock was set") == 2 })
	if now := *d.status("made").Timer.Next; !now.Equal(next) || runs("made") != 1 {
		t.Errorf("next at %v, not %v; %d runs", now, next, runs("made"))
	}
	// The moment itself, by the new clock.
	shiftClock(t, time.Until(next.Round(0))-2*time.Second)
	d.eventually("made has run at its time", func() bool { return runs("made") == 2 && runs("skip") == 1 })
	if text, err := os.ReadFile(d.dir + "/state/timers.json"); err != nil || !strings.Contains(string(text), `"made"`) || due.IsZero() {
		t.Errorf("%s, %v", text, err)
	}
}
