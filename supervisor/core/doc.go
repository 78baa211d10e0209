// Package core decides what the supervisor does. It is a deterministic state
// machine over all units: events go in, effects come out, and nothing else
// happens. It opens nothing, starts nothing, waits for nothing and reads no
// clock; time and randomness arrive with each event. The shell around it
// (package supervisor) owns the State, carries out the effects and posts what
// comes of them as further events.
//
//	unit files → config → Load ┐                     ┌ Spawn, Signal, Release → workers
//	control API → Command ─────┤→ Step(state, event) →┤ SetTimer → clock
//	workers, reaper, clock ────┘                     └ Reply, Transition → API, log
//
// # Two phases
//
// A step first propagates what is wanted through the graph (desire.go): a start
// pulls in what the unit requires and wants, a stop takes down those that
// require it. Only then it executes (execute.go): whatever can start is
// started and whatever must stop is stopped, as far as the order allows. After
// every step the state is at rest: nothing more can be done until the next event.
//
// # What the words mean
//
// A unit that is required has to be up before its dependents start: a service
// is up when its program has executed, its [ready] has come true and its
// post-start commands succeeded, a task when it has completed, a group when all
// it requires is up and all it wants has been tried. Dependents go down, first, when a required unit is
// stopped, ends by itself or fails for good. They stay up while it is restarted
// automatically, and while it is restarted because its configuration changed;
// an explicit restart stops them first and starts them again afterwards. A task
// without remain binds at the start only: once it has completed, neither a
// second run nor its failure touches dependents that are up.
//
// after only orders, and only where both units are to be up. A task is "ready"
// when it has completed, so after = ["migrate"] waits for the end of migrate. A
// unit in back-off holds up only those that wait for its completion; one that
// failed holds up nobody, for that is what requires is for. Stops go in the
// reverse order.
//
// conflicts work both ways: starting either unit stops the other and waits until
// it is down; of two that are started at the same moment the later name wins.
//
// on-failure units are started whenever a unit becomes failed, whatever the
// cause. Such starts, like the automatic restarts, count towards the start
// limit of the unit that is started, so two units that name each other end.
//
// A start asked for by a user runs a required task that has completed again,
// unless the task remains. An automatic restart does not.
//
// # Ends of processes
//
// An exit is clean with code 0 and, for services, by SIGHUP, SIGINT, SIGTERM and
// SIGPIPE (as in systemd.service(5)); everything else, a process lost to the
// OOM killer, a start that did not reach its program and a failed post-start
// command are failures. A stop that was asked for is never a failure. A clean
// end of a service that is not restarted leaves it inactive.
//
// After the main process has ended, the post-stop commands run, also when the
// start failed (but not when it was lost with the launcher); for a task with
// remain they run when it is stopped. A failing post-stop command is told but
// changes nothing.
//
// A unit that has failed because of one that it requires, and is still desired
// up, is started when that one is up after all. It counts as an automatic start.
//
// The core bounds stops by time, and the wait for [ready]: a start (start-timeout) and a
// hook that hang are ended by the shell, which then answers as for any failure.
// The stop of everything has a limit of its own (State.ShutdownLimit), at which
// what is left is killed without regard to order and post-stop commands.
//
// # Health
//
// The checks of a service begin when it is ready, end with Running, and are each
// made again an interval after the last one was done. While none has succeeded,
// failures within the start-period do not count, and the next check comes soon.
// After as many failures in a row as retries says on-failure is done: restart, with
// the back-off and limit of [restart] but whatever its policy; stop, which makes the
// unit failed for good; shutdown, which stops everything; none, which only tells. A
// unit that is ready, and has no checks, counts as healthy.
//
// # Replace
//
// With [restart] mode = "replace" a restart of a unit that is up, asked for by a
// user or by a changed file, gives it a second instance beside its own, which
// takes over when it is ready; the old one stays if it does not become so. The
// unit is in Running all the while, and nobody who depends on it notices. See
// replace.go. A replace counts towards no limit, and none follows an end of the
// program or a failed health check: what has no instance that works is restarted
// in the ordinary way.
//
// # What starts units by itself
//
// A unit's timer, sockets and watched paths, its triggers, are in force from its
// first start, or from boot with start = "boot", until it is stopped; and a unit
// that is started by one of them is not started at boot itself. A start that falls
// due while the unit is up, on its way, or in back-off is left out, and told.
//
// A calendar's runs are counted from the last one that was made or left out
// (Schedule.Base), which the shell keeps over boots (Stamp). What lies between it
// and now when the machine boots, or the wall clock was set, was missed: one run
// makes up for it, or none. A clock that is put back makes no run a second time.
//
// Sockets are open from Starting on, over every restart, until the unit is down
// for good, or beyond, if traffic on them is to start it again. Too many such
// starts in a short time end that.
//
// # Changes of the configuration
//
// The graph is always that of the newest generation; all other keys of a unit
// that has a process are those it was started with until it is restarted. A
// changed version that does not become ready goes back to the version before,
// which was ready; the order and dependency keys stay the new ones. The version
// that was rejected is not tried again until it is changed. A failed
// unit that was to be up is started again when it is changed, and with it those
// that failed because of it.
//
// A generation is on trial until everything that it changed has settled: then an
// Outcome tells which units went back, and which did not come up (trial.go).
//
// # A lost supervisor
//
// State is plain JSON. A new supervisor loads it, calls Resume, which repeats
// every effect that may have been lost, and posts the ordinary events for what
// happened meanwhile: Spawned or SpawnFailed (Temporary when it is not known
// to have run) for each unit in Starting, and in Stopping without a MainPID;
// Exited for each MainPID that is gone. All effects are therefore to be done at
// least once, and doing one twice has to do no harm.
package core
