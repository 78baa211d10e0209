package reaper

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"berth/reaper/internal/wire"

	"golang.org/x/sys/unix"
)

const (
	// reapBatch is how many processes are looked at before the loop turns to
	// everything else again.
	reapBatch = 512
	// exitGrace is how long the supervisor has to end after it asked for the
	// reaper's exit.
	exitGrace = 10 * time.Second
	// wantedFiles is the limit on open files that the reaper raises itself to
	// where it may.
	wantedFiles = 1 << 19
)

// Config is what a reaper is started with.
type Config struct {
	// Supervisor and Launcher are the arguments, the first included, with which
	// this binary is executed as the one and the other. Each finds its
	// connection as descriptor 3 and begins with Harden; the supervisor calls
	// Connect, the launcher launcher.Serve. Both end when that connection does.
	Supervisor, Launcher []string
	// Endings are the signals that ask for an end: each supervisor is told one that
	// came, and not only the first. nil: TERM, INT, QUIT and PWR.
	Endings []syscall.Signal
	// Exe is the path of this binary, which Reexec executes anew; "": what the
	// kernel says it was executed from.
	Exe string
	// Emergency are the arguments with which this binary is executed as the
	// emergency role: by a reaper that is PID 1 whose supervisor cannot be kept
	// alive, or when that asks for it (Client.Emergency). It finds standard
	// streams of the reaper's own, a session of its own, and the reason in
	// EmergencyVariable; taking a console is its own doing. nil: there is none.
	Emergency []string
	// Log takes one line for the administrator, without an end of line. nil:
	// to /dev/kmsg as PID 1, else to standard error. It must not block.
	Log func(line string)
	// Backoff is for both processes; the zero value is DefaultBackoff.
	Backoff Backoff
}

// reaper is the state of Run; one goroutine owns it.
type reaper struct {
	config Config
	log    func(string)
	exe    int // O_PATH descriptor of the running binary, or -1
	proc   bool
	maxFDs int
	inbox  *inbox
	table  *table

	supervisor, launcher process
	emergency            process
	emergencyWanted      string       // why it is to be started; "": it is not
	emergencyOver        bool         // it ended, and the supervisor is to be told
	watch                watchdog     // over the supervisor
	finish               finish       // how PID 1 goes on at the end
	retired              map[int]bool // launchers that were killed and not yet reaped
	conn                 *conn        // nil: no supervisor is connected
	launcherConn         int          // not yet given to the supervisor; -1: none
	spared               bool         // the kernel is told not to kill this process for its memory
	othersScore          int          // then: the score of what it starts
	buffers              wire.Buffers
	signals              []syscall.Signal // not yet given to the supervisor

	reapDue  bool
	reapAt   time.Time // when children could not be listed: the next try; zero: they could
	sweep    []int     // children still to be looked at
	sweeping bool

	exiting  bool
	exitCode int
	exitBy   time.Time
}

// Run is the reaper. It makes this process a child subreaper if it is not PID 1
// and returns the exit code for it when a supervisor has asked for that, or 1
// when it cannot begin. It changes signal handling, limits and the garbage
// collector of the whole process, sets close-on-exec on every descriptor above
// 2, and waits for all children: it is the only thing that its process does.
func Run(config Config) int {
	runtime.LockOSThread()
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(20)
	r := &reaper{config: config, log: config.Log, launcherConn: -1, retired: map[int]bool{}, reapDue: true}
	if r.log == nil {
		r.log = defaultLog()
	}
	if config.Backoff == (Backoff{}) {
		config.Backoff = DefaultBackoff
	}
	r.supervisor = process{name: "supervisor", argv: config.Supervisor, backoff: config.Backoff}
	r.launcher = process{name: "launcher", argv: config.Launcher, backoff: config.Backoff, apart: true}
	r.emergency = process{name: "emergency shell", argv: config.Emergency, backoff: config.Backoff}
	if err := r.prepare(); err != nil {
		r.log("cannot begin as the reaper: " + err.Error())
		return 1
	}
	r.resume()
	r.othersScore, r.spared = spareSelf()
	r.loop()
	return r.exitCode
}

// prepare sets this process up.
func (r *reaper) prepare() error {
	// Also what the reaper's predecessor handed over by execve.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return os.NewSyscallError("close_range", err)
	}
	if os.Getpid() != 1 {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
		}
	}
	if err := Harden(); err != nil {
		return err
	}
	r.maxFDs = raiseFiles()
	warmUp()
	var err error
	if r.inbox, err = listen(); err != nil {
		return err
	}
	// A reaper that re-executed itself did so with its signals blocked.
	setMask(false)
	if r.config.Exe == "" {
		if r.config.Exe, err = os.Executable(); err != nil {
			return err
		}
	}
	r.openExecutable()
	return nil
}

// openExecutable keeps the running binary at hand for the processes to come.
func (r *reaper) openExecutable() {
	path := r.config.Exe
	if r.hasProc() {
		path = "/proc/self/exe"
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		r.log("cannot open " + path + ": " + err.Error() + "; " + r.config.Exe + " is used by its path")
		fd = -1
	}
	r.exe = fd
}

// hasProc reports whether /proc can be used. It may be mounted later.
func (r *reaper) hasProc() bool {
	if !r.proc {
		r.proc = procIsOwn()
	}
	return r.proc
}

// raiseFiles raises the limit on open files as far as it goes and gives it.
func raiseFiles() int {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		return 1024
	}
	for _, hard := range []uint64{max(now.Max, wantedFiles), now.Max} {
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: hard, Max: hard}) == nil {
			return int(min(hard, 1<<30))
		}
	}
	return int(min(now.Cur, 1<<30))
}

// loop runs until the reaper shall end.
func (r *reaper) loop() {
	for {
		now := time.Now()
		if !r.reapAt.IsZero() && !now.Before(r.reapAt) {
			r.reapDue, r.reapAt = true, time.Time{}
		}
		r.startDue(now)
		if r.reapDue || r.sweeping {
			r.reap(now)
		}
		r.flush(now)
		r.guard(now)
		r.tryFinish(now)
		if r.ended() && !r.finish.set() {
			r.reapRest()
			return
		}
		if r.exiting && r.supervisor.pid != 0 && !now.Before(r.exitBy) {
			unix.Kill(r.supervisor.pid, unix.SIGKILL)
			r.exitBy = now.Add(exitGrace)
		}
		r.wait()
	}
}

// wait blocks until something is to be done, and does what the supervisor asks.
func (r *reaper) wait() {
	polled := []unix.PollFd{{Fd: int32(r.inbox.fd), Events: unix.POLLIN}}
	if r.conn != nil {
		polled = append(polled, unix.PollFd{Fd: int32(r.conn.fd), Events: r.conn.wants()})
	}
	// EINTR is as good as an event: the next round looks at everything.
	if n, err := unix.Poll(polled, r.timeout(time.Now())); err != nil || n == 0 {
		polled = polled[:0]
	}
	child, signals := r.inbox.take()
	r.reapDue = r.reapDue || child
	for _, s := range signals {
		r.queueSignal(s)
	}
	if len(polled) == 2 && r.conn != nil {
		events := polled[1].Revents
		if events&unix.POLLOUT != 0 {
			r.conn.full = false
		}
		if gone := events&(unix.POLLHUP|unix.POLLERR) != 0; gone || events&unix.POLLIN != 0 {
			r.readRequests(gone)
			if gone && r.conn != nil {
				r.disconnect()
			}
		}
	}
}

// queueSignal adds a signal for the supervisor unless the same already waits.
func (r *reaper) queueSignal(s syscall.Signal) {
	for _, waiting := range r.signals {
		if waiting == s {
			return
		}
	}
	r.signals = append(r.signals, s)
}

// timeout gives the milliseconds until something is due, or -1.
func (r *reaper) timeout(now time.Time) int {
	if r.reapDue || r.sweeping {
		return 0
	}
	var due time.Time
	planned := false
	if !r.reapAt.IsZero() {
		due, planned = r.reapAt, true
	}
	sooner := func(t time.Time) {
		if !planned || t.Before(due) {
			due, planned = t, true
		}
	}
	if r.finish.set() {
		sooner(r.finish.due(r.ended()))
	}
	if r.watch.armed() && r.supervisor.pid != 0 {
		sooner(r.watch.due)
	}
	if r.exiting {
		if r.supervisor.pid != 0 {
			sooner(r.exitBy)
		}
	} else {
		if r.emergencyWanted != "" && r.emergency.pid == 0 {
			sooner(r.emergency.due)
		}
		if r.supervisor.pid == 0 {
			sooner(r.supervisor.due)
		}
		if r.launcher.pid == 0 && r.conn != nil {
			sooner(r.launcher.due)
		}
	}
	if c := r.conn; c != nil && now.Before(c.retry) {
		sooner(c.retry)
	} else if c != nil && !c.full && (len(c.next) > 0 || c.stage != stageLive || len(c.replies) > 0 ||
		len(c.exits) > 0 || len(r.signals) > 0 || r.launcherConn >= 0 || r.emergencyOver) {
		return 0
	}
	if !planned {
		return -1
	}
	left := due.Sub(now)
	if left <= 0 {
		return 0
	}
	return int((left + time.Millisecond - 1) / time.Millisecond)
}

// exit begins the reaper's end.
func (r *reaper) exit(code int) {
	r.exiting, r.exitCode, r.exitBy = true, code, time.Now().Add(exitGrace)
	r.watch = watchdog{} // exitBy watches from here on
	r.retireLauncher()
	r.log("ends with status " + strconv.Itoa(code) + " when the supervisor has ended")
}
