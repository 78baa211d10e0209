package reaper

import (
	"os"
	"strconv"
	"syscall"
	"time"

	"berth/reaper/internal/wire"

	"golang.org/x/sys/unix"
)

// Backoff says how soon a process that the reaper keeps alive is started again:
// the first time at once, then after First, then twice as long each time up to
// Max. One that has lived for Healthy begins anew.
type Backoff struct{ First, Max, Healthy time.Duration }

// DefaultBackoff is used where a Config has none.
var DefaultBackoff = Backoff{First: 100 * time.Millisecond, Max: 10 * time.Second, Healthy: 10 * time.Second}

// process is one that the reaper keeps alive.
type process struct {
	name    string
	argv    []string
	backoff Backoff
	apart   bool // without environment, from a mount of its own

	pid      int // 0: none
	started  time.Time
	failures int       // since it was last healthy
	due      time.Time // when pid is 0: not started before
}

// ended notes that the process is gone, and plans the next start.
func (p *process) ended(now time.Time) time.Duration {
	if now.Sub(p.started) >= p.backoff.Healthy {
		p.failures = 0
	}
	p.pid = 0
	return p.fail(now)
}

// fail plans the next start.
func (p *process) fail(now time.Time) time.Duration {
	delay := time.Duration(0)
	if p.failures > 0 {
		delay = p.backoff.First
		for i := 1; i < p.failures && delay < p.backoff.Max; i++ {
			delay *= 2
		}
		delay = min(delay, p.backoff.Max)
	}
	p.failures++
	p.due = now.Add(delay)
	return delay
}

// spawn starts the process with one end of a new pair as descriptor 3 and gives
// the other, which the caller owns.
func (r *reaper) spawn(p *process, now time.Time) (int, bool) {
	mine, theirs, err := wire.Pair()
	if err != nil {
		r.spawnFailed(p, now, err)
		return -1, false
	}
	env := append(os.Environ(), revisionVariable+"="+strconv.Itoa(revision))
	started := r.execute(p, now, env, uintptr(theirs))
	unix.Close(theirs)
	if !started {
		unix.Close(mine)
		return -1, false
	}
	return mine, true
}

// execute starts the process with the reaper's standard streams and, from
// descriptor 3 on, more.
func (r *reaper) execute(p *process, now time.Time, env []string, more ...uintptr) bool {
	path := r.executable()
	if p == &r.supervisor && p.failures >= emergencyAfter && p.failures%2 == 0 {
		// Perhaps somebody has put a better one there: without a supervisor there is
		// no other way to it. See protocol for what that means.
		path = r.config.Exe
	}
	if p.apart {
		// It is what children are copies of until they execute something.
		env = []string{}
		if fd, err := sealed(path); err == nil {
			defer unix.Close(fd)
			if r.hasProc() {
				path = "/proc/self/fd/" + strconv.Itoa(fd)
			}
		}
	}
	pid, err := syscall.ForkExec(path, p.argv, &syscall.ProcAttr{
		Env:   env,
		Files: append([]uintptr{0, 1, 2}, more...),
		// A session of its own: what is typed at a terminal is for the reaper
		// to pass on.
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		r.spawnFailed(p, now, err)
		return false
	}
	p.pid, p.started = pid, now
	r.score(p)
	return true
}

// sealed gives a file for executing it that cannot be opened for writing by way
// of /proc/PID/exe, whoever opens it: it is on a read-only mount of its own, which
// belongs to no mount namespace once the descriptor is closed, so that nobody can
// make it writable again. It takes CAP_SYS_ADMIN; without it nobody is above the
// daemon's user who could not write the file anyway.
func sealed(path string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (r *reaper) spawnFailed(p *process, now time.Time, err error) {
	// Never at once: what failed just now would fail again.
	p.failures = max(p.failures, 1)
	delay := p.fail(now)
	why := "cannot start the " + p.name + ": " + err.Error()
	r.log(why + "; next try in " + delay.String())
	if p == &r.supervisor {
		r.despair(why)
	}
}

// executable is the path by which the running binary can be executed again, even
// if its file was replaced or removed.
func (r *reaper) executable() string {
	if r.exe >= 0 && r.hasProc() {
		return "/proc/self/fd/" + strconv.Itoa(r.exe)
	}
	return r.config.Exe
}

// startDue starts what shall run and does not.
func (r *reaper) startDue(now time.Time) {
	if r.exiting {
		return
	}
	r.startEmergency(now)
	starting := r.supervisor.pid == 0 && !now.Before(r.supervisor.due)
	if (starting || r.conn != nil) && r.launcher.pid == 0 && !now.Before(r.launcher.due) {
		if fd, ok := r.spawn(&r.launcher, now); ok {
			r.table.launchers++
			r.launcherConn = fd
		}
	}
	if starting {
		if fd, ok := r.spawn(&r.supervisor, now); ok {
			r.table.supervisors++
			r.connect(fd)
			r.watch.begin(now)
		}
	}
}

// supervisorEnded is called when the supervisor has been reaped.
func (r *reaper) supervisorEnded(info childInfo, now time.Time) {
	pid := r.supervisor.pid
	if r.watch.barked {
		// It may have lived for long, but was not well.
		r.supervisor.started = now
	}
	delay := r.supervisor.ended(now)
	if r.conn != nil {
		// What it sent before it ended still counts.
		r.readRequests(true)
	}
	if r.conn != nil {
		r.disconnect()
	}
	r.retireLauncher()
	if !r.exiting {
		why := "supervisor " + strconv.Itoa(pid) + " " + describe(info)
		r.log(why + "; next start in " + delay.String())
		r.despair(why)
	}
}

// launcherEnded is called when the launcher has been reaped.
func (r *reaper) launcherEnded(info childInfo, now time.Time) {
	pid := r.launcher.pid
	delay := r.launcher.ended(now)
	r.closeLauncherConn()
	r.log("launcher " + strconv.Itoa(pid) + " " + describe(info) + "; next start in " + delay.String())
}

// retireLauncher kills the launcher of a supervisor that is gone. It had no
// fault, so the next one does not wait.
func (r *reaper) retireLauncher() {
	r.closeLauncherConn()
	if r.launcher.pid != 0 {
		// Not yet reaped, so the pid is certainly its own.
		unix.Kill(r.launcher.pid, unix.SIGKILL)
		r.retired[r.launcher.pid] = true
		r.launcher.pid = 0
	}
	r.launcher.due = time.Time{}
}

// replaceLauncher kills a launcher that hangs. That is a fault of its own, which
// counts like an end.
func (r *reaper) replaceLauncher(now time.Time) {
	pid := r.launcher.pid
	if pid == 0 {
		return
	}
	r.retireLauncher()
	delay := r.launcher.ended(now)
	r.log("launcher " + strconv.Itoa(pid) + " is replaced, for the supervisor says that it hangs; next start in " + delay.String())
}

// closeLauncherConn closes the connection that is for the supervisor, if it has
// not yet been sent, and takes back the message that was to carry it.
func (r *reaper) closeLauncherConn() {
	if c := r.conn; c != nil && c.launching {
		c.sent()
	}
	if r.launcherConn >= 0 {
		unix.Close(r.launcherConn)
		r.launcherConn = -1
	}
}

// describe tells how a process ended.
func describe(info childInfo) string {
	if info.code == cldExited {
		return "exited with status " + strconv.Itoa(int(info.status))
	}
	return "was ended by signal " + strconv.Itoa(int(info.status)) + " (" + syscall.Signal(info.status).String() + ")"
}
