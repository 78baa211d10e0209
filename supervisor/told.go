package supervisor

import (
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// told gives, for status, how far a unit that runs has come; nil for others.
// Called by the loop.
func (s *Supervisor) told(u *core.Unit, r *run) *api.Told {
	if u.MainPID == 0 {
		return nil
	}
	t := &api.Told{Ready: u.Ready, NotReady: u.NotReady, Notice: u.Notice}
	if u.Ready && !u.Times.Ready.IsZero() {
		at := u.Times.Ready
		t.Since = &at
	}
	if armed := u.WatchedEvery(); armed > 0 {
		t.Watchdog = &api.Watchdog{IntervalUsec: int64(armed / time.Microsecond)}
		if r != nil {
			t.Watchdog.Heard = r.heard.Load()
		}
	}
	if st := s.fds[u.Name]; st != nil {
		for _, e := range st.entries {
			t.Kept = append(t.Kept, e.Name)
		}
	}
	return t
}
