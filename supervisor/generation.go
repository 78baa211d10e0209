package supervisor

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"berth/config"
	"berth/supervisor/api"
	"berth/supervisor/core"
	"berth/supervisor/history"
	"berth/units"

	"go.uber.org/zap"
)

// Why a change of the unit files waits for berth apply.
const (
	heldManual   = "manual"   // [daemon] reload = "manual"
	heldRollback = "rollback" // the files still say what was rolled back
)

// waiting is a change of the unit files that waits for berth apply.
type waiting struct {
	texts string
	since time.Time
	units int // that change
	why   string
}

func historyDir(stateDir string) string { return filepath.Join(stateDir, "generations") }

// openHistory reads what was taken up before. Without it everything works, but
// nothing can be gone back to.
func (s *Supervisor) openHistory() {
	var faults []error
	var err error
	s.history, faults, err = history.Open(historyDir(s.cfg.StateDir), s.cfg.History)
	if err != nil {
		s.log.Error("there is no history: no generation can be gone back to", zap.Error(err))
	}
	for _, f := range faults {
		s.log.Error("the history is not whole", zap.Error(f))
	}
}

// begin takes up what is to run at the start of a supervisor: what the unit
// files say; or, where they are held back or not valid, the generation that ran
// last. A supervisor that takes over goes on with what there is.
func (s *Supervisor) begin(in inLoop) {
	boot := history.Author{Kind: history.KindBoot}
	last, ok := s.history.Last()
	if ok && !slices.Equal(last.Directories, s.cfg.Directories) {
		ok, last = false, history.Record{} // it is of another place
	}
	if s.generation > 0 {
		s.recordRunning(in)
		s.goOn(in, last)
		_, _ = s.follow(in, how{author: history.Author{Kind: history.KindFiles}, why: "took over"})
		return
	}
	set, err := s.readUnits()
	same := ok && err == nil && set.Valid() && s.same(last, set)
	if why := s.insteadOf(set, err, last); ok && !same && why != "" {
		if all, fault := s.history.Units(last.Generation); fault != nil {
			s.log.Error("cannot start with the generation that ran last, but with the unit files", zap.Error(fault))
		} else {
			s.log.Warn("starting with the generation that ran last", zap.Uint64("generation", last.Generation), zap.String("because", why))
			t := &taking{record: last, units: all, why: "started: " + why, boot: true, known: true}
			if err == nil {
				t.sums = set.Sums
			}
			_, _ = s.takeUp(in, t)
			_, _ = s.decide(set, err, how{author: boot}) // tells what waits, or is wrong
			return
		}
	}
	out, next := s.decide(set, err, how{author: boot, why: "started", apply: true})
	if next == nil {
		s.helpless(out.Diagnostics)
		return
	}
	next.apply = false
	if same {
		next.record, next.known = last, true
		next.record.Held = nil
	}
	_, _ = s.takeUp(in, next)
}

// insteadOf tells why not the unit files are what is to run; "": they are.
func (s *Supervisor) insteadOf(set *config.Set, err error, last history.Record) string {
	switch {
	case err != nil:
		return "the unit files cannot be read"
	case !set.Valid():
		return "the unit files are not valid"
	case s.cfg.Manual:
		return "changes wait for berth apply"
	case len(last.Held) > 0 && stillHeld(last.Held, set):
		return "it was rolled back to"
	}
	return ""
}

// same tells whether the files say what the record's generation says.
func (s *Supervisor) same(last history.Record, set *config.Set) bool {
	if last.Texts != "" && last.Texts == textsOf(set) {
		return true
	}
	all, err := s.history.Units(last.Generation)
	return err == nil && config.DiffUnits(all, set.Units).Empty()
}

// lastGood gives, of units that say something else than what came up last, that
// version: at boot nothing runs that could tell.
func (s *Supervisor) lastGood(now map[string]*units.Unit) map[string]*units.Unit {
	good, sought := map[string]*units.Unit{}, maps.Clone(now)
	for _, r := range slices.Backward(s.history.Records()) {
		if len(sought) == 0 {
			break
		}
		if r.Outcome.State == history.Invalid || r.Outcome.State == history.Applying || !slices.Equal(r.Directories, s.cfg.Directories) {
			continue
		}
		all, err := s.history.Units(r.Generation)
		if err != nil {
			continue // told when it is asked for
		}
		for name := range sought {
			u := all[name]
			if u == nil || r.Outcome.Rejected[name] != "" || r.Outcome.Failed[name] != "" {
				continue
			}
			if len(units.Diff(u, now[name])) > 0 {
				good[name] = u
			}
			delete(sought, name)
		}
	}
	return good
}

// recordRunning writes down the generation that runs, where the supervisor that
// took it up died before it had (see takeUp).
func (s *Supervisor) recordRunning(in inLoop) {
	if last, ok := s.history.Last(); ok && last.Generation >= s.generation {
		return
	}
	_ = in(func() { // fails only when the supervisor ends
		now := time.Now()
		all := map[string]*units.Unit{}
		for _, name := range s.state.Names() {
			if u, _ := s.state.Unit(name); !u.Gone {
				all[name] = newest(u)
			}
		}
		r := history.Record{
			Generation: s.generation, Author: history.Author{Kind: history.KindBoot}, Time: now, Units: len(all),
			Changes: config.DiffUnits(nil, all), Directories: s.cfg.Directories,
			Outcome: history.Outcome{State: history.Applying, Time: now},
		}
		if t := s.state.Trial; t == nil || t.Left == 0 {
			r.Outcome.State = history.Applied
			if t != nil {
				r.Outcome.Rejected, r.Outcome.Failed = maps.Clone(t.Rejected), maps.Clone(t.Failed)
			}
		}
		s.note(func() error { return s.history.Add(r, all) })
	})
}

// goOn finishes what an earlier supervisor has written down and not done.
func (s *Supervisor) goOn(in inLoop, last history.Record) {
	s.held = last.Held
	if last.Generation <= s.generation {
		return
	}
	all, err := s.history.Units(last.Generation)
	if err != nil {
		s.log.Error("cannot go on with the newest generation", zap.Error(err))
		return
	}
	_, _ = s.takeUp(in, &taking{record: last, units: all, why: "it was about to be taken up", known: true, apply: true})
}

// holdsBack tells why the files that were read are not taken up by themselves;
// "": they are.
func (s *Supervisor) holdsBack(set *config.Set) string {
	if s.cfg.Manual {
		return heldManual
	}
	if len(s.held) > 0 && stillHeld(s.held, set) {
		return heldRollback
	}
	return ""
}

// stillHeld tells whether the files still say of each unit what a rollback took
// back.
func stillHeld(held map[string]string, set *config.Set) bool {
	for name, sum := range held {
		if sumOfUnit(set.Units[name]) != sum {
			return false
		}
	}
	return true
}

// wait tells, once for each state of the files, that a change waits.
func (s *Supervisor) wait(set *config.Set, changed config.Plan, why string) {
	texts := textsOf(set)
	if s.pending != nil && s.pending.texts == texts {
		return
	}
	s.pending = &waiting{texts: texts, since: time.Now(), units: len(changed), why: why}
	s.log.Warn("a change of the unit files waits for berth apply", zap.Int("units", len(changed)), zap.String("because", why), zap.Strings("files", s.changedFiles(set, changed)))
	s.events.send(api.Event{
		Time: time.Now(), Generation: s.generation, Change: api.ChangePending,
		Reason: fmt.Sprintf("a change of %s waits for berth apply", count(len(changed), "unit")),
	})
}

// count is "1 unit" or "2 units".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}

// settleFiles takes note that the files say what runs: then nothing waits, and
// nothing is held back any more.
func (s *Supervisor) settleFiles(set *config.Set) {
	s.pending, s.refused, s.sums = nil, "", set.Sums
	if len(s.held) > 0 {
		s.held = nil
		generation := s.generation
		s.note(func() error {
			return s.history.Update(generation, func(r *history.Record) { r.Held = nil })
		})
	}
}

// changedFiles gives the files that have changed since those of what runs; where
// that is not known, those of the units that change.
func (s *Supervisor) changedFiles(set *config.Set, changed config.Plan) []string {
	files := s.sinceSums(set)
	if len(files) == 0 {
		for _, step := range changed {
			files = append(files, set.Files[step.Unit]...)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

func (s *Supervisor) sinceSums(set *config.Set) (files []string) {
	if s.sums == nil {
		return nil
	}
	for path, sum := range set.Sums {
		if was, ok := s.sums[path]; !ok || was != sum {
			files = append(files, path)
		}
	}
	for path := range s.sums {
		if _, ok := set.Sums[path]; !ok {
			files = append(files, path)
		}
	}
	return files
}

// textsOf tells the texts of a set of files apart from others.
func textsOf(set *config.Set) string {
	sum := fnv.New64a()
	for _, path := range slices.Sorted(maps.Keys(set.Sums)) {
		fmt.Fprintf(sum, "%s\x00%x\x00", path, set.Sums[path])
	}
	return strconv.FormatUint(sum.Sum64(), 16)
}

func sumOfUnit(u *units.Unit) string {
	if u == nil {
		return ""
	}
	sum := fnv.New64a()
	_, _ = sum.Write(units.Format(u)) // never fails
	return strconv.FormatUint(sum.Sum64(), 16)
}

// rollback takes up an earlier generation again; 0: the one before this that
// came up without fault.
func (s *Supervisor) rollback(ctx context.Context, generation uint64, author history.Author, by string) (*api.Reload, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.written()
	in := s.ordered(ctx)
	set, failed := s.readUnits() // what is held back
	var to history.Record
	var refused error
	if err := in(func() { to, refused = s.target(generation) }); err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, refused
	}
	all, err := s.history.Units(to.Generation)
	if err != nil {
		e := &api.Error{Code: "failed", Message: "cannot roll back: " + err.Error(), Hint: "berth history shows the others"}
		if errors.As(err, &e.Diagnostics) {
			e.Code = "invalid"
		}
		return nil, e
	}
	t := &taking{
		record: history.Record{Author: author, Of: to.Base(), Held: map[string]string{}},
		units:  all, apply: true, why: fmt.Sprintf("rollback to %d by %s", to.Generation, by),
	}
	nothing := false
	err = in(func() {
		nothing = s.plan(all, true).Empty() && !s.withdrawn(all)
		if failed == nil && !set.Valid() {
			t.invalid = set.Diagnostics
		}
	})
	if err != nil {
		return nil, err
	}
	if nothing {
		return nil, &api.Error{Code: "failed", Message: fmt.Sprintf("generation %d is what runs already", to.Generation), Hint: "name another: berth history shows them"}
	}
	if failed == nil {
		t.sums = set.Sums
		for _, step := range config.DiffUnits(all, set.Units).Changed() {
			t.record.Held[step.Unit] = sumOfUnit(set.Units[step.Unit])
		}
	}
	out, err := s.takeUp(in, t)
	if err == nil && len(t.record.Held) > 0 {
		err = in(func() { _, _ = s.decide(set, nil, how{author: author}) }) // tells what waits from now on
		out.Held = heldRollback
	}
	return out, err
}

// target finds the generation to go back to. Called by the loop.
func (s *Supervisor) target(generation uint64) (history.Record, error) {
	if s.stopping {
		return history.Record{}, errStopped
	}
	if generation == 0 {
		r, ok := s.history.Before(s.generation)
		if !ok {
			return r, &api.Error{Code: "failed", Message: fmt.Sprintf("there is no generation before %d that came up without fault", s.generation), Hint: "name one: berth history shows them"}
		}
		return r, nil
	}
	r, ok := s.history.Record(generation)
	if !ok {
		return r, &api.Error{Code: "failed", Message: fmt.Sprintf("there is no generation %d in the history", generation), Hint: "berth history shows those that there are"}
	}
	return r, nil
}

// rolledBack tells the history which generations a rollback took back.
func (s *Supervisor) rolledBack(r history.Record) {
	if r.Of == 0 {
		return
	}
	for _, other := range s.history.Records() {
		if other.Generation > r.Of && other.Generation < r.Generation && other.Outcome.State != history.Invalid && other.Base() != r.Of {
			s.note(func() error {
				return s.history.Update(other.Generation, func(o *history.Record) {
					o.Outcome.State, o.Outcome.By, o.Outcome.Time = history.RolledBack, r.Generation, r.Time
				})
			})
		}
	}
}

// outcome writes down what became of a generation.
func (s *Supervisor) outcome(e core.Outcome) {
	state := history.Applied
	if e.Superseded {
		state = history.Superseded
	}
	now := time.Now()
	s.note(func() error {
		return s.history.Update(e.Generation, func(r *history.Record) {
			r.Outcome.Rejected = e.Rejected
			if r.Outcome.State == history.Applying { // else it was started anew, with the machine
				r.Outcome.State, r.Outcome.Time, r.Outcome.Failed = state, now, e.Failed
			}
		})
	})
	fields := []zap.Field{zap.Uint64("generation", e.Generation)}
	reason := "applied"
	switch {
	case e.Superseded:
		s.log.Info("the generation was followed by another before all of it was up", fields...)
		return
	case len(e.Rejected)+len(e.Failed) > 0:
		reason = outcomeText(e)
		s.log.Error("not all of the generation came up", append(fields, zap.Any("rejected", e.Rejected), zap.Any("failed", e.Failed))...)
	default:
		s.log.Info("the generation is applied", fields...)
	}
	s.events.send(api.Event{Time: now, Generation: e.Generation, Change: api.ChangeOutcome, Reason: reason})
}

func outcomeText(e core.Outcome) string {
	text := ""
	for _, list := range []struct {
		what  string
		units map[string]string
	}{{"went back to the version before", e.Rejected}, {"did not come up", e.Failed}} {
		if len(list.units) == 0 {
			continue
		}
		if text != "" {
			text += "; "
		}
		text += list.what + ": "
		for i, name := range slices.Sorted(maps.Keys(list.units)) {
			if i > 0 {
				text += ", "
			}
			text += name
		}
	}
	return text
}
