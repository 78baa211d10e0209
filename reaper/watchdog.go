package reaper

import (
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// abortGrace is how long a hung supervisor has to tell what it hangs on.
	abortGrace = 5 * time.Second
	// firstBeat is how many periods a supervisor has for its first Beat: it takes
	// over first.
	firstBeat = 3
	// maxSpan is the longest time that a request can name.
	maxSpan = 24 * time.Hour
)

// watchdog watches over the supervisor. It knows times only by what it is told.
type watchdog struct {
	within time.Duration // 0: it is off
	due    time.Time     // of the next Beat, or once it barked of SIGKILL
	barked bool          // SIGABRT was sent
}

func (w *watchdog) armed() bool { return w.within > 0 }

// begin is called when a supervisor was started.
func (w *watchdog) begin(now time.Time) {
	w.barked, w.due = false, now.Add(firstBeat*w.within)
}

// beat is called with each Beat. One that comes after SIGABRT is too late: the
// runtime is about to end the process.
func (w *watchdog) beat(within time.Duration, now time.Time) {
	w.within = within
	if !w.barked {
		w.due = now.Add(within)
	}
}

// overdue gives the signal that is to be sent now, 0 for none. The loop calls it
// each time it wakes, and it wakes when due comes. So when that lies back far, the
// reaper did not run either (the machine was paused, the group frozen), and the
// supervisor gets a period in which it could.
func (w *watchdog) overdue(now time.Time) unix.Signal {
	if !w.armed() || now.Before(w.due) {
		return 0
	}
	late := now.Sub(w.due)
	if !w.barked && late > max(time.Second, w.within/4) {
		w.due = now.Add(w.within)
		return 0
	}
	if w.barked {
		w.due = now.Add(abortGrace)
		return unix.SIGKILL
	}
	w.barked, w.due = true, now.Add(abortGrace)
	return unix.SIGABRT
}

// beat carries out a Beat.
func (r *reaper) beat(within uint64, now time.Time) { r.watch.beat(span(within), now) }

// guard ends a supervisor that hangs.
func (r *reaper) guard(now time.Time) {
	pid := r.supervisor.pid
	if pid == 0 {
		return
	}
	switch r.watch.overdue(now) {
	case unix.SIGABRT:
		r.log("supervisor " + strconv.Itoa(pid) + " has not told for " + r.watch.within.String() +
			" that it is alive: it is ended, and tells what it hangs on")
		unix.Kill(pid, unix.SIGABRT)
		unix.Kill(pid, unix.SIGCONT) // should it be stopped
	case unix.SIGKILL:
		unix.Kill(pid, unix.SIGKILL)
	}
}

// span reads a time in nanoseconds that a message or a record holds.
func span(n uint64) time.Duration { return time.Duration(min(n, uint64(maxSpan))) }
