package core

import (
	"fmt"
	"strings"
)

// Phases returns all phases, in the order of a unit's life.
func Phases() []Phase {
	return []Phase{Inactive, Waiting, Starting, Running, Stopping, Cleaning, Backoff, Completed, Failed}
}

// Edge is one change of phase that there is, and what brings it about.
type Edge struct {
	From, To Phase
	Why      string
}

// Transitions returns every change of phase there is. docs/states.md is made of
// it, and the tests hold Step to it.
func Transitions() []Edge {
	return []Edge{
		{Inactive, Waiting, "start: asked for, pulled in, at boot, by a new file, or by its timer, socket or path"},
		{Inactive, Failed, "on-failure start beyond the start limit; its sockets cannot be opened, or start it too often"},
		{Waiting, Starting, "what it needs is up: Spawn"},
		{Waiting, Running, "a group: what it needs is up"},
		{Waiting, Inactive, "stop"},
		{Waiting, Failed, "a required unit failed"},
		{Starting, Running, "Spawned"},
		{Starting, Stopping, "stop or restart: Abort"},
		{Starting, Cleaning, "SpawnFailed"},
		{Running, Stopping, "stop or restart, not ready in time, post-start failed, the watchdog or a health check: stop steps"},
		{Running, Cleaning, "the main process exited"},
		{Running, Running, "a replace: the new instance has taken over, or it failed and the old one stays"},
		{Running, Starting, "a replace: the old instance ended first, the new one goes on"},
		{Running, Inactive, "a group: stop"},
		{Running, Waiting, "a group: restart"},
		{Running, Failed, "a group: a required unit failed"},
		{Stopping, Cleaning, "the main process exited, or the aborted start ended"},
		{Cleaning, Inactive, "Released after a stop, or a clean exit"},
		{Cleaning, Waiting, "Released: restart, or a start that was lost"},
		{Cleaning, Backoff, "Released: automatic restart"},
		{Cleaning, Completed, "Released: a task that succeeded"},
		{Cleaning, Failed, "Released: failed for good, or start limit hit"},
		{Backoff, Waiting, "the delay is over, or start"},
		{Backoff, Inactive, "stop"},
		{Backoff, Failed, "a required unit failed"},
		{Completed, Waiting, "started again"},
		{Completed, Inactive, "stop"},
		{Completed, Cleaning, "stop of a task that remains: post-stop"},
		{Completed, Failed, "a task that remains: a required unit failed; its sockets cannot be opened, or start it too often"},
		{Failed, Waiting, "start, a changed file, or what it failed for is up"},
		{Failed, Failed, "on-failure start beyond the start limit; its sockets start it too often"},
		{Failed, Inactive, "reset-failed"},
	}
}

// Diagram returns the transitions as a Mermaid state diagram.
func Diagram() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> inactive\n")
	for _, e := range Transitions() {
		// A colon would end the label, a semicolon the statement.
		fmt.Fprintf(&b, "    %s --> %s : %s\n", e.From, e.To, strings.NewReplacer(":", " -", ";", ",").Replace(e.Why))
	}
	return b.String()
}
