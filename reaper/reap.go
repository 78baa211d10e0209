package reaper

import "time"

// reapRetry is the pause after a failure to list the children.
const reapRetry = 100 * time.Millisecond

// reap looks for ended children and settles each, up to reapBatch at a time.
//
// The kernel shows ended children one at a time, and one that is left a zombie
// always first: it hides the others. So when that one is to be kept, all children
// are listed once and each is looked at. What ends after the list was made
// brings a SIGCHLD of its own.
func (r *reaper) reap(now time.Time) {
	if !r.sweeping {
		r.reapDue = false
	}
	for range reapBatch {
		if r.sweeping {
			if len(r.sweep) == 0 {
				r.sweeping, r.sweep = false, nil
				return
			}
			pid := r.sweep[0]
			r.sweep = r.sweep[1:]
			if r.table.known(pid) {
				continue
			}
			if ended, _ := peek(pid); ended {
				r.settle(pid)
			}
			continue
		}
		pid := peekAny()
		if pid == 0 {
			return
		}
		if !r.settle(pid) {
			if !r.hasProc() {
				return // until it is acknowledged or released
			}
			if r.sweep, r.sweeping = children(nil); !r.sweeping {
				// No descriptor is free to look with, say.
				r.sweep, r.reapAt = nil, now.Add(reapRetry)
				return
			}
		}
	}
	r.reapDue = r.reapDue || !r.sweeping
}

// settle does what is to be done about an ended child, and reports whether it is
// a zombie no more.
func (r *reaper) settle(pid int) bool {
	switch {
	case pid == r.supervisor.pid:
		if info, gone := reapPID(pid); gone {
			r.supervisorEnded(info, time.Now())
		}
		return true
	case pid == r.launcher.pid:
		if info, gone := reapPID(pid); gone {
			r.launcherEnded(info, time.Now())
		}
		return true
	case pid == r.emergency.pid:
		if info, gone := reapPID(pid); gone {
			r.emergencyEnded(info, time.Now())
		}
		return true
	case r.retired[pid]:
		reapPID(pid)
		delete(r.retired, pid)
		return true
	}
	switch r.table.judge(pid) {
	case reportExit:
		if x, ended := peekExit(pid); ended {
			x := r.table.ended(x)
			if r.conn != nil {
				r.conn.exits = append(r.conn.exits, x.Seq)
			}
		}
	case reapOrphan:
		if _, gone := reapPID(pid); gone {
			r.table.orphans++
		}
		return true
	}
	return false
}

// reapRest takes away whatever has ended, acknowledged or not, for the reaper is
// about to end too.
func (r *reaper) reapRest() {
	for pid := peekAny(); pid != 0; pid = peekAny() {
		reapPID(pid)
	}
}
