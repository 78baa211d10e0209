// Package api is the control API of berth: HTTP and JSON on a unix socket. It
// holds the types on the wire, the server (which decides who may do what, and
// asks a Backend for the rest) and the Go client that the berth command uses.
//
// Streams (events, logs) are newline-delimited JSON. An exec session upgrades
// its connection to the frames of frame.go.
package api

import (
	"time"

	"berth/config"
	"berth/isolate/cgroup"
	"berth/supervisor/core"
	"berth/supervisor/history"
	"berth/units"
)

// Unit is one line of a list.
type Unit struct {
	Name        string     `json:"name"`
	Description string     `json:"description,omitempty"`
	Type        string     `json:"type"`
	Up          bool       `json:"up"` // desired
	Phase       core.Phase `json:"phase"`
	Reason      string     `json:"reason,omitempty"`
	Since       time.Time  `json:"since"`
	MainPID     int        `json:"main_pid,omitempty"`
	Restarts    int        `json:"restarts"`
	RestartAt   *time.Time `json:"restart_at,omitempty"`
	// Health is the state of the worst of its health checks; "": it has none, or is not up.
	Health core.HealthState `json:"health,omitempty"`
	Timer  *Timer           `json:"timer,omitempty"`
	// Listening: it is down, and traffic on its sockets starts it.
	Listening bool `json:"listening,omitempty"`
}

// Timer is a unit's [timer].
type Timer struct {
	Calendar string         `json:"calendar,omitempty"`
	Every    units.Duration `json:"every,omitempty"` // nanoseconds
	// Next is when it starts the unit next; nil: it is not in force, or never again.
	Next *time.Time `json:"next,omitempty"`
	// Last is when it started the unit last; nil: not known.
	Last *time.Time `json:"last,omitempty"`
}

// Status is all of one unit.
type Status struct {
	Unit
	Incarnation uint64           `json:"incarnation,omitempty"`
	StartedAt   *time.Time       `json:"started_at,omitempty"`
	LastExit    *core.ExitStatus `json:"last_exit,omitempty"`
	Files       []string         `json:"files,omitempty"`
	Command     units.Command    `json:"command,omitempty"`
	Tasks       *uint64          `json:"tasks,omitempty"`
	TasksMax    *uint64          `json:"tasks_max,omitempty"`
	Memory      *uint64          `json:"memory,omitempty"` // bytes
	MemoryMax   *uint64          `json:"memory_max,omitempty"`
	MemoryPeak  *uint64          `json:"memory_peak,omitempty"`
	CPUUsec     *uint64          `json:"cpu_usec,omitempty"`
	Cgroup      string           `json:"cgroup,omitempty"`
	Processes   []Process        `json:"processes,omitempty"`
	Paused      bool             `json:"paused,omitempty"`  // its processes are frozen
	Sockets     []string         `json:"sockets,omitempty"` // those that are open
	Checks      []Check          `json:"checks,omitempty"`  // by name
	// Stop tells how far its stop has got, LastStop of the last one that has ended.
	Stop       *core.Progress `json:"stop,omitempty"`
	LastStop   *core.Stop     `json:"last_stop,omitempty"`
	Requires   []string       `json:"requires,omitempty"`
	RequiredBy []string       `json:"required_by,omitempty"`
	Told       *Told          `json:"told,omitempty"` // while it runs
	// Beside is the unit's other instance while it is replaced; nil: none.
	Beside *Instance `json:"beside,omitempty"`
}

// Instance is that of a unit's two which is not the unit's own: a new one that is
// to take its place as soon as it is ready, or one that is being stopped.
type Instance struct {
	Incarnation uint64     `json:"incarnation"`
	Phase       core.Phase `json:"phase"` // starting, running (not ready yet), stopping, cleaning
	Old         bool       `json:"old"`   // it was the unit's own before
	Since       time.Time  `json:"since"`
	Reason      string     `json:"reason,omitempty"`
	NotReady    string     `json:"not_ready,omitempty"` // why it is not ready yet
	MainPID     int        `json:"main_pid,omitempty"`
	Cgroup      string     `json:"cgroup,omitempty"`
	Processes   []Process  `json:"processes,omitempty"`
}

// Node is one unit's place in the graph, and the times of its way up.
type Node struct {
	Name      string             `json:"name"`
	Type      string             `json:"type"`
	Phase     core.Phase         `json:"phase"`
	Ready     bool               `json:"ready"`
	Requires  []string           `json:"requires,omitempty"`
	Wants     []string           `json:"wants,omitempty"`
	After     []units.Dependency `json:"after,omitempty"`
	Conflicts []string           `json:"conflicts,omitempty"`
	OnFailure []string           `json:"on_failure,omitempty"`
	First     *core.Times        `json:"first,omitempty"` // the first way up that succeeded
	Last      *core.Times        `json:"last,omitempty"`
}

// Boot is what happened before the units of a machine or a container whose PID 1
// is berthd. Elsewhere, and where it was not recorded, there are no spans.
type Boot struct {
	// Spans are in the order in which they began: "kernel", the parts of an
	// initramfs with "initramfs/" before their names, "reaper" (PID 1 before its
	// supervisor), "supervisor" (before the first duty) and the duties.
	Spans []Span `json:"spans"`
	// Done: all duties are over.
	Done bool `json:"done"`
}

// Span is a part of a boot, in the time that the clock shows now for it: what the
// clock was set by since does not matter.
type Span struct {
	Name  string    `json:"name"`
	Begin time.Time `json:"begin"`
	End   time.Time `json:"end"` // zero: it is not over, or the supervisor ended in it
	Error string    `json:"error,omitempty"`
	Notes []string  `json:"notes,omitempty"` // faults that held nothing up
}

// Why tells what led to a unit's state.
type Why struct {
	Chain []core.Link `json:"chain"`
	// Denied are, by unit, the system calls that the kernel's log says were
	// refused to its last main process by its seccomp filter.
	Denied map[string][]string `json:"denied,omitempty"`
}

// Check is one health check, as it was last.
type Check struct {
	Name   string           `json:"name"`
	State  core.HealthState `json:"state"`
	Failed int              `json:"failed,omitempty"` // checks in a row
	At     *time.Time       `json:"at,omitempty"`     // of the last result; nil: there is none
	Took   time.Duration    `json:"took,omitempty"`   // nanoseconds
	Error  string           `json:"error,omitempty"`
	Output string           `json:"output,omitempty"` // the container's; at most 4 KiB
	Next   *time.Time       `json:"next,omitempty"`   // nil: under way, or the unit is not up
}

// Process is one process of a unit's group.
type Process struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
}

// Daemon is the state of the daemon itself.
type Daemon struct {
	Version     string    `json:"version"`
	PID         int       `json:"pid"` // the supervisor's
	ReaperPID   int       `json:"reaper_pid"`
	Started     time.Time `json:"started"`     // this supervisor
	Supervisors int       `json:"supervisors"` // started so far; 1: never restarted
	Orphans     uint64    `json:"orphans"`     // reaped so far
	Generation  uint64    `json:"generation"`
	// RolledBackTo is the generation whose units run after a rollback; 0: none.
	RolledBackTo uint64 `json:"rolled_back_to,omitempty"`
	// Outcome is what became of the generation that runs.
	Outcome *history.Outcome `json:"outcome,omitempty"`
	// Shutdown is the one that is under way; nil: none is.
	Shutdown *ShuttingDown `json:"shutdown,omitempty"`
	Reload   string        `json:"reload"` // auto | manual
	// Pending is what waits for an apply.
	Pending     *Pending           `json:"pending,omitempty"`
	Directories []string           `json:"directories"`
	Cgroup      string             `json:"cgroup"`
	Units       map[core.Phase]int `json:"units"`
	// Invalid holds what is wrong with the unit files as they are now; the generation that runs is the last good one.
	Invalid units.Diagnostics `json:"invalid,omitempty"`
}

// Command asks for something to be done to units. The answer comes when it is done, unless NoBlock.
type Command struct {
	Verb    core.Verb `json:"verb"`
	Units   []string  `json:"units"`
	NoBlock bool      `json:"no_block,omitempty"`
	Signal  string    `json:"signal,omitempty"` // kill: without SIG; "": TERM
	Whole   bool      `json:"whole,omitempty"`  // kill: every process of the group
}

// The verbs that are done beside the state machine: the kernel alone keeps
// whether a unit is paused, and it is Running all the same.
const (
	VerbPause  core.Verb = "pause"
	VerbResume core.Verb = "resume"
)

// Result answers a Command.
type Result struct {
	Failed map[string]string `json:"failed,omitempty"` // unit to reason
	// NotRunning: all that failed did so because they do not run.
	NotRunning bool `json:"not_running,omitempty"`
	// Replaced are, of a restart, the units that were not stopped for it: a new
	// instance took the old one's place.
	Replaced []string `json:"replaced,omitempty"`
	// Stopped are the accounts of all stops that have ended since the Command came:
	// those of units that had to go down with the named ones too.
	Stopped map[string]core.Stop `json:"stopped,omitempty"`
}

// Stopping is a stop that is under way, with the processes that are left.
type Stopping struct {
	core.Progress
	Processes []core.Process `json:"processes,omitempty"`
	More      int            `json:"more,omitempty"` // that are not named
}

// Reload answers a reload of the unit files, an apply, a rollback and a plan.
type Reload struct {
	Generation uint64 `json:"generation"` // that runs now
	// Changes are the units that change, in name order. Values of environment
	// variables are left out for callers who are not admin.
	Changes   config.Plan `json:"changes"`
	Unchanged int         `json:"unchanged"` // how many units stay as they are
	// Applied: the changes were taken up, as Generation.
	Applied bool `json:"applied,omitempty"`
	// Held tells why what the files say is not taken up by itself, but waits for
	// an apply: "manual" by the settings, "rollback" because it was rolled back.
	Held        string            `json:"held,omitempty"`
	Diagnostics units.Diagnostics `json:"diagnostics,omitempty"` // with errors: nothing was changed
}

// Pending is a change of the unit files that waits for an apply.
type Pending struct {
	Since time.Time `json:"since"`
	Units int       `json:"units"` // that change
	Held  string    `json:"held"`  // as in Reload
}

// Rollback asks for an earlier generation.
type Rollback struct {
	Generation uint64 `json:"generation,omitempty"` // 0: the one before that came up without fault
}

// Event is one line of the event stream.
type Event struct {
	Time        time.Time  `json:"time"`
	Unit        string     `json:"unit,omitempty"`
	Incarnation uint64     `json:"incarnation,omitempty"`
	Beside      bool       `json:"beside,omitempty"` // of the other instance in a replace, not of the unit itself
	From        core.Phase `json:"from,omitempty"`
	To          core.Phase `json:"to,omitempty"`
	Reason      string     `json:"reason,omitempty"`
	// Generation is the one that runs, in an event about the unit files: Change
	// tells which, and Reason more of it.
	Generation uint64 `json:"generation,omitempty"`
	Change     Change `json:"change,omitempty"`
	// Check is the health check whose state has changed, to Health.
	Check  string           `json:"check,omitempty"`
	Health core.HealthState `json:"health,omitempty"`
}

// Change is what happened to the unit files.
type Change string

// The changes.
const (
	ChangeApplied Change = "applied" // a new generation is taken up
	ChangePending Change = "pending" // a change waits for an apply
	ChangeInvalid Change = "invalid" // the files have faults
	ChangeOutcome Change = "outcome" // it is clear what became of the generation
)

// Stats are one unit's.
type Stats struct {
	Unit string    `json:"unit"`
	Time time.Time `json:"time"`
	*cgroup.Stats
}

// Exec asks for a further process in a running unit's container.
type Exec struct {
	Args        []string          `json:"args"`
	User        string            `json:"user,omitempty"`
	Dir         string            `json:"dir,omitempty"`
	Environment map[string]string `json:"environment,omitempty"`
	Terminal    bool              `json:"terminal,omitempty"`
	Rows, Cols  uint16            `json:",omitempty"`
	Privileged  bool              `json:"privileged,omitempty"` // all capabilities of berthd, no seccomp filter
}

// LogEntry is one line of a unit's log.
type LogEntry struct {
	Time        time.Time `json:"time"`
	Unit        string    `json:"unit"`
	Stream      string    `json:"stream"` // stdout | stderr
	Priority    int       `json:"priority"`
	Incarnation uint64    `json:"incarnation,omitempty"`
	Text        string    `json:"text"`
}

// LogQuery selects log lines.
type LogQuery struct {
	Units  []string
	Lines  int // the last so many; -1: all
	Since  time.Time
	Follow bool
}

// Error is the body of every answer that is not a success.
type Error struct {
	Code        string            `json:"code"` // not-found | not-running | invalid | forbidden | timeout | failed | usage | no-command | not-executable
	Message     string            `json:"message"`
	Hint        string            `json:"hint,omitempty"`
	Diagnostics units.Diagnostics `json:"diagnostics,omitempty"`
}

// Error is Message.
func (e *Error) Error() string { return e.Message }
