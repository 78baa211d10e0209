// Package final is the last stage of a machine or of a container that berthd is
// PID 1 of: what remains to be done when the supervisor has stopped all units, or
// has failed to in its time. PID 1 executes it in its own place (reaper.Finish),
// so that it starts from nothing that may be broken.
//
// It ends the processes that are left, first by asking; turns swap off; unmounts
// what is mounted, and detaches the loop, device-mapper and md devices below, in
// an order that is made anew for each round, since one may free the other; makes
// read-only what cannot be unmounted; tells in one line what was killed and what
// stayed; and calls reboot(2), or executes berthd anew.
//
// The order is data: [Plan] makes it from a [Host], what /proc and /sys say, and
// has no effects. An error never ends the stage: the next step follows. Each step
// that can hang, on a disk or a server that does not answer, is done in a thread
// of its own and left behind when its time is over. The whole has a limit, at
// which reboot(2) is called whatever is left, and so does a panic. For a hang of
// the kernel itself there is the machine's watchdog, which is fed for no longer
// than the limit.
//
// A container keeps its mounts and devices, which are its maker's; only its
// processes are ended.
package final
