// Package supervisor is the shell around supervisor/core: it turns what happens
// (exits, file changes, requests, timers) into events, and the core's effects
// into action.
//
// One goroutine, the loop, owns the core's state. Everything that can take time
// (building a container, stopping one, running a hook) is done by workers, one
// at a time per unit, which post events back. What must survive the supervisor
// is written down before it is acted on: each step's changed units go to a
// snapshot in a memfd that the reaper keeps, together with pidfds and log pipes.
// A supervisor that starts finds them there and goes on.
//
// The way of a start: core asks for Spawn → container.Build and isolate.Compile
// say what it will be → cgroup and log streams are made → isolate.Prepare opens
// what is needed → the launcher forks → the reaper registers the pid → the gate
// opens → exec → the event Spawned.
package supervisor
