package core

import (
	"time"

	"berth/units"
)

// Incarnation numbers the starts of units, over all units and for the life of
// the machine's supervision (it survives a restart of the supervisor). Events
// and timers carry it; those of an incarnation that is over are no-ops.
type Incarnation uint64

// Input is one event with the time and the randomness that Step may use.
type Input struct {
	// Now is in the machine's time zone: calendars that name none are read in it.
	Now   time.Time
	Rand  float64 // in [0,1), for jitter
	Event Event
	// Zones are the time zones that calendars name, by name; not UTC.
	Zones map[string]*time.Location
}

// Event is what may happen: one of the types below.
type Event interface{ event() }

// The events.
type (
	// Load brings a new generation, already validated as a whole. Changes tells
	// per unit how it differs from what the previous generation said, in the
	// heaviest class of its changed keys; units that are new or gone are told by
	// Units itself. Boot: start every unit with start = "boot" (first load).
	Load struct {
		Generation uint64
		Units      map[string]*units.Unit
		Changes    map[string]Change
		Boot       bool
		// Only, with Boot: start this unit in place of all those. "": those.
		Only string
		// Retry tries versions that were rejected once more.
		Retry bool
		// Good are, for units that are not known yet, the versions to go back to.
		Good map[string]*units.Unit
		// Runs are, at boot, where the timers stood when the machine was last up.
		Runs map[string]Run
	}
	// Command is what a user asked for. ID is answered by Reply exactly once.
	Command struct {
		ID    uint64
		Verb  Verb
		Units []string
		By    string // who asked, for people
		// NoBlock: reply as soon as it is queued, not when it is done.
		NoBlock bool
		Signal  string // Kill: without SIG
		Whole   bool   // Kill: the whole group and not only the main process
	}
	// Spawned: the incarnation's main process has executed its program.
	Spawned struct {
		Unit        string
		Incarnation Incarnation
		PID         int
	}
	// SpawnFailed: it has not, and nothing of it is left but what Release removes.
	SpawnFailed struct {
		Unit        string
		Incarnation Incarnation
		Reason      string
		Temporary   bool // lost with a launcher or supervisor: start again at once, count nothing
	}
	// Exited: the main process has ended. It comes at most once for an
	// incarnation, and never before its Spawned.
	Exited struct {
		Unit        string
		Incarnation Incarnation
		Status      ExitStatus
	}
	// Shutdown: stop everything in order, then Done. What takes longer than the
	// State's ShutdownLimit is killed at once. Force: Done at once, whatever runs;
	// the owner ends it. While one is under way, another changes nothing but by Force.
	Shutdown struct {
		Action Action
		By     string // who or what asked for it, for people
		Force  bool
	}
	// Released: after Release; no process, group, mount or descriptor of the incarnation is left.
	Released struct {
		Unit        string
		Incarnation Incarnation
	}
	// HookDone: the hook asked for by RunHook has ended. Err is "" on success.
	HookDone struct {
		Unit        string
		Incarnation Incarnation
		Hook        Hook
		Err         string
	}
	// Readiness answers AwaitReady: once when the unit is ready, and before it any
	// number of times with the reason why it is not yet, for people.
	Readiness struct {
		Unit        string
		Incarnation Incarnation
		Ready       bool
		Why         string
	}
	// Notified: the program has told something of itself, after Spawned.
	Notified struct {
		Unit        string
		Incarnation Incarnation
		Message
	}
	// Probed answers Probe. Err is "" on success; Output is what was seen, of the
	// container's making. Skipped: it was not made, because the unit is paused.
	Probed struct {
		Unit        string
		Incarnation Incarnation
		Check       string
		Seq         uint64
		Err         string
		Output      string
		Took        time.Duration
		Skipped     bool
	}
	// TimerFired: the time of a SetTimer has come.
	TimerFired struct {
		Unit  string
		Timer Timer
		Seq   uint64
	}
	// ClockChanged: the wall clock was set, or the machine has slept.
	ClockChanged struct{}
	// Activated answers Sockets with Listen, once: there is traffic on that one, or
	// Err says why they cannot be listened on.
	Activated struct {
		Unit   string
		Seq    uint64
		Socket string
		Err    string
	}
	// PathChanged: one of those given to Watch has changed, and come to rest.
	PathChanged struct {
		Unit string
		Path string
	}
)

// Verb is what a Command asks for.
type Verb string

// The verbs.
const (
	VerbStart   Verb = "start"
	VerbStop    Verb = "stop"
	VerbRestart Verb = "restart"
	VerbReload  Verb = "reload" // the unit's own [service] reload
	VerbKill    Verb = "kill"
	VerbReset   Verb = "reset-failed"
)

// Run is what is kept of a timer over a boot: see Schedule.
type Run struct {
	Text    string    `json:"text"`
	Base    time.Time `json:"base"`
	LastRun time.Time `json:"last_run,omitzero"`
}

// Change is how a unit of the new generation differs from the running one.
type Change struct {
	Class units.Class
	Keys  []string
}

// ExitStatus is how a process ended: by Code, or by Signal (0: not by one).
type ExitStatus struct {
	Code   int  `json:"code"`
	Signal int  `json:"signal,omitempty"`
	Core   bool `json:"core,omitempty"`
	OOM    bool `json:"oom,omitempty"` // the kernel killed something in the group for lack of memory
	// With OOM, as far as the kernel tells: the group's limit and its peak, in bytes.
	MemoryMax  uint64 `json:"memory_max,omitempty"`
	MemoryPeak uint64 `json:"memory_peak,omitempty"`
}

// Hook names a program beside the main one.
type Hook string

// The hooks. Pre-start belongs to the spawn itself.
const (
	HookPostStart Hook = "post-start"
	HookPostStop  Hook = "post-stop"
	HookReload    Hook = "reload"
)

// Timer names a timer of a unit; a unit has at most one of each.
type Timer string

// lasting reports whether the timer outlives the phase in which it was set.
func (t Timer) lasting() bool {
	switch t {
	case TimerBesideStop, TimerBesideReady, TimerCalendar, TimerEvery, TimerPath:
		return true
	}
	return false
}

// The timers.
const (
	TimerRestart Timer = "restart" // back-off is over
	TimerStop    Timer = "stop"    // the stop step's wait is over
	TimerReady   Timer = "ready"   // did not become ready in its time
	TimerReset   Timer = "reset"   // ran long enough: back-off returns to its first delay
	TimerReload  Timer = "reload"  // did not say in its time that it has reloaded
	// TimerWatchdog: was not heard of for as long as it may be silent. The shell
	// posts Notified instead where the program was heard of later than it has told:
	// so it need not tell each message.
	TimerWatchdog Timer = "watchdog"
	// and "health/NAME" for each health check: its time has come

	// Of the instance beside the unit's own; see replace.go.
	TimerBesideStop  Timer = "beside-stop"
	TimerBesideReady Timer = "beside-ready"
)

// Effect is what the shell shall do: one of the types below. Effects are done in
// the order given as far as one unit is concerned; slow ones are done by workers
// that answer with the event named.
type Effect interface{ effect() }

// The effects.
type (
	// Spawn starts the unit's main process (with set-up and pre-start).
	// Answer: Spawned or SpawnFailed.
	Spawn struct {
		Unit        string
		Incarnation Incarnation
		Config      *units.Unit
	}
	// Abort gives up a spawn that has not answered yet; it still answers.
	Abort struct {
		Unit        string
		Incarnation Incarnation
	}
	// Signal sends to the main process or to the whole group. No answer.
	Signal struct {
		Unit        string
		Incarnation Incarnation
		Signal      string // without SIG
		Whole       bool
	}
	// KillGroup kills every process of the group. No answer: Exited comes.
	KillGroup struct {
		Unit        string
		Incarnation Incarnation
	}
	// Release kills what is left of the incarnation and removes all of it.
	// Answer: Released.
	Release struct {
		Unit        string
		Incarnation Incarnation
	}
	// RunHook runs post-start and reload commands inside the running container,
	// post-stop in a fresh container of the same unit. Answer: HookDone.
	RunHook struct {
		Unit        string
		Incarnation Incarnation
		Hook        Hook
		Config      *units.Unit
	}
	// AwaitReady finds out when the unit is ready in the way that Config.Ready
	// says, until the main process ends, the unit is stopped or it is ready.
	// Answer: Readiness.
	AwaitReady struct {
		Unit        string
		Incarnation Incarnation
		Config      *units.Unit
	}
	// Probe makes one health check, within Config.Timeout. Answer: Probed.
	Probe struct {
		Unit        string
		Incarnation Incarnation
		Check       string
		Seq         uint64
		Config      units.Probe
	}
	// HealthChanged tells what a user sees in events and logs. Reason is of Unhealthy.
	HealthChanged struct {
		Unit        string
		Incarnation Incarnation
		Check       string
		State       HealthState
		Reason      string
	}
	// ApplyLive writes the changed live keys to the running incarnation (limits, log). No answer.
	ApplyLive struct {
		Unit        string
		Incarnation Incarnation
		Config      *units.Unit
		Keys        []string
	}
	// SetTimer arms a timer; it replaces one of the same name. No answer but TimerFired.
	SetTimer struct {
		Unit  string
		Timer Timer
		Seq   uint64
		At    time.Time
	}
	// StopTimer disarms it; a TimerFired that is already on its way is stale by its Seq.
	StopTimer struct {
		Unit  string
		Timer Timer
	}
	// Stamp has the state of a unit's timer kept over a boot. No answer.
	Stamp struct {
		Unit string
		Run  Run
	}
	// Sockets has the unit's listening sockets be these and no others: what is open
	// of them already stays as it is, and they stay open until the next Sockets.
	// Listen: the first traffic on one with activate is to be told; Answer:
	// Activated. Without it there is none: Spawn needs them, and tells.
	Sockets struct {
		Unit    string
		Seq     uint64
		Sockets []units.Socket
		Listen  bool
	}
	// Watch has these paths of the host be watched for changes, and no others.
	// Answer: PathChanged, each time.
	Watch struct {
		Unit  string
		Paths []string
	}
	// Reply answers a Command. Err is "" on success. Failed names the units that did not make it,
	// Replaced those that a restart has replaced without stopping them.
	Reply struct {
		ID       uint64
		Err      string
		Failed   map[string]string
		Replaced []string
	}
	// Transition tells what a user sees in events and logs.
	Transition struct {
		Unit        string
		Incarnation Incarnation
		From, To    Phase
		Reason      string
	}
	// Report tells what a user should know, and changes no phase. No answer.
	Report struct {
		Unit        string
		Incarnation Incarnation
		Text        string
	}
	// Beside tells what becomes of a unit's other instance in a replace, as
	// Transition does of the unit itself; To is Inactive when it is gone.
	Beside struct {
		Unit        string
		Incarnation Incarnation
		From, To    Phase
		Reason      string
	}
	// Done: after Shutdown, everything is down.
	Done struct{}
)

// Phase is where a unit is. The desired state (up or down) is separate.
type Phase string

// The phases.
const (
	Inactive  Phase = "inactive"  // down and clean
	Waiting   Phase = "waiting"   // to be started, as soon as what it needs is there
	Starting  Phase = "starting"  // Spawn is under way
	Running   Phase = "running"   // the main process runs (a group: is up)
	Stopping  Phase = "stopping"  // stop steps under way
	Cleaning  Phase = "cleaning"  // main process gone: post-stop and Release under way
	Backoff   Phase = "backoff"   // will be restarted when the delay is over
	Completed Phase = "completed" // a task that has run to its end with success
	Failed    Phase = "failed"    // for good: until a user, a change or a dependency starts it again
)
