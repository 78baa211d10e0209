package supervisor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"berth/config"
	"berth/isolate/cgroup"
	"berth/reaper"
	"berth/supervisor/container"
	"berth/supervisor/core"
	"berth/supervisor/history"
	"berth/supervisor/idrange"
	"berth/supervisor/listen"
	"berth/supervisor/logs"
	"berth/supervisor/machine"
	"berth/units"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Config is what a supervisor is started with.
type Config struct {
	Directories  []string // of unit files, highest first
	RuntimeDir   string   // the control socket; gone at the next boot
	StateDir     string   // volumes, persistent layers, log files
	Socket       string   // of the control API
	Cgroup       string   // parent of berth.slice; "": the group berthd is in
	Slice        string   // name of the sub-tree; "": berth.slice
	Version      string
	ReadGroup    int // group ids that may read and operate; -1: root only
	OperateGroup int
	Manual       bool // changed unit files wait for berth apply
	History      int  // generations to keep
	// ShutdownTimeout is how long the stop of everything may take before what is
	// left is killed; 0: for ever.
	ShutdownTimeout time.Duration
	// Place is where berthd runs: what a shutdown comes to.
	Place machine.Place
	// ExitUnit is the unit whose end for good is everybody's, and whose exit code
	// is the daemon's; "": none.
	ExitUnit string
	// FinalTimeout bounds the last stage as PID 1, Final are the arguments that
	// this binary is executed with for it, before those of the stage itself, and
	// Again those for another start of berthd after a soft reboot.
	FinalTimeout time.Duration
	Final, Again []string
	Watchdogs    Watchdogs
	// Reread gives the watchdogs as the settings have them now. nil: they never change.
	Reread func() (Watchdogs, error)
	// Target is started at boot in place of all units with start = "boot"; "": those.
	Target string
	Log    *zap.Logger
	// Level is that of Log, which signals change, and ReopenLog has Log written to
	// its place anew. nil: that is not done.
	Level     *zap.AtomicLevel
	ReopenLog func()
}

// Supervisor is one running supervisor. All fields below "loop" belong to the
// loop goroutine alone.
type Supervisor struct {
	cfg      Config
	log      *zap.Logger
	reaper   *reaper.Client
	tree     *cgroup.Tree
	lock     *lock // held for life
	logs     *logs.Manager
	left     leftovers
	relapses *relapses
	env      container.Environment
	started  time.Time
	hand     handover
	launcher launcherSlot
	turns    turns
	// notifyFiles is the directory of the notification sockets' files.
	notifyFiles *os.File
	inbox       chan func()
	done        chan struct{} // closed when the loop has ended
	events      broadcaster
	execID      atomic.Uint64
	history     *history.Store
	writing     queue       // to the history
	calm        calm        // in which nothing is written there
	stamps      stampKeeper // of the timers, over boots
	reading     sync.Mutex  // held by who reads the unit files and takes them up: see reload
	lastRead    *config.Set // by readUnits
	// probeForks has room for as many exec probes as may be started at a time.
	probeForks chan struct{}

	// loop
	state      *core.State
	snap       *snapshot
	runs       map[core.Incarnation]*run
	queues     map[string]*queue
	timers     map[timerKey]*time.Timer
	replies    map[uint64]chan core.Reply
	stuck      map[string]string // by unit: processes that were killed and do not end
	disk       *config.Set       // the unit files as they were read last, if they were valid
	sums       map[string]uint64 // of the files of what runs; nil: not known
	invalid    units.Diagnostics
	refused    string            // texts of the files that were told to be invalid
	pending    *waiting          // nil: nothing waits for berth apply
	held       map[string]string // by a rollback: see history.Record
	generation uint64            // that runs
	execs      map[uint64]*execution
	fds        map[string]*fdStore // by unit
	stopping   bool
	prepared   []string // the last stage that the reaper knows of
	abandoned  bool     // something could not be brought down
	reactions  []Reaction
	pressed    []time.Time               // ctrl-alt-del, of late
	zones      map[string]*time.Location // that calendars name
	sockets    map[string]*openSockets
	poller     *listen.Poller
	paths      *pathWatch
	vital      vital
}

// handover is what is told of the past, for status.
type handover struct {
	supervisors int
	orphans     uint64
}

// firstExecution begins the upper half of the start ids, that of hooks and execs;
// the lower one is that of incarnations.
const firstExecution = 1 << 63

type timerKey struct {
	unit  string
	timer core.Timer
}

// Run is a supervisor's life: it takes over what the reaper kept, loads the
// units, serves, and returns the exit code for the daemon after an orderly stop.
func Run(ctx context.Context, cfg Config, client *reaper.Client, hand *reaper.Handover) (int, error) {
	if err := os.MkdirAll(cfg.RuntimeDir, 0o755); err != nil {
		return 1, fmt.Errorf("cannot make the runtime directory: %w", err)
	}
	if err := os.MkdirAll(cfg.StateDir, 0o711); err != nil {
		return 1, fmt.Errorf("cannot make the state directory: %w", err)
	}
	held := newLock(client, hand)
	if err := held.directories(&cfg); err != nil {
		return 1, err
	}
	ordinary, err := container.OrdinaryUser()
	if err != nil {
		return 1, err
	}
	tree, err := cgroup.Open(cgroup.Options{Parent: cfg.Cgroup, Slice: cfg.Slice, Processes: family(), OrNone: ordinary != nil || cfg.Place == machine.Container})
	if err != nil {
		return 1, fmt.Errorf("cannot set up the cgroup tree: %w", err)
	}
	if h := tree.Describe().Hierarchies; len(h) > 0 {
		if err := held.take(h[0].Path, unix.O_RDONLY|unix.O_DIRECTORY, "the control group "+h[0].Path, "give this one its own --slice"); err != nil {
			return 1, err
		}
	}
	if ordinary != nil {
		cfg.Log.Info("running as an ordinary user", zap.Int("uid", os.Geteuid()), zap.Stringer("users", ordinary), zap.Stringer("cgroup", tree.Describe()))
	}
	if err := held.keep(); err != nil {
		return 1, err
	}
	s := &Supervisor{
		cfg: cfg, log: cfg.Log, reaper: client, tree: tree, lock: held,
		started:    time.Now(),
		hand:       handover{hand.Supervisors, hand.Orphans},
		turns:      newTurns(),
		calm:       newCalm(),
		inbox:      make(chan func(), 64),
		done:       make(chan struct{}),
		probeForks: make(chan struct{}, probeForks),
		runs:       map[core.Incarnation]*run{},
		queues:     map[string]*queue{},
		timers:     map[timerKey]*time.Timer{},
		replies:    map[uint64]chan core.Reply{},
		stuck:      map[string]string{},
		execs:      map[uint64]*execution{},
		zones:      map[string]*time.Location{},
		fds:        map[string]*fdStore{},
		sockets:    map[string]*openSockets{},
	}
	s.reactions = Reactions(cfg.Place)
	s.env = container.Environment{StateDir: cfg.StateDir, Unified: tree.Unified(), Legacy: tree.Legacy(), Optional: tree.Optional(), IDs: idrange.New(cfg.StateDir).For, Ordinary: ordinary}
	s.left = leftovers{filepath.Join(cfg.StateDir, "processes"), len(tree.Describe().Hierarchies) == 0, os.Getppid()}
	if s.logs, err = logs.NewManager(logs.Options{Dir: logDir(cfg.StateDir), Log: cfg.Log, Console: os.Stderr}); err != nil {
		return 1, fmt.Errorf("cannot set up logging of units: %w", err)
	}
	if s.notifyFiles, err = notifyDir(cfg.RuntimeDir); err != nil {
		return 1, err
	}
	defer s.notifyFiles.Close()
	// A random start keeps those of an earlier supervisor from being taken for ours.
	s.execID.Store(firstExecution | uint64(rand.Uint32())<<24)

	if hand.Launcher != nil {
		s.launcher.set(hand.Launcher)
	}
	if s.relapses, err = takeRelapses(hand.Stored, client.Store); err != nil {
		return 1, err
	}
	s.relapses.listen(s.log)
	settled := time.AfterFunc(relapseTime, func() { s.relapses.set(0) })
	defer settled.Stop()
	s.openHistory()
	if err := s.left.end(hand.Registered, s.log); err != nil {
		return 1, err
	}
	s.stamps.begin(cfg.StateDir, cfg.Log)
	if s.poller, err = listen.NewPoller(); err != nil {
		return 1, err
	}
	defer s.poller.Close()
	s.paths = newPathWatch()
	go s.watchPaths()
	s.adoptWatchdog(hand)
	if err := s.takeOver(hand); err != nil {
		return 1, err
	}
	// First what may fail for good: no unit may have been started then. Requests
	// that come already wait for the loop.
	server, err := s.serve(ctx)
	if err != nil {
		return 1, err
	}
	defer server.Close()
	s.prepareLast()
	s.state.ShutdownLimit, s.state.ExitUnit = cfg.ShutdownTimeout, cfg.ExitUnit
	clock, err := s.watchClock()
	if err != nil {
		return 1, err
	}
	defer clock.Close()
	if cfg.Place == machine.Machine {
		go s.keepClock()
	}
	changes, err := s.watch(ctx)
	if err != nil {
		return 1, err
	}
	if s.relapses.salvaged {
		s.rouse()
	}
	s.beginVital(cfg.Watchdogs)
	code := s.loop(ctx, changes)
	return code, nil
}

// loop runs until everything is down after a shutdown.
func (s *Supervisor) loop(ctx context.Context, changes <-chan struct{}) int {
	defer close(s.done)
	var waits <-chan time.Time // once everything is being stopped
	for {
		if s.stopping && waits == nil {
			t := time.NewTicker(waitTold)
			defer t.Stop()
			waits = t.C
		}
		// Also at first: an earlier supervisor may have ended after its last step.
		if s.stopping && s.state.Done {
			s.finish()
			s.prepareLast() // with the exit code that is known now
			return s.exitCode()
		}
		select {
		case f := <-s.inbox:
			f()
		case ev, ok := <-s.reaper.Events():
			if !ok {
				// Without a reaper nobody waits for anything: there is nothing to be done here.
				s.log.Error("the reaper is gone")
				s.left.endWithReaper(s.log)
				return 1
			}
			s.onReaper(ev)
		case <-s.vital.wakes():
			s.live()
		case <-waits:
			s.tellWaits()
		case <-changes:
			s.reloadLater("files changed")
		}
	}
}

// post hands f to the loop; it is dropped when the loop has ended.
func (s *Supervisor) post(f func()) {
	select {
	case s.inbox <- f:
	case <-s.done:
	}
}

// ask runs f in the loop and waits for it.
func (s *Supervisor) ask(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	select {
	case s.inbox <- func() { f(); close(ran) }:
	case <-s.done:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-ran:
		return nil
	case <-s.done:
	}
	select {
	case <-ran: // it was the loop's last
		return nil
	default:
		return errStopped
	}
}

// step gives the core one event, writes down what changed, and only then acts.
func (s *Supervisor) step(ev core.Event) {
	if s.reaper.Lost() {
		// The next supervisor goes on from here. That a start or a hook has failed
		// for want of the reaper would be a failure of the unit's to it.
		return
	}
	effects := core.Step(s.state, s.input(ev, rand.Float64()))
	s.record()
	s.shuttingDownNow()
	for _, e := range effects {
		s.do(e)
	}
	if len(s.stuck) > 0 {
		s.answerStuck()
	}
}

func (s *Supervisor) record() {
	if err := s.snap.record(s.state); err != nil {
		// Going on is better than stopping: only a crash before the next
		// successful record would lose what this one holds.
		s.log.Error("cannot record the state", zap.Error(err))
	}
}

// onReaper takes what the reaper tells.
func (s *Supervisor) onReaper(ev reaper.Event) {
	switch ev := ev.(type) {
	case reaper.Exit:
		s.onExit(ev)
	case reaper.Launcher:
		s.launcher.set(ev.Conn)
	case reaper.Signal:
		s.onSignal(ev.Signal)
	case reaper.EmergencyEnded:
		s.onEmergencyEnded()
	}
}

// finish releases what the supervisor itself holds, at an orderly end.
func (s *Supervisor) finish() {
	for _, t := range s.timers {
		t.Stop()
	}
	s.logs.Close()
	s.written()
	s.stamps.jobs.drain()
	s.keepForBoot()
	s.releaseWatchdog()
	if e := s.state.Ending; e != nil && e.Force {
		return // what is left in the groups is not waited for
	}
	if err := s.tree.Remove(); err != nil {
		s.log.Warn("cannot remove the cgroup tree", zap.Error(err))
	}
	if !s.abandoned {
		s.log.Info("everything is down")
	}
}
