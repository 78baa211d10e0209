package core

import (
	"maps"
	"slices"
	"time"

	"berth/units"
)

// Unit is the state of one unit. It is JSON for the snapshot and for status.
type Unit struct {
	Name   string      `json:"name"`
	Config *units.Unit `json:"config"` // what runs, or will at the next start
	// Next is a changed configuration that waits for the unit to be down.
	Next *units.Unit `json:"next,omitempty"`
	// Good is the configuration to go back to when Config, or Next, does not become ready.
	Good *units.Unit `json:"good,omitempty"`
	// Rejected is the generation's version, which did not become ready: Config is
	// the one before it. It is not tried again until it is changed. Nil: none.
	Rejected *units.Unit `json:"rejected,omitempty"`
	// Rejection tells of it, for people.
	Rejection string `json:"rejection,omitempty"`
	// Trial: the outcome of the newest generation waits for this unit.
	Trial bool `json:"trial,omitempty"`
	// Gone: no unit file any more; forgotten as soon as it is down.
	Gone bool `json:"gone,omitempty"`

	// Up is what is desired. It stays true for a unit that has failed, and turns
	// false for one that has come to its end by itself.
	Up    bool      `json:"up"`
	Phase Phase     `json:"phase"`
	Since time.Time `json:"since"` // of Phase
	// Reason tells why it is in this phase, for people: "exited with status 1".
	Reason string `json:"reason,omitempty"`
	// Stopped: somebody or something else asked for Up to be false.
	Stopped bool `json:"stopped,omitempty"`
	// Ready: Running, [ready] has come true and the post-start commands have succeeded.
	Ready bool `json:"ready,omitempty"`
	// Awaits: Running, and [ready] has not come true yet. NotReady tells why, for people.
	Awaits   bool   `json:"awaits,omitempty"`
	NotReady string `json:"not_ready,omitempty"`
	// Halt: it is to go down as soon as those ordered after it are down. Only in
	// Running and Completed.
	Halt bool `json:"halt,omitempty"`
	// Then is the phase that follows once it is down, and ThenReason tells why.
	// They have a meaning with Halt and in Stopping and Cleaning.
	Then       Phase  `json:"then,omitempty"`
	ThenReason string `json:"then_reason,omitempty"`
	// FailedBy names the required unit whose failure made this one fail.
	FailedBy string `json:"failed_by,omitempty"`

	// Asked is why it is to be up or down, or was restarted.
	Asked Cause `json:"asked"`
	// Past are the last changes, oldest first; Times those of the last way up, and
	// First those of the first one that was successful.
	Past  []Entry `json:"past,omitempty"`
	Times Times   `json:"times"`
	First Times   `json:"first"`

	Incarnation Incarnation `json:"incarnation,omitempty"` // of the current or last start
	MainPID     int         `json:"main_pid,omitempty"`    // 0: none
	LastPID     int         `json:"last_pid,omitempty"`    // of the last start's main process, also when it has ended
	StartedAt   time.Time   `json:"started_at"`            // last Spawned
	LastExit    *ExitStatus `json:"last_exit,omitempty"`
	Restarts    int         `json:"restarts"`         // automatic ones since the last manual start
	Tries       int         `json:"tries,omitempty"`  // automatic ones since it last ran for restart.reset-after: the back-off's exponent
	RestartAt   time.Time   `json:"restart_at"`       // in Backoff
	Starts      []time.Time `json:"starts,omitempty"` // automatic starts that the limit counts
	// LastStop is the account of the last stop, or of the one that is under way.
	LastStop *Stop `json:"last_stop,omitempty"`
	StopStep int   `json:"stop_step,omitempty"`

	// Beside is the unit's other instance in a replace (see replace.go); nil: none.
	Beside *Life `json:"beside,omitempty"`
	// Side is where the unit's own incarnation is.
	Side Side `json:"side,omitempty"`
	// ReplaceDue, if not empty, is why a new instance shall take this one's place
	// as soon as it can. Only in Running. Replaces counts those begun.
	ReplaceDue string `json:"replace_due,omitempty"`
	Replaces   uint64 `json:"replaces,omitempty"`
	// Empty: Cleaning, and of the unit's own incarnation nothing is left.
	Empty bool `json:"empty,omitempty"`

	// Hook is the one that runs now: post-start or reload in Running, post-stop in Cleaning.
	Hook Hook `json:"hook,omitempty"`
	// PostStopDue: the post-stop commands have not run for this incarnation.
	PostStopDue bool `json:"post_stop_due,omitempty"`
	// Reloads counts the reloads begun; ReloadAgain asks for one more after Hook.
	Reloads     uint64 `json:"reloads,omitempty"`
	ReloadAgain bool   `json:"reload_again,omitempty"`
	// Applied are the keys given by ApplyLive to this incarnation.
	Applied []string `json:"applied,omitempty"`
	// ReloadSince is when the reload was asked for that the program itself tells
	// the end of; zero: there is none. ReloadBegun and ReloadEnded: it has said so.
	ReloadSince time.Time `json:"reload_since,omitzero"`
	ReloadBegun bool      `json:"reload_begun,omitempty"`
	ReloadEnded bool      `json:"reload_ended,omitempty"`
	// StopSignal, in Stopping, is what was sent in place of the steps of [stop].
	StopSignal string `json:"stop_signal,omitempty"`
	// Notice is what the program of this incarnation has told of itself.
	Notice Notice `json:"notice,omitzero"`
	// WatchdogInterval is how often the program has said that it will be heard of;
	// 0: as configured. WatchdogAt is when it was heard of last, as far as told.
	WatchdogInterval units.Duration `json:"watchdog_interval,omitempty"`
	WatchdogAt       time.Time      `json:"watchdog_at,omitzero"`
	// Checks are the health checks by name; in Running those of Config, else what
	// the last ones said.
	Checks map[string]*Check `json:"checks,omitempty"`
	// Ill is the check that made the unit unhealthy last, for people.
	Ill *FailedCheck `json:"ill,omitempty"`
	// Triggers: its timer, its sockets with activate and its watched paths are in
	// force: since it was first started, or boot, and until it is stopped.
	Triggers  bool      `json:"triggers,omitempty"`
	Schedule  Schedule  `json:"schedule,omitzero"`
	Listening Listening `json:"listening,omitzero"`
	// Activations are its last starts by a socket.
	Activations []time.Time `json:"activations,omitempty"`
	// Watched are the paths that are watched; PathAt is when one was acted on last,
	// and PathDue one that waits for TimerPath.
	Watched []string  `json:"watched,omitempty"`
	PathAt  time.Time `json:"path_at,omitzero"`
	PathDue string    `json:"path_due,omitempty"`
	// Timers are those that are armed. All but the lasting ones end with the phase
	// in which they were set.
	Timers map[Timer]Armed `json:"timers,omitempty"`
}

// Armed is a timer that runs.
type Armed struct {
	Seq uint64    `json:"seq"`
	At  time.Time `json:"at"`
}

// Pending is a Command that has not been answered yet.
type Pending struct {
	ID   uint64 `json:"id"`
	Verb Verb   `json:"verb"`
	// Units are those not settled yet; for reload with the number of the run that
	// settles it, for restart with that of the replace, 0 when it is none.
	Units    map[string]uint64 `json:"units"`
	Failed   map[string]string `json:"failed,omitempty"`
	Replaced []string          `json:"replaced,omitempty"`
}

// Head is the part of the State that is not about one unit: small, and written
// with every record of the snapshot.
type Head struct {
	Generation  uint64      `json:"generation"`
	Incarnation Incarnation `json:"incarnation"` // the last one given out
	TimerSeq    uint64      `json:"timer_seq"`   // the last one given out, over all units
	// LastCommand is the highest Command ID seen; a new supervisor goes on above it.
	LastCommand uint64              `json:"last_command"`
	Commands    map[uint64]*Pending `json:"commands,omitempty"`
	Shutdown    bool                `json:"shutdown,omitempty"`
	Done        bool                `json:"done,omitempty"`
	// Ending tells what the shutdown is for; nil: there is none, or an older berthd began it.
	Ending *Ending `json:"ending,omitempty"`
	// ExitUnit is the unit whose end for good is everybody's; "": none. The owner sets it.
	ExitUnit string `json:"exit_unit,omitempty"`
	// ShutdownLimit is how long a shutdown may take; 0: for ever. The owner sets it.
	ShutdownLimit time.Duration `json:"shutdown_limit,omitempty"`
	// Deadline is when what a shutdown has not brought down is killed, or Overdue,
	// left alone.
	Deadline *Armed `json:"deadline,omitempty"`
	Overdue  bool   `json:"overdue,omitempty"`
	// Trial is what is known of the newest generation.
	Trial *Trial `json:"trial,omitempty"`
}

// State is the state of everything. Encoding it with encoding/json and decoding
// it again gives an equal state: all that is not exported is derived. It has one
// owner, who alone calls Step and everything else here; it is not safe for
// concurrent use.
type State struct {
	Head
	Units map[string]*Unit `json:"units"`

	graph   map[string]*node
	waiters map[string]map[uint64]bool // unit → pending commands
	dirty   map[string]bool
	active  int // units that are not down
}

// New returns a state without units.
func New() *State {
	return &State{Head: Head{Commands: map[uint64]*Pending{}}, Units: map[string]*Unit{}}
}

// Left returns how many units are not down.
func (s *State) Left() int {
	s.derive()
	return s.active
}

// Unit returns the unit of that name. The caller may read it until the next
// Step, and must not write it.
func (s *State) Unit(name string) (*Unit, bool) {
	u, ok := s.Units[name]
	return u, ok
}

// Names returns the names of all units, sorted.
func (s *State) Names() []string { return slices.Sorted(maps.Keys(s.Units)) }

// Dirty returns, sorted, the names of the units that changed since the last
// call, for an append-only snapshot: those that Unit does not find any more have
// been forgotten. Head may change without any unit.
func (s *State) Dirty() []string {
	names := slices.Sorted(maps.Keys(s.dirty))
	clear(s.dirty)
	return names
}

// Timers returns the SetTimer effects of all timers that run, sorted by unit.
func (s *State) Timers() []SetTimer {
	var timers []SetTimer
	for _, name := range s.Names() {
		timers = append(timers, s.Units[name].timers()...)
	}
	return timers
}

// timers returns the SetTimer effects of the unit's timers, sorted by name.
func (u *Unit) timers() []SetTimer {
	var timers []SetTimer
	for _, t := range slices.Sorted(maps.Keys(u.Timers)) {
		timers = append(timers, SetTimer{u.Name, t, u.Timers[t].Seq, u.Timers[t].At})
	}
	return timers
}

// Idle reports whether nothing is under way: no start, no stop, no hook, and no
// unit that waits for one. Units in Backoff are idle, and so is a service that runs.
func (s *State) Idle() bool {
	for _, u := range s.Units {
		switch u.Phase {
		case Waiting, Starting, Stopping, Cleaning:
			return false
		}
		if u.Halt || u.Hook != "" || u.reloading() || u.replacing() {
			return false
		}
	}
	return true
}

// replacing reports whether a replace is under way or due.
func (u *Unit) replacing() bool { return u.Beside != nil || u.ReplaceDue != "" }

// derive builds what a decoded State lacks.
func (s *State) derive() {
	if s.Units == nil {
		s.Units = map[string]*Unit{}
	}
	if s.Commands == nil {
		s.Commands = map[uint64]*Pending{}
	}
	if s.dirty == nil {
		s.dirty = map[string]bool{}
	}
	if s.graph != nil {
		return
	}
	s.graph = buildGraph(s.Units)
	s.waiters = map[string]map[uint64]bool{}
	for id, p := range s.Commands {
		for name := range p.Units {
			s.await(name, id)
		}
	}
	s.active = 0
	for _, u := range s.Units {
		if !u.Phase.down() {
			s.active++
		}
	}
}

func (s *State) await(name string, id uint64) {
	if s.waiters[name] == nil {
		s.waiters[name] = map[uint64]bool{}
	}
	s.waiters[name][id] = true
}

// down reports whether nothing of the unit runs, nor will by itself.
func (p Phase) down() bool { return p == Inactive || p == Failed || p == Completed }

// newest is the configuration that the newest generation gave, as far as the graph is concerned.
func (u *Unit) newest() *units.Unit {
	if u.Next != nil {
		return u.Next
	}
	return u.Config
}

func (u *Unit) task() bool  { return u.Config.Service.Type == "task" }
func (u *Unit) group() bool { return u.Config.Service.Type == "group" }

// reload is how the unit takes up changed files by itself; nil: it cannot.
func (u *Unit) reload() *units.Reload {
	if u.group() {
		return nil
	}
	return u.Config.Service.Reload
}

// binds reports whether units that require this one go down with it: all do but
// a task that does not remain.
func (u *Unit) binds() bool { return !u.task() || u.Config.Service.Remain }

// provides reports whether the unit is up for those that require it.
func (u *Unit) provides() bool {
	return !u.Halt && (u.Phase == Completed || u.Phase == Running && u.Ready && !u.task())
}

// rises reports whether the unit is on its way up again after a stop.
func (u *Unit) rises() bool {
	return u.Then == Waiting && (u.Halt || u.Phase == Stopping || u.Phase == Cleaning)
}
