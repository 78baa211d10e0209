package reaper

// The seam between the reaper and the supervisor, as the supervisor sees it.
// Client implements it; see client.go.
//
// Delivery. An Exit is told at least once: on Events or, after a restart of the
// supervisor, in its Handover, always with the same Seq, until Ack(Seq). Within
// one connection it is told once. A supervisor that keeps what it has done
// (by Seq) before it acknowledges therefore acts on each exactly once. A Signal
// is told to the supervisor that is connected, or to the next one when there is
// none. One that a supervisor took and died over is not repeated, unless it asks
// for an end (TERM, INT, QUIT, PWR): that is told to every supervisor from then on.

import (
	"os"
	"syscall"
)

// Handover is what a supervisor gets when it connects: everything that the
// reaper kept for it.
type Handover struct {
	// Stored are the descriptors by name; the receiver owns these duplicates.
	Stored map[string][]*os.File
	// Registered are the main processes known, by start id, ended or not.
	Registered []Registration
	// Exits are those not yet acknowledged, oldest first. They come here and not again on Events.
	Exits []Exit
	// Supervisors counts the supervisors started so far, this one included (1: the first).
	Supervisors int
	// Orphans counts the orphans reaped so far.
	Orphans uint64
	// Intents are the start ids begun by an earlier supervisor and neither
	// registered nor abandoned; the reaper has abandoned them by now. They come
	// again in each Handover until the supervisor has cleaned up behind them and
	// calls Abandon.
	Intents []uint64
	// Launcher is the connection to the launcher; nil when none could be started
	// yet (it then comes as a Launcher event). The receiver owns it. Each
	// supervisor gets a launcher of its own.
	Launcher *os.File
}

// Stats are counts for status displays.
type Stats struct {
	Supervisors    int    // started so far
	Launchers      int    // started so far
	Registered     int    // processes registered and not yet acknowledged, running or ended
	Unacknowledged int    // of these: ended
	Held           int    // ended processes that may yet be registered
	Intents        int    // open ones
	Descriptors    int    // stored
	Orphans        uint64 // reaped so far
}

// Registration is a process whose exit is to be reported.
type Registration struct {
	ID    uint64 // start id, chosen by the supervisor, never reused
	PID   int
	PIDFD *os.File // in a Handover: a duplicate, owned by the receiver
}

// Exit is the end of a registered process. The process stays a zombie (and its
// pid is not reused) until Ack.
type Exit struct {
	Seq    uint64
	ID     uint64
	PID    int
	Code   int            // exit status when Signal is 0
	Signal syscall.Signal // 0: exited by itself
	Core   bool
	Rusage *syscall.Rusage // nil where unknown
}

// Event is what comes on Client.Events: one of Exit, Signal, Launcher, EmergencyEnded.
type Event interface{}

// Signal was received by the reaper (TERM, INT, HUP, USR1, USR2, PWR, WINCH …), and is the supervisor's to act on.
type Signal struct{ Signal syscall.Signal }

// Launcher is a new connection to a new launcher; the old one is gone, and what
// was asked of it and not answered did not happen or exits by itself at its gate.
type Launcher struct{ Conn *os.File }

// EmergencyEnded tells that the emergency role has ended, whoever it was started
// for. It is told to the supervisor that is connected then, or to the next one.
type EmergencyEnded struct{}
