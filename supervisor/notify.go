package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"berth/supervisor/core"
	"berth/supervisor/notify"
	"berth/units"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// The notification socket of an incarnation: a file below the runtime directory,
// to which only root gets, until it is bound into the container; then the file
// goes and the mount is all there is. The reaper keeps the descriptor.

// notifyDir opens the directory of the sockets' files, which is empty: what an
// earlier supervisor left in it, nobody needs.
func notifyDir(runtimeDir string) (*os.File, error) {
	path := filepath.Join(runtimeDir, "notify")
	if err := os.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("cannot empty the directory of the notification sockets: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of the notification sockets: %w", err)
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the directory of the notification sockets: %w", err)
	}
	return dir, nil
}

// notifyPath is the file of an incarnation's socket, "" for one without.
func (s *Supervisor) notifyPath(id core.Incarnation, cfg *units.Unit) string {
	if cfg.Notify() == "none" {
		return ""
	}
	return filepath.Join(s.notifyFiles.Name(), strconv.FormatUint(uint64(id), 10))
}

// makeNotify makes the run's socket, if it is to have one. Done by its worker.
func (s *Supervisor) makeNotify(r *run) error {
	if r.notify != nil || s.notifyPath(r.id, r.cfg) == "" {
		return nil
	}
	socket, err := notify.Listen(s.notifyFiles, strconv.FormatUint(uint64(r.id), 10))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notify, r.access = socket, r.cfg.Notify()
	return nil
}

// hideNotify removes the file, once the container has what it stands for.
func (s *Supervisor) hideNotify(r *run) {
	_ = unix.Unlinkat(int(s.notifyFiles.Fd()), strconv.FormatUint(uint64(r.id), 10), 0) // not there: as wanted
}

// adoptNotify goes on with the socket that the reaper kept.
func (s *Supervisor) adoptNotify(r *run, l *core.Life, stored map[string][]*os.File) {
	kept := takeStored(stored, storeName("notify", uint64(r.id)))
	if kept == nil {
		return
	}
	r.notify, r.access = notify.Adopt(kept), r.cfg.Notify()
	if l.Notice.Access != "" {
		r.access = l.Notice.Access
	}
}

// closeNotify releases the socket of a run that is over.
func (s *Supervisor) closeNotify(r *run) {
	if r.notify != nil {
		r.notify.Close()
		s.hideNotify(r)
	}
}

// A program may send this many messages at once, and one more each notifyPause.
// More of them wait in the socket, and then whoever sends them.
const (
	notifyBurst = 256
	notifyPause = 10 * time.Millisecond
)

// listening begins to take the messages of a run, once the core knows of its
// start: none may come too early. Called by the loop.
func (s *Supervisor) listening(r *run) {
	if r.notify != nil {
		r.listens = true
		go s.listen(r)
	}
	if r.readyNear != nil {
		go s.readReady(r)
	}
}

// listen takes messages until the socket is closed.
func (s *Supervisor) listen(r *run) {
	free := time.Now().Add(-notifyBurst * notifyPause) // until when messages are paid for
	for {
		if err := r.notify.Wait(); err != nil {
			return
		}
		r.taking.Lock()
		m, err := r.notify.Receive()
		if err == nil {
			s.take(r, m)
			m.Close()
		}
		r.taking.Unlock()
		if errors.Is(err, notify.ErrMalformed) {
			s.refuseNotify(r, "it is malformed")
		} else if err != nil {
			return
		}
		now := time.Now()
		if earliest := now.Add(-notifyBurst * notifyPause); free.Before(earliest) {
			free = earliest
		}
		free = free.Add(notifyPause)
		if wait := free.Sub(now); wait > 0 {
			time.Sleep(wait)
		}
	}
}

// refuseNotify tells once for each run that a message of it does not count.
// Called by listen alone.
func (s *Supervisor) refuseNotify(r *run, why string) {
	if !r.refused {
		r.refused = true
		s.log.Warn("a message on the notification socket does not count, nor will others like it", zap.String("unit", r.unit), zap.String("because", why))
	}
}

// take does what one message says. When it returns all of that is done: a
// barrier, whose descriptor the caller then closes, relies on it.
func (s *Supervisor) take(r *run, m *notify.Message) {
	if why := s.untrusted(r, &m.Sender); why != "" {
		s.refuseNotify(r, why)
		return
	}
	if m.Watchdog {
		now := time.Now()
		r.heard.Store(&now)
	}
	told := core.Message{
		Ready: m.Ready, Stopping: m.Stopping, Status: m.Status, Errno: m.Errno, BusError: m.BusError,
		Extend: m.Extend, Trigger: m.Trigger, Interval: m.WatchdogInterval, Access: s.narrow(r, m.Access),
	}
	if m.Reloading {
		told.Reloading = monotonic(m.MonotonicUsec)
	}
	main := s.mainTold(r, m)
	if m.FDStore || m.FDStoreRemove {
		s.storeTold(r, m)
	}
	if told == (core.Message{}) && main == nil {
		return // WATCHDOG=1 alone is told when it counts, see watchdogFired
	}
	// Without an answer the supervisor has ended, and the next takes what is left.
	_ = s.ask(context.Background(), func() {
		if main != nil {
			told.MainPID = s.moveMain(r, main)
		}
		s.step(core.Notified{Unit: r.unit, Incarnation: r.id, Message: told})
	})
}

// accesses are the values of notify-access, from the narrowest to the widest.
var accesses = map[string]int{"none": 1, "main": 2, "exec": 2, "all": 3}

// narrow takes a NOTIFYACCESS=, which may allow less than the unit's
// notify-access and not more. It gives what is to be remembered, "" for nothing.
func (s *Supervisor) narrow(r *run, access string) string {
	if access == "exec" {
		access = "main"
	}
	if access == "" || accesses[access] > accesses[r.cfg.Notify()] {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.access = access
	return access
}

// monotonic turns a time of CLOCK_MONOTONIC into one that the core can compare.
// 0, which was not given, is now.
func monotonic(usec uint64) time.Time {
	var ts unix.Timespec
	if usec == 0 || unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return time.Now()
	}
	now := time.Now()
	age := time.Duration(ts.Nano()) - time.Duration(usec)*time.Microsecond
	if age < 0 || age > time.Duration(ts.Nano()) {
		return now
	}
	return now.Add(-age)
}

// drained runs f in the loop once everything was taken that lies in the run's
// socket, or soon in any case. Called by the loop.
func (s *Supervisor) drained(r *run, f func()) {
	if r.notify == nil || !r.listens || r.taken() {
		f()
		return
	}
	go func() {
		const looks = 100
		for i := 0; i < looks && !r.taken(); i++ {
			time.Sleep(10 * time.Millisecond)
		}
		s.post(f)
	}()
}

// taken tells whether all that was sent has been taken, and the core told.
func (r *run) taken() bool {
	if !r.taking.TryLock() {
		return false
	}
	defer r.taking.Unlock()
	return !r.notify.Waiting()
}

// watchdogFired is the end of the time in which a unit had to be heard of, as far
// as the core knows. What the program has said since it hears now, and then the
// timer may be stale.
func (s *Supervisor) watchdogFired(e core.TimerFired) {
	r := s.current(e.Unit)
	if r == nil {
		s.step(e)
		return
	}
	s.drained(r, func() {
		if heard := r.heard.Load(); heard != nil {
			s.step(core.Notified{Unit: r.unit, Incarnation: r.id, Message: core.Message{Watchdog: *heard}})
		}
		s.step(e)
	})
}
