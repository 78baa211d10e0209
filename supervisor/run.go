package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"berth/isolate"
	"berth/isolate/cgroup"
	"berth/reaper"
	"berth/supervisor/container"
	"berth/supervisor/core"
	"berth/supervisor/logs"
	"berth/supervisor/notify"
	"berth/units"

	"go.uber.org/zap"
)

// run is one incarnation of a unit: its group, its log, its main process. It is
// made by the loop; mu guards what the unit's worker fills in while others read.
type run struct {
	unit   string
	id     core.Incarnation
	side   core.Side
	cancel context.CancelFunc // gives up the spawn
	alive  context.Context    // until the main process has exited: hooks inside its container end with it
	dead   context.CancelFunc

	// owned by the loop
	settled bool         // the core was told what became of the start
	spawned bool         // and that was Spawned
	first   *reaper.Exit // nil: the process that was started has not ended, or there was none
	killed  time.Time    // when its group was first
	exit    *reaper.Exit // nil: the main process, which may have become another, has not ended
	// registered is the main process that the reaper will tell the end of, if it is
	// not the one that was started; nil: it is that one, or none.
	registered *process
	listens    bool // for notifications
	// unawaited ends the wait for what [ready] says.
	unawaited context.CancelFunc
	// checking lasts until the unit leaves Running; unchecked ends it, so that a
	// stop finds no probe in the group.
	checking  context.Context
	unchecked context.CancelFunc

	// owned by the worker, and by the loop after Release
	left  []core.Process // killed when the main process had ended
	empty bool           // the group is empty and removed

	signals queue         // what the loop has sent; drained before the group is released
	exited  chan struct{} // closed with first
	known   chan struct{} // closed when the core was told of the start
	looks   chan struct{} // has room for one look at the container's files

	taking  sync.Mutex                // held while a notification is taken
	refused bool                      // belongs to listen
	heard   atomic.Pointer[time.Time] // when WATCHDOG=1 came last

	mu         sync.Mutex
	cfg        *units.Unit
	limits     cgroup.Limits
	distrusted bool // the group may have other limits than these: a supervisor died while it changed them
	group      *cgroup.Group
	streams    *logs.Streams
	proc       *process
	former     []*process // main processes before, whether they live or not
	notify     *notify.Socket
	access     string         // whose notifications count: main, all, none
	readyNear  *os.File       // the pipe of [ready] fd; nil: there is none
	readyFar   *os.File       // the end of it that is the program's, until it is passed on
	oomKills   uint64         // of the group, before this incarnation
	emulated   syscall.Signal // signal whose default action was carried out by KILL
}

// process is a forked program, registered with the reaper.
type process struct {
	pid   int
	pidfd *os.File
}

// groupName names the control group of a unit's instance. Where a unit is
// replaced, its instances have the two names in turn; the second is none that a
// unit can have.
func groupName(unit string, side core.Side) string {
	if side == core.Second {
		return unit + secondGroup
	}
	return unit + ".service"
}

const secondGroup = ":2.service"

// unitOfGroup is the reverse of groupName; ok is false for a name that is none of its.
func unitOfGroup(name string) (unit string, side core.Side, ok bool) {
	if unit, ok = strings.CutSuffix(name, secondGroup); ok {
		return unit, core.Second, true
	}
	unit, ok = strings.CutSuffix(name, ".service")
	return unit, core.First, ok
}

// storeName names what the reaper keeps for an incarnation.
func storeName(kind string, id uint64) string { return kind + "/" + strconv.FormatUint(id, 10) }

func newRun(unit string, id core.Incarnation, side core.Side, cfg *units.Unit) *run {
	r := &run{unit: unit, id: id, side: side, cfg: cfg, cancel: func() {}, unawaited: func() {}, exited: make(chan struct{}), known: make(chan struct{}), looks: make(chan struct{}, 1)}
	r.alive, r.dead = context.WithCancel(context.Background())
	r.checking, r.unchecked = context.WithCancel(r.alive)
	return r
}

// startTimeout bounds a start; negative: nothing does.
func startTimeout(u *units.Unit) time.Duration {
	if timeout := time.Duration(u.Service.StartTimeout); timeout != 0 {
		return timeout
	}
	return isolate.DefaultStartTimeout
}

// startContext is that of a start, until its timeout or the cancel.
func startContext(u *units.Unit) (context.Context, context.CancelFunc) {
	if timeout := startTimeout(u); timeout > 0 {
		return context.WithTimeout(context.Background(), timeout)
	}
	return context.WithCancel(context.Background())
}

func (s *Supervisor) startRun(e core.Spawn) {
	ctx, cancel := startContext(e.Config)
	r := newRun(e.Unit, e.Incarnation, s.state.Side(e.Unit, e.Incarnation), e.Config)
	r.cancel = cancel
	s.runs[e.Incarnation] = r
	s.enqueue(r, func() {
		err := s.spawn(ctx, r)
		cancel()
		s.post(func() { s.spawnEnded(r, err) })
	})
}

// errInterrupted is a start that was lost with a launcher or a supervisor
// before anything of it was executed.
var errInterrupted = errors.New("the start was interrupted")

// spawn does all of a start. On failure the child, if there was one, is dead;
// group and streams stay for Release.
func (s *Supervisor) spawn(ctx context.Context, r *run) error {
	forked := s.turns.take(ctx)
	defer forked()
	env := s.env
	env.Sealed = s.launcher.sealed()
	if err := s.probesReach(r.cfg); err != nil {
		return err
	}
	if err := s.makeNotify(r); err != nil {
		return err
	}
	defer s.hideNotify(r)
	env.Notify = s.notifyPath(r.id, r.cfg)
	c, err := build(ctx, r.cfg, env)
	if err != nil {
		return err
	}
	if len(c.UnknownCalls) > 0 {
		s.log.Warn("the seccomp profile names calls that no architecture has", zap.String("unit", r.unit), zap.Strings("calls", c.UnknownCalls))
	}
	group, err := s.tree.Group(groupName(r.unit, r.side))
	if err != nil {
		return err
	}
	if err := s.makeStreams(r); err != nil {
		return err
	}
	s.watchLog(r)
	files, err := r.stdio()
	if err != nil {
		return err
	}
	defer files.close()
	if err := s.passDescriptors(ctx, r, c.Spec, files); err != nil {
		return err
	}
	if err := s.joined(ctx, r.cfg, files); err != nil {
		return err
	}
	c.Spec.Process.OwnOutput = s.env.Ordinary != nil && len(files.toChown) > 0
	prog, err := isolate.Compile(c.Spec)
	if err != nil {
		return err
	}
	_, err = s.launch(ctx, launch{
		id: uint64(r.id), program: prog, files: files, group: group, furnish: func() error { return s.makeGroup(r, group, c.Limits) },
		keep: r.kept(), settles: true, delegate: r.cfg.Cgroup.Delegate, exited: r.exited,
		forked: func(p *process) { r.mu.Lock(); r.proc = p; r.mu.Unlock(); forked() },
	})
	return err
}

// build translates a unit. It reads files that the unit names; one that does not
// answer, on a file system of another machine, is left to itself when ctx ends.
func build(ctx context.Context, u *units.Unit, env container.Environment) (*container.Container, error) {
	type result struct {
		c   *container.Container
		err error
	}
	done := make(chan result, 1)
	go func() {
		c, err := container.Build(u, env)
		done <- result{c, err}
	}()
	select {
	case r := <-done:
		return r.c, r.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, errors.New("cannot read what the unit names on the host (environment files, a seccomp profile, devices): it did not answer in time")
		}
		return nil, ctx.Err()
	}
}

// kept are the descriptors that the reaper keeps for a run.
func (r *run) kept() map[string][]*os.File {
	all := map[string][]*os.File{}
	maps.Copy(all, r.streams.Descriptors())
	if r.notify != nil {
		all[storeName("notify", uint64(r.id))] = []*os.File{r.notify.File()}
	}
	if r.readyNear != nil {
		all[storeName("ready", uint64(r.id))] = []*os.File{r.readyNear}
	}
	return all
}

// supported leaves out the limits that this host cannot set and that a unit can
// do without, with a warning. Others that it cannot set are an error.
func (s *Supervisor) supported(unit string, l cgroup.Limits) (cgroup.Limits, error) {
	limits, missing, err := s.tree.Supported(l)
	for _, m := range missing {
		if !m.Soft {
			return l, m
		}
		s.log.Warn("going on without a limit", zap.String("unit", unit), zap.Error(m))
	}
	return limits, err
}

// killOnOOM does what memory.oom.group does on v2 where the kernel cannot: when
// it has killed one process of the group for lack of memory, more than seen, the
// rest follows.
func (s *Supervisor) killOnOOM(r *run, group *cgroup.Group, seen uint64) {
	if s.tree.Describe().OOMGroup {
		return
	}
	go func() {
		if _, err := group.WaitOOM(r.alive, seen); err != nil {
			return
		}
		// By the loop: once the main process has ended, the group may be that of
		// the next incarnation.
		s.post(func() {
			if r.exit == nil {
				s.killGroup(r)
			}
		})
	}()
}

// furnish makes what a run's programs share, if it is not there: its group with
// the limits, and its log streams. Both stay until Release.
func (s *Supervisor) furnish(r *run, c *container.Container) error {
	group, err := s.tree.Group(groupName(r.unit, r.side))
	if err != nil {
		return err
	}
	if err := s.makeGroup(r, group, c.Limits); err != nil {
		return err
	}
	return s.makeStreams(r)
}

func (s *Supervisor) makeGroup(r *run, group *cgroup.Group, l cgroup.Limits) error {
	if r.group != nil && r.group.Exists() {
		return nil
	}
	limits, err := s.supported(r.unit, l)
	if err != nil {
		return err
	}
	if err := group.Create(limits); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.group, r.limits, r.distrusted = group, limits, false
	r.oomKills, _ = group.OOMKills()
	return nil
}

func (s *Supervisor) makeStreams(r *run) error {
	if r.streams != nil {
		return nil
	}
	streams, err := s.logs.NewStreams(r.unit, uint64(r.id), r.cfg.Log)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams = streams
	return nil
}

// spawnEnded tells the core how a spawn went, and then an exit that was faster.
func (s *Supervisor) spawnEnded(r *run, err error) {
	r.settled = true
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("did not start within %s", startTimeout(r.cfg))
		} else if errors.Is(err, context.Canceled) {
			err = errors.New("the start was given up")
		}
		s.log.Warn("cannot start unit", zap.String("unit", r.unit), zap.Error(err))
		s.step(core.SpawnFailed{Unit: r.unit, Incarnation: r.id, Reason: r.failure(err), Temporary: errors.Is(err, errInterrupted)})
		close(r.known)
		if r.first != nil {
			s.ack(r.first.Seq)
		}
		return
	}
	r.spawned = true
	if r.cfg.Cgroup.OOMGroup {
		s.killOnOOM(r, r.group, r.oomKills)
	}
	if r.streams != nil {
		r.streams.SetMainPID(r.proc.pid)
	}
	s.step(core.Spawned{Unit: r.unit, Incarnation: r.id, PID: r.proc.pid})
	close(r.known)
	s.listening(r)
	if r.first != nil {
		s.mainExited(r, *r.first)
	}
}

// failure says why a start failed, and what to try where a step knows that.
func (r *run) failure(err error) string {
	reason := err.Error()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.group != nil {
		if n, err := r.group.OOMKills(); err == nil && n > r.oomKills {
			reason += ": out of memory"
		}
	}
	if step := (*isolate.StepError)(nil); errors.As(err, &step) && step.Hint != "" {
		reason += " (" + step.Hint + ")"
	}
	return reason
}

// update takes up a changed configuration: new limits, new log settings. Done by
// the unit's worker, which alone changes what it reads here; mu is not held while
// the kernel works, for the loop waits for that.
func (s *Supervisor) update(r *run, cfg *units.Unit) error {
	limits, err := container.Limits(cfg)
	if err != nil {
		return err
	}
	if limits, err = s.supported(r.unit, limits); err != nil {
		return err
	}
	if r.group != nil {
		if r.distrusted {
			err = r.group.Set(limits)
		} else {
			err = r.group.Update(r.limits, limits)
		}
		if err != nil {
			return err
		}
		if limits.OOMGroup && !r.limits.OOMGroup {
			s.killOnOOM(r, r.group, r.oomKills)
		}
	}
	if r.streams != nil {
		if err := r.streams.Update(cfg.Log); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limits, r.distrusted, r.cfg = limits, false, cfg
	return nil
}

// release kills and removes all that is left of an incarnation.
func (s *Supervisor) release(e core.Release) {
	r := s.runs[e.Incarnation]
	if r == nil { // nothing was ever made, or it was released before a crash
		r = newRun(e.Unit, e.Incarnation, s.state.Side(e.Unit, e.Incarnation), nil)
	}
	s.enqueue(r, func() {
		s.releaseRun(r)
		s.post(func() {
			delete(s.runs, e.Incarnation)
			if u, ok := s.state.Unit(e.Unit); ok && u.LastStop != nil && u.LastStop.Incarnation == e.Incarnation {
				s.step(core.Emptied{Unit: e.Unit, Incarnation: e.Incarnation, Left: r.left, Empty: r.empty})
			}
			s.step(core.Released(e))
		})
	})
}

// releaseTimeout bounds one attempt to empty a group; it is tried again until
// it succeeds, for a unit whose processes are still there must not be started.
const releaseTimeout = 10 * time.Second

// clearGroup kills what is in the run's group and removes it. It gives false
// only when the supervisor ends first.
func (s *Supervisor) clearGroup(r *run) bool {
	r.signals.drain() // what was meant for those who were in it
	r.empty = false
	if r.group == nil {
		group, err := s.tree.Group(groupName(r.unit, r.side))
		if err != nil {
			return true // no name of a group: there never was one
		}
		r.mu.Lock()
		r.group = group
		r.mu.Unlock()
	}
	if r.left == nil {
		r.left, _ = named(r.group)
		r.left = slices.DeleteFunc(r.left, func(p core.Process) bool { return r.proc != nil && p.PID == r.proc.pid })
	}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		err := r.group.Kill()
		if err == nil {
			err = r.group.WaitEmpty(ctx)
		}
		cancel()
		if err == nil {
			err = r.group.Remove()
		}
		if err == nil {
			r.empty = !s.tree.None()
			return true
		}
		s.log.Warn("cannot empty the unit's group, will try again", zap.String("unit", r.unit), zap.Error(err))
		s.post(func() { s.tellStuck(r) })
		select {
		case <-time.After(time.Second):
		case <-s.done:
			return false
		}
	}
}

func (s *Supervisor) releaseRun(r *run) {
	if !s.clearGroup(r) {
		return
	}
	// The group is empty and the main process has exited: the log ends here.
	if r.streams != nil {
		if err := r.finishLog(); err != nil {
			s.log.Warn("cannot finish the unit's log", zap.String("unit", r.unit), zap.Error(err))
		}
		r.streams.Close()
	}
	r.dead()
	s.closeNotify(r)
	if r.readyNear != nil {
		r.readyNear.Close()
	}
	for _, p := range append(r.former, r.proc) {
		if p != nil {
			p.pidfd.Close() // who still uses it is told that the process is gone
		}
	}
	for _, kind := range []string{"log", "status", "notify", "main", "ready"} {
		_ = s.reaper.Drop(storeName(kind, uint64(r.id))) // not there: nothing to drop
	}
}

// finishLog waits until all that the unit has written is where it belongs. A
// journald that stays away must not hold up the unit for ever: after a while
// what is left goes to a file.
func (r *run) finishLog() error {
	finish := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		defer cancel()
		return r.streams.Finish(ctx)
	}
	if finish() == nil {
		return nil
	}
	cfg := r.cfg.Log
	cfg.Target = "file"
	if err := r.streams.Update(cfg); err != nil {
		return err
	}
	return finish()
}
