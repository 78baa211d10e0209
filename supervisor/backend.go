package supervisor

import (
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"berth/config"
	"berth/isolate/cgroup"
	"berth/supervisor/api"
	"berth/supervisor/container"
	"berth/supervisor/core"
	"berth/supervisor/history"
	"berth/supervisor/logs"
	"berth/units"
)

// backend answers the control API. It looks at the state only through ask.
type backend struct{ *Supervisor }

var _ api.Backend = backend{}

func (b backend) Daemon(ctx context.Context) (*api.Daemon, error) {
	d := &api.Daemon{
		Version: b.cfg.Version, PID: os.Getpid(), ReaperPID: os.Getppid(),
		Started: b.started, Supervisors: b.hand.supervisors,
		Directories: b.cfg.Directories, Cgroup: groupOf(b.tree), Units: map[core.Phase]int{},
	}
	if n, err := b.reaper.Stats(); err == nil {
		d.Orphans = n.Orphans
	}
	err := b.ask(ctx, func() {
		d.Generation, d.Invalid, d.Reload = b.generation, b.invalid, "auto"
		if b.cfg.Manual {
			d.Reload = "manual"
		}
		if p := b.pending; p != nil {
			d.Pending = &api.Pending{Since: p.since, Units: p.units, Held: p.why}
		}
		d.Shutdown = b.shuttingDown()
		if r, ok := b.history.Record(b.generation); ok {
			d.RolledBackTo, d.Outcome = r.Of, &r.Outcome
		}
		for _, name := range b.state.Names() {
			u, _ := b.state.Unit(name)
			d.Units[u.Phase]++
		}
	})
	return d, err
}

// groupOf tells where the units' groups are, or that there are none.
func groupOf(tree *cgroup.Tree) string {
	d := tree.Describe()
	if tree.None() {
		return d.String()
	}
	return d.Path
}

func unitLine(u *core.Unit) api.Unit {
	l := api.Unit{
		Name: u.Name, Up: u.Up, Phase: u.Phase, Reason: u.Reason, Since: u.Since,
		MainPID: u.MainPID, Restarts: u.Restarts, Health: u.Health(),
	}
	if u.Config != nil {
		l.Description, l.Type = u.Config.Unit.Description, u.Config.Service.Type
	}
	if u.Phase == core.Backoff {
		at := u.RestartAt
		l.RestartAt = &at
	}
	l.Timer, l.Listening = timerOf(u), u.Listening.Listen
	return l
}

func timerOf(u *core.Unit) *api.Timer {
	if u.Config == nil || !u.Config.Timer.Set() {
		return nil
	}
	t := &api.Timer{Calendar: u.Config.Timer.Calendar, Every: u.Config.Timer.Every}
	for _, name := range []core.Timer{core.TimerCalendar, core.TimerEvery} {
		if armed, ok := u.Timers[name]; ok {
			t.Next = &armed.At
		}
	}
	if last := u.Schedule.LastRun; !last.IsZero() {
		t.Last = &last
	}
	return t
}

func (b backend) List(ctx context.Context) ([]api.Unit, error) {
	out := []api.Unit{}
	err := b.ask(ctx, func() {
		for _, name := range b.state.Names() {
			u, _ := b.state.Unit(name)
			out = append(out, unitLine(u))
		}
	})
	return out, err
}

// notFound tells that there is no such unit, and which one may be meant.
func (s *Supervisor) notFound(name string) error {
	e := &api.Error{Code: "not-found", Message: fmt.Sprintf("there is no unit %q", name)}
	if near := units.Nearest(name, s.state.Names()); near != "" {
		e.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	return e
}

// look runs f in the loop with the unit and its run (nil: none).
func (b backend) look(ctx context.Context, name string, f func(*core.Unit, *run) error) error {
	var result error
	err := b.ask(ctx, func() {
		u, ok := b.state.Unit(name)
		if !ok {
			result = b.notFound(name)
			return
		}
		result = f(u, b.runs[u.Incarnation])
	})
	if err != nil {
		return err
	}
	return result
}

func (b backend) Status(ctx context.Context, name string) (*api.Status, error) {
	var st *api.Status
	var r, other *run
	err := b.look(ctx, name, func(u *core.Unit, current *run) error {
		r = current
		st = &api.Status{Unit: unitLine(u), Incarnation: uint64(u.Incarnation), LastExit: u.LastExit, Told: b.told(u, current)}
		st.Checks = checksOf(u)
		if !u.StartedAt.IsZero() {
			at := u.StartedAt
			st.StartedAt = &at
		}
		if l := u.Beside; l != nil {
			other = b.runs[l.Incarnation]
			st.Beside = &api.Instance{
				Incarnation: uint64(l.Incarnation), Phase: l.Phase, Old: l.Old, Since: l.Since,
				Reason: l.Reason, NotReady: l.NotReady, MainPID: l.MainPID,
			}
		}
		if p, ok := b.state.Progress(name); ok {
			st.Stop = &p
		}
		if u.LastStop != nil && !u.LastStop.Ended.IsZero() {
			last := *u.LastStop
			st.LastStop = &last
		}
		if b.disk != nil {
			st.Files = b.disk.Files[name]
		}
		for _, sock := range u.Listening.Sockets {
			st.Sockets = append(st.Sockets, sock.Listen+" ("+sock.Type+")")
		}
		if u.Config != nil {
			st.Command, st.Requires = u.Config.Service.Command, u.Config.Unit.Requires
		}
		for _, other := range b.state.Names() {
			if o, _ := b.state.Unit(other); o.Config != nil && slices.Contains(o.Config.Unit.Requires, name) {
				st.RequiredBy = append(st.RequiredBy, other)
			}
		}
		return nil
	})
	if err != nil {
		return st, err
	}
	if other != nil {
		other.mu.Lock()
		group := other.group
		other.mu.Unlock()
		if group != nil {
			st.Beside.Cgroup, st.Beside.Processes = group.Path(), processes(group)
		}
	}
	if r == nil {
		return st, nil
	}
	r.mu.Lock()
	group := r.group
	r.mu.Unlock()
	if group == nil {
		return st, nil
	}
	st.Cgroup = group.Path()
	st.Paused, _ = group.Frozen() // gone meanwhile: not paused
	if stats, err := group.Stats(); err == nil {
		st.CPUUsec, st.Memory = &stats.CPU.UsageUsec, &stats.Memory.Current
		st.MemoryMax, st.MemoryPeak = stats.Memory.Max, stats.Memory.Peak
		st.Tasks, st.TasksMax = &stats.Pids.Current, stats.Pids.Max
	}
	st.Processes = processes(group)
	return st, nil
}

func processes(group *cgroup.Group) []api.Process {
	var out []api.Process
	pids, _ := group.Pids() // gone meanwhile: no processes
	for _, pid := range pids {
		out = append(out, api.Process{PID: pid, Command: commandLine(pid)})
	}
	return out
}

func (b backend) Graph(ctx context.Context) ([]api.Node, error) {
	nodes := []api.Node{}
	times := func(t core.Times) *core.Times {
		if t == (core.Times{}) {
			return nil
		}
		return &t
	}
	err := b.ask(ctx, func() {
		for _, name := range b.state.Names() {
			u, _ := b.state.Unit(name)
			sec := u.Config.Unit
			nodes = append(nodes, api.Node{
				Name: name, Type: u.Config.Service.Type, Phase: u.Phase, Ready: u.Ready || u.Phase == core.Completed,
				Requires: sec.Requires, Wants: sec.Wants, After: sec.After, Conflicts: sec.Conflicts, OnFailure: sec.OnFailure,
				First: times(u.First), Last: times(u.Times),
			})
		}
	})
	return nodes, err
}

// Why is the core's chain of causes, with what only the kernel's log knows.
func (b backend) Why(ctx context.Context, name string) (*api.Why, error) {
	w := &api.Why{Denied: map[string][]string{}}
	err := b.look(ctx, name, func(*core.Unit, *run) error {
		w.Chain = b.state.Why(name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	all := denials()
	for _, l := range w.Chain {
		if l.Seen || l.LastPID == 0 {
			continue
		}
		if calls := callsDenied(all, l.LastPID, l.Times.Starting); len(calls) > 0 {
			w.Denied[l.Unit] = calls
		}
	}
	return w, nil
}

// commandLine gives a process's arguments, or its name in brackets. What a
// container wrote there is made harmless for a terminal by the client.
func commandLine(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil && len(text) > 0 {
		if len(text) > 4096 {
			text = text[:4096]
		}
		return strings.TrimSpace(strings.ReplaceAll(string(text), "\x00", " "))
	}
	if text, err = os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
		return "[" + strings.TrimSpace(string(text)) + "]"
	}
	return ""
}

func (b backend) Command(ctx context.Context, c api.Command) (*api.Result, error) {
	if c.Verb == api.VerbPause || c.Verb == api.VerbResume {
		return b.pause(ctx, c)
	}
	if c.Verb == core.VerbKill {
		if c.Signal == "" {
			c.Signal = "TERM"
		}
		if _, ok := units.SignalNumber(c.Signal); !ok {
			return nil, &api.Error{Code: "usage", Message: fmt.Sprintf("there is no signal %q", c.Signal), Hint: "name one of signal(7), as in TERM or HUP"}
		}
	}
	by, began := api.CallerOf(ctx).String(), time.Now()
	ch := make(chan core.Reply, 1)
	var id uint64
	var missing error
	err := b.ask(ctx, func() {
		for _, name := range c.Units {
			if _, ok := b.state.Unit(name); !ok {
				missing = b.notFound(name)
				return
			}
		}
		id = b.state.LastCommand + 1
		b.replies[id] = ch
		b.step(core.Command{ID: id, Verb: c.Verb, Units: c.Units, By: by, NoBlock: c.NoBlock, Signal: c.Signal, Whole: c.Whole})
	})
	if err == nil {
		err = missing
	}
	if err != nil {
		return nil, err
	}
	select {
	case r := <-ch:
		if r.Err != "" && len(r.Failed) == 0 {
			e := &api.Error{Code: "failed", Message: r.Err}
			if strings.HasSuffix(r.Err, core.NotRunning) {
				e.Code = "not-running"
			}
			return nil, e
		}
		out := &api.Result{Failed: r.Failed, NotRunning: len(r.Failed) > 0, Replaced: r.Replaced}
		for _, reason := range r.Failed {
			out.NotRunning = out.NotRunning && reason == core.NotRunning
		}
		if c.Verb == core.VerbStop || c.Verb == core.VerbRestart {
			if err := b.ask(ctx, func() { out.Stopped = b.stopped(began) }); err != nil {
				return nil, err
			}
		}
		return out, nil
	case <-ctx.Done():
		b.post(func() { delete(b.replies, id) }) // the client is gone; what it asked for is done all the same
		return nil, ctx.Err()
	case <-b.done:
		return nil, errStopped
	}
}

// asked is the author of a request.
func asked(ctx context.Context) (history.Author, string) {
	c := api.CallerOf(ctx)
	if c == nil {
		return history.Author{Kind: history.KindUser}, c.String()
	}
	return history.Author{Kind: history.KindUser, UID: &c.UID, User: c.User, PID: c.PID, Command: c.Command}, c.String()
}

func (b backend) Reload(ctx context.Context) (*api.Reload, error) {
	author, by := asked(ctx)
	b.rereadWatchdogs()
	return b.reload(ctx, how{author: author, why: "asked for by " + by})
}

func (b backend) Apply(ctx context.Context) (*api.Reload, error) {
	author, by := asked(ctx)
	return b.reload(ctx, how{author: author, why: "applied by " + by, apply: true})
}

func (b backend) Rollback(ctx context.Context, generation uint64) (*api.Reload, error) {
	author, by := asked(ctx)
	return b.rollback(ctx, generation, author, by)
}

func (b backend) History(context.Context) ([]history.Record, error) {
	b.written()
	return b.history.Records(), nil
}

func (b backend) Plan(ctx context.Context) (*api.Reload, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	set, err := b.readUnits()
	if err != nil {
		return nil, &api.Error{Code: "failed", Message: err.Error()}
	}
	out := &api.Reload{Diagnostics: set.Diagnostics, Changes: config.Plan{}}
	err = b.ask(ctx, func() {
		out.Generation = b.generation
		if !set.Valid() {
			return
		}
		plan := b.plan(set.Units, true)
		out.Changes = plan.Changed()
		out.Unchanged = len(plan) - len(out.Changes)
		if len(out.Changes) > 0 {
			out.Held = b.holdsBack(set)
		}
	})
	return out, err
}

func (b backend) Spec(ctx context.Context, name string, oci, secrets bool) ([]byte, error) {
	var cfg *units.Unit
	if err := b.look(ctx, name, func(u *core.Unit, _ *run) error { cfg = u.Config; return nil }); err != nil {
		return nil, err
	}
	if !secrets {
		cfg = withoutSecrets(cfg)
	}
	if !oci {
		return units.Format(cfg), nil
	}
	return container.OCI(cfg, b.env)
}

// hidden stands for what only root and the daemon's own user may see.
const hidden = "(hidden)"

// withoutSecrets gives the unit without the values of environment variables and
// the files that hold such.
func withoutSecrets(cfg *units.Unit) *units.Unit {
	c := *cfg
	c.Service.Environment = map[string]string{}
	for name := range cfg.Service.Environment {
		c.Service.Environment[name] = hidden
	}
	c.Service.EnvironmentFiles = nil
	return &c
}

func (b backend) Events(ctx context.Context) iter.Seq[api.Event] { return b.events.subscribe(ctx) }

func (b backend) Logs(ctx context.Context, q api.LogQuery) iter.Seq2[api.LogEntry, error] {
	var failed error
	err := b.ask(ctx, func() {
		for _, name := range q.Units {
			if _, ok := b.state.Unit(name); !ok {
				failed = b.notFound(name)
			}
		}
	})
	if err == nil {
		err = failed
	}
	return func(yield func(api.LogEntry, error) bool) {
		if err != nil {
			yield(api.LogEntry{}, err)
			return
		}
		for e, err := range b.logs.Read(ctx, logs.Query{Units: q.Units, Lines: q.Lines, Since: q.Since, Follow: q.Follow}) {
			entry := api.LogEntry{Time: e.Time, Unit: e.Unit, Stream: e.Stream, Priority: e.Priority, Incarnation: e.Incarnation, Text: e.Text}
			if !yield(entry, err) {
				return
			}
		}
	}
}

// UnitOf errs on the side of refusal: a process that cannot be looked at has
// ended, or is none of ours to trust.
func (b backend) UnitOf(pid int) string {
	group, err := b.tree.UnitOf(pid)
	if err != nil {
		return "(unknown)"
	}
	unit, _, _ := unitOfGroup(group)
	return unit
}
