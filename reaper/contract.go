package reaper

// The seam between the reaper and the supervisor, as the supervisor sees it.
// Client implements it; see client.go.

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
	// registered nor abandoned; the reaper has abandoned them by now.
	Intents []uint64
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

// Event is what comes on Client.Events: one of Exit, Signal, Launcher.
type Event interface{}

// Signal was received by the reaper (TERM, INT, HUP, USR1, USR2, PWR, WINCH …), and is the supervisor's to act on.
type Signal struct{ Signal syscall.Signal }

// Launcher is a new connection to a new launcher; the old one is gone, and what
// was asked of it and not answered did not happen or exits by itself at its gate.
type Launcher struct{ Conn *os.File }
