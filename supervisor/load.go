package supervisor

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"berth/config"
	"berth/supervisor/api"
	"berth/supervisor/core"
	"berth/supervisor/history"
	"berth/units"

	"go.uber.org/zap"
)

func logDir(stateDir string) string { return filepath.Join(stateDir, "log") }

// inLoop runs f in the loop and waits for it, or runs it at once where there is
// no loop yet.
type inLoop func(f func()) error

// watch starts to watch the unit directories and takes up what they hold now;
// watching comes first, so that no change falls between. Called before the loop.
func (s *Supervisor) watch(ctx context.Context) (<-chan struct{}, error) {
	changes, err := config.Watch(ctx, config.WatchOptions{Dirs: s.cfg.Directories, Log: s.log.Sugar().Warnf})
	if err != nil {
		return nil, err
	}
	s.begin(func(f func()) error { f(); return nil })
	return changes, nil
}

// readUnits reads the unit files. It is called by who holds reading.
func (s *Supervisor) readUnits() (*config.Set, error) {
	set, err := config.Load(config.Options{Dirs: s.cfg.Directories, Known: s.lastRead})
	if err == nil {
		s.lastRead = set
	}
	return set, err
}

// how is the way in which the unit files are taken up.
type how struct {
	author history.Author
	why    string // for the log
	// apply: by order, so that neither reload = "manual" nor a rollback holds it back.
	apply bool
}

// reload reads all unit files as a new generation and applies it, if it is valid
// and nothing holds it back. Many files, or a slow disk, must not hold up the
// loop: reading and writing are done by the caller, one at a time, so that none
// overtakes a later one.
func (s *Supervisor) reload(ctx context.Context, h how) (*api.Reload, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	return s.follow(s.ordered(ctx), h)
}

// ordered is the loop for something that is finished even if who asked for it
// has gone: what is written down must be done.
func (s *Supervisor) ordered(ctx context.Context) inLoop {
	ctx = context.WithoutCancel(ctx)
	return func(f func()) error { return s.ask(ctx, f) }
}

func (s *Supervisor) follow(in inLoop, h how) (*api.Reload, error) {
	set, failed := s.readUnits()
	var out api.Reload
	var next *taking
	stopping := false
	err := in(func() {
		if stopping = s.stopping; !stopping {
			out, next = s.decide(set, failed, h)
		}
	})
	if stopping {
		err = errStopped
	}
	if err != nil || next == nil {
		return &out, err
	}
	return s.takeUp(in, next)
}

// reloadLater is reload for the loop itself.
func (s *Supervisor) reloadLater(why string) {
	go func() {
		_, _ = s.reload(context.Background(), how{author: history.Author{Kind: history.KindFiles}, why: why}) // fails only when the supervisor ends
	}()
}

// taking is a generation that is to be taken up.
type taking struct {
	record history.Record
	units  map[string]*units.Unit
	sums   map[string]uint64 // of the files as they are; nil: not known
	why    string
	apply  bool
	boot   bool                   // the first one of this daemon: what is to start at boot is started
	known  bool                   // its record is there already
	good   map[string]*units.Unit // at boot: versions to go back to
	// warnings are about the files that it was read from.
	warnings units.Diagnostics
	// invalid is what is wrong with the files, where an earlier generation takes their place.
	invalid units.Diagnostics
}

// decide tells what becomes of unit files that were read: nothing, or the
// generation that is to be taken up. Called by the loop.
func (s *Supervisor) decide(set *config.Set, err error, h how) (api.Reload, *taking) {
	out := api.Reload{Generation: s.generation, Changes: config.Plan{}}
	switch {
	case err != nil:
		s.log.Error("cannot read the unit files", zap.Error(err))
		out.Diagnostics = units.Diagnostics{{Severity: units.Error, Message: err.Error()}}
		return out, nil
	case !set.Valid():
		s.refuse(set, h.author)
		out.Diagnostics = set.Diagnostics
		return out, nil
	}
	s.invalid, s.disk = nil, set
	plan := s.plan(set.Units, h.apply)
	changed := plan.Changed()
	out.Changes, out.Unchanged, out.Diagnostics = changed, len(plan)-len(changed), set.Diagnostics
	if s.generation > 0 && len(changed) == 0 && !s.withdrawn(set.Units) {
		s.settleFiles(set)
		return out, nil
	}
	if held := s.holdsBack(set); held != "" && !h.apply {
		s.wait(set, changed, held)
		out.Held = held
		return out, nil
	}
	return out, &taking{
		record: history.Record{Author: h.author, Files: s.changedFiles(set, changed), Texts: textsOf(set)},
		units:  set.Units, sums: set.Sums, warnings: set.Diagnostics, why: h.why, apply: h.apply, boot: s.generation == 0,
	}
}

// refuse keeps and tells what is wrong with the files.
func (s *Supervisor) refuse(set *config.Set, author history.Author) {
	s.invalid = set.Diagnostics
	var text strings.Builder
	set.Diagnostics.Format(&text, false)
	s.log.Error("the unit files are not valid, nothing was changed: see berth check", zap.String("diagnostics", text.String()))
	texts := textsOf(set)
	if s.refused == texts {
		return // told before
	}
	s.refused = texts
	now := time.Now()
	r := history.Record{
		Generation: s.history.Next(s.generation), Time: now, Author: author, Files: s.changedFiles(set, nil), Texts: texts,
		Diagnostics: set.Diagnostics, Directories: s.cfg.Directories, Outcome: history.Outcome{State: history.Invalid, Time: now},
	}
	s.events.send(api.Event{Time: now, Generation: s.generation, Change: api.ChangeInvalid, Reason: fmt.Sprintf("the unit files have %s: nothing was changed", count(len(set.Diagnostics), "fault"))})
	s.note(func() error { return s.history.Add(r, nil) })
}

// note has something written to the history, off the loop and in order.
func (s *Supervisor) note(write func() error) {
	s.writing.add(func() {
		if err := write(); err != nil {
			s.log.Error("the history is not whole", zap.Error(err))
		}
	})
}

// calmTime is how long after the first units were asked to start nothing is
// written to the history, unless somebody asks for that.
const calmTime = time.Second

// calm is the end of that time. The zero value is without one.
type calm struct {
	end  func()
	over chan struct{}
}

func newCalm() calm {
	over := make(chan struct{})
	return calm{sync.OnceFunc(func() { close(over) }), over}
}

// begin lets the time run.
func (c calm) begin() {
	if c.over != nil {
		time.AfterFunc(calmTime, c.end)
	}
}

// written waits until all that is to be written to the history is there.
func (s *Supervisor) written() {
	if s.calm.over != nil {
		s.calm.end()
	}
	s.writing.drain()
}

// takeUp writes a generation down and then applies it, so that a supervisor that
// comes after a crash between the two goes on with it. The first one, which the
// files say as well, is written when its units are up, as they do not wait for a
// disk then; after a crash before that recordRunning does it.
func (s *Supervisor) takeUp(in inLoop, t *taking) (*api.Reload, error) {
	if !t.boot {
		s.written() // about earlier ones
	}
	var plan config.Plan
	if err := in(func() {
		plan = s.plan(t.units, t.apply)
		if !t.known {
			t.record.Generation = s.history.Next(s.generation)
		}
	}); err != nil {
		return nil, err
	}
	var warnings units.Diagnostics
	if t.boot && !(t.known && t.record.Good()) { // else all of it came up before
		t.good = s.lastGood(t.units)
	}
	if !t.known {
		now := time.Now()
		r := &t.record
		r.Time, r.Units, r.Changes, r.Directories = now, len(t.units), plan, s.cfg.Directories
		r.Outcome = history.Outcome{State: history.Applying, Time: now}
		if t.boot && s.calm.over != nil {
			s.note(func() error {
				<-s.calm.over
				return s.history.Add(*r, t.units)
			})
			s.calm.begin()
		} else if err := s.history.Add(*r, t.units); err != nil {
			s.log.Error("the generation is taken up all the same", zap.Error(err))
			warnings = units.Diagnostics{{Severity: units.Warning, Message: err.Error(), Hint: "it is taken up all the same, but cannot be gone back to, and a rollback does not outlive the supervisor"}}
		}
	}
	var out api.Reload
	err := in(func() { out = s.apply(t) })
	out.Diagnostics = append(out.Diagnostics, warnings...)
	return &out, err
}

// apply gives the core the generation. Called by the loop.
func (s *Supervisor) apply(t *taking) api.Reload {
	plan := s.plan(t.units, t.apply)
	changes := map[string]core.Change{}
	for _, c := range plan {
		if len(c.Keys) == 0 {
			continue
		}
		keys := make([]string, len(c.Keys))
		for i, k := range c.Keys {
			keys[i] = k.Key
		}
		changes[c.Unit] = core.Change{Class: units.Heaviest(c.Keys), Keys: keys}
	}
	s.generation, s.pending, s.invalid = t.record.Generation, nil, t.invalid
	if t.invalid == nil {
		s.refused = ""
	}
	s.held = t.record.Held
	s.sums = t.sums
	s.log.Info("taking up a new generation", zap.Uint64("generation", s.generation), zap.String("because", t.why), zap.Int("units", len(t.units)))
	if !t.known {
		s.rolledBack(t.record)
	}
	load := core.Load{Generation: s.generation, Units: t.units, Changes: changes, Boot: t.boot, Retry: t.apply, Good: t.good}
	if t.boot && s.cfg.Target != "" {
		load.Only = s.bootTarget(t.units)
	}
	s.learnZones(slices.Collect(maps.Values(t.units))...)
	if s.stamps.retain(t.units); t.boot {
		load.Runs = s.stamps.all()
	}
	s.step(load)
	s.events.send(api.Event{Time: time.Now(), Generation: s.generation, Change: api.ChangeApplied, Reason: t.why})
	changed := plan.Changed()
	return api.Reload{Generation: s.generation, Changes: changed, Unchanged: len(plan) - len(changed), Applied: true, Diagnostics: t.warnings}
}

// bootTarget gives the unit that alone is started at boot, with what it needs; ""
// where there is none of that name: a machine that comes up with too much beats
// one that cannot be reached.
func (s *Supervisor) bootTarget(all map[string]*units.Unit) string {
	name := s.cfg.Target
	if all[name] == nil {
		fields := []zap.Field{zap.String("target", name)}
		if near := units.Nearest(name, slices.Sorted(maps.Keys(all))); near != "" {
			fields = append(fields, zap.String("did you mean", near))
		}
		s.log.Error("there is no unit of the name of berth.target, starting all that start at boot", fields...)
		return ""
	}
	s.log.Warn("starting only one unit and what it needs, by berth.target", zap.String("unit", name))
	return name
}

// withdrawn tells whether a version that was rejected is no longer asked for; it
// may be that what runs instead now is, and then the plan is empty.
func (s *Supervisor) withdrawn(all map[string]*units.Unit) bool {
	for _, name := range s.state.Names() {
		u, _ := s.state.Unit(name)
		if now := all[name]; u.Rejected != nil && now != nil && len(units.Diff(u.Rejected, now)) > 0 {
			return true
		}
	}
	return false
}

// plan compares units with what runs, or will at the next start. With retry, a
// version that was rejected is tried once more.
func (s *Supervisor) plan(all map[string]*units.Unit, retry bool) config.Plan {
	running, rejected := map[string]*units.Unit{}, map[string]string{}
	for _, name := range s.state.Names() {
		switch u, _ := s.state.Unit(name); {
		case u.Gone:
		case u.Rejected != nil && all[name] != nil && len(units.Diff(u.Rejected, all[name])) == 0:
			if running[name] = u.Rejected; retry { // else not to be tried again
				running[name] = newest(u)
				rejected[name] = u.Rejection
			}
		default:
			running[name] = newest(u)
		}
	}
	plan := config.DiffUnits(running, all)
	for i := range plan {
		step := &plan[i]
		step.Rejected = rejected[step.Unit]
		if u, ok := s.state.Unit(step.Unit); ok && !u.Gone {
			asItIs(step, u)
		}
	}
	return plan
}

// newest is what the unit runs, or will at the next start.
func newest(u *core.Unit) *units.Unit {
	if u.Next != nil {
		return u.Next
	}
	return u.Config
}

// asItIs looks at where the unit is: one that is down is not restarted.
func asItIs(step *config.Step, u *core.Unit) {
	switch step.Action {
	case config.ActionLive, config.ActionReload, config.ActionRestart, config.ActionReplace:
	case config.ActionStop:
		step.Down = u.Phase == core.Inactive || u.Phase == core.Failed || u.Phase == core.Completed && !u.Config.Service.Remain
		return
	default:
		return
	}
	switch u.Phase {
	case core.Failed:
		if u.Up {
			step.Action = config.ActionStart // a change starts what has failed
			return
		}
	case core.Completed:
		if u.Config.Service.Remain {
			return
		}
	case core.Inactive, core.Waiting:
	default:
		if step.Action == config.ActionReplace && !(u.Phase == core.Running && u.Ready) {
			step.Action = config.ActionRestart // there is nothing that could stay
		}
		return
	}
	step.Action, step.Down = config.ActionNone, true
}
