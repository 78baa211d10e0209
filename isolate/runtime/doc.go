// Package runtime keeps OCI containers: it is what the command line of
// cmd/berth-oci does, without flags and printing. A container is made from a
// bundle by package isolate/oci, put into groups by isolate/cgroup and started by
// package isolate; what this package adds is the life between the commands,
// each of which is a process of its own.
//
// All that outlives a command is in one directory per container below a root
// directory, see Runtime:
//
//	state.json   the Record, replaced by rename: whoever reads it sees a whole one
//	config.json  the bundle's configuration as it was at the creation
//	gate         the FIFO at which the first process waits for Start
//	status       the FIFO over which it tells Start how executing went
//
// A container is there as long as its state.json is. Everything else is derived
// from what the kernel knows: whether the process lives, whether it still holds
// the gate, whether its group is frozen. So no command can leave a state that is
// wrong, wherever it is killed; it can only leave a container half made, which
// Delete with force clears away.
//
// Commands that change a container (create, start, delete, pause, update) hold
// an exclusive flock(2) on its directory. State, Kill and Exec take none: a
// hook that runs inside of another command may use them.
//
// A process is known by its pid, its start time, the machine's boot and, where
// the kernel has pidfs (Linux 6.9), the inode of its pidfd. It is always opened
// as a pidfd first, compared then and signalled last, so that a pid that has come
// to mean another process is never hit.
package runtime
