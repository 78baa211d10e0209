package core

import (
	"slices"
	"time"
)

// TimerPath: a change of a watched path that came soon after one that was acted
// on has waited long enough.
const TimerPath Timer = "path"

// pathInterval is the least time between two actions for changed paths: a unit
// that writes what it watches does so at this pace.
const pathInterval = 2 * time.Second

// watch has the paths watched that the unit's newest configuration names.
func (st *step) watch(u *Unit) {
	var want []string
	if u.Triggers && !u.Gone && !st.s.Shutdown {
		want = u.newest().Path.Changed
	}
	if len(want) == 0 {
		want = nil
		st.disarm(u, TimerPath)
	}
	if slices.Equal(want, u.Watched) {
		return
	}
	u.Watched = want
	st.touch(u)
	st.emit(Watch{u.Name, want})
}

func (st *step) pathChanged(u *Unit, path string) {
	if wait := u.PathAt.Add(pathInterval).Sub(st.in.Now); wait > 0 && wait <= pathInterval {
		u.PathDue = path
		if _, armed := u.Timers[TimerPath]; !armed {
			st.arm(u, TimerPath, wait)
		}
		return
	}
	st.pathAction(u, path)
}

// pathAction does what [path] says about a changed path.
func (st *step) pathAction(u *Unit, path string) {
	u.PathAt, u.PathDue = st.in.Now, ""
	st.touch(u)
	c := Cause{Kind: CausePath, By: path}
	switch u.newest().Path.Action {
	case "start":
		st.occasion(u, c, path+" changed")
	case "reload":
		if u.reload() != nil && (u.Phase == Running || u.Phase == Starting) && !u.Halt {
			u.ReloadAgain = true
			st.reloadNext(u)
		}
	default:
		if u.Up && !u.Phase.down() && u.Phase != Waiting {
			st.under(c, func() { st.refurbish(u, path+" changed") })
		}
	}
}
