// Package reaper is the process above all others of berth: PID 1, or a child
// subreaper where berthd is not PID 1. It parses nothing and decides nothing. It
// keeps the supervisor and the launcher alive, waits for every process there is,
// passes signals on, and holds descriptors, so that any other part of berth may
// die at any time and nothing is lost.
//
// Run is the reaper, Connect the supervisor's side of it; both run in processes
// of the same binary, joined by a SOCK_SEQPACKET pair. What happens to a process
// that ends:
//
//   - the supervisor or the launcher: started again, with back-off;
//   - registered by the supervisor: reported, and left a zombie until the
//     supervisor acknowledges, so that neither its status nor its pid is lost;
//   - unknown while a start is under way (Begin and not yet Register or
//     Abandon): left a zombie until all the starts that were under way when it
//     was first seen have become one or the other;
//   - any other is an orphan: reaped at once and counted.
//
// As PID 1 it does three things more, all asked for by others: it executes a last
// stage in its own place (Client.Finish), it starts an emergency role when the
// supervisor cannot be kept alive (Config.Emergency), and it ends a supervisor
// that does not say in time that it is alive (Client.Beat; the last one not only
// as PID 1).
//
// One goroutine, locked to its thread, owns all state and makes all decisions
// (loop.go); it never blocks but in poll(2). table.go is what it knows, without
// a system call; wait.go and children.go look at processes; conn.go and
// requests.go speak with the supervisor; process.go keeps the two processes
// alive, watchdog.go, emergency.go and finish.go do what was said above; state.go
// carries everything over an execve of the reaper itself.
//
// Nothing else in a process that calls Run may wait for children: no os/exec, no
// os.Process.Wait, no wait4(-1).
//
// # Its memory is bounded
//
// Everything that grows has an end, and what happens there is a refusal that the
// supervisor is told, or the loss of something that can be done without:
//
//   - open intents: 65536, then Begin is refused with ENOSPC;
//   - intents of supervisors that are gone: 65536, then the oldest is forgotten,
//     and what was made for that start is found in its control group instead;
//   - registrations, with their exits: 65536, then Register is refused with
//     ENOSPC; each is a descriptor, whose limit comes first in general (EMFILE);
//   - zombies held for intents: 65536, then further ones are reaped at once;
//   - the store: 16384 descriptors under names of 255 bytes, then Store is refused
//     with EMFILE; so it is when fewer than 320 descriptors would be left free;
//   - answers that the supervisor does not read: 256, then no request is read, and
//     the socket is full for the supervisor;
//   - exits that it does not read: one number each, at most as many as registrations;
//   - signals that wait for it: each signal once;
//   - launchers that were killed and cannot be reaped yet, which is so while they
//     are in the kernel: one for each start of another, which back-off makes rare;
//   - the list of children that is looked through: 8 bytes for each process that
//     the machine has, and the text of it from /proc, for as long as that takes;
//   - a message: 65 KB, and two buffers for it; a saved state: what is listed here.
//
// # It does not panic
//
// There is nothing in it that is called to panic. What the language panics for:
//
//   - an index: into arrays with constants, after a check of the length in the same
//     statement, or by range. All decoding goes through wire.Decoder, which checks
//     the length in one place (take), and gives zeroes from the first mistake on;
//     counts that are read are bounded before they size anything, and a list grows
//     with what is there and not with what is announced;
//   - a nil map: all of them are made by Run, before anything is read;
//   - a nil pointer: registrations come from a map and are compared with nil where
//     the key may be missing; conn is nil when no supervisor is connected, and
//     looked at anew after each call that may have ended the connection;
//   - a conversion of an interface: os.Signal to syscall.Signal, which package
//     os/signal delivers and nothing else;
//   - a closed channel: none is closed. A division: none but by constants;
//   - a concurrent use of a map: one goroutine has them all. The other one that Run
//     starts has the inbox only, under its mutex;
//   - the end of the stack: nothing is recursive.
//
// What the Go runtime ends a process for: threads that cannot be made, and a
// poller that cannot be (no descriptors). Both are made before anything else
// (warmUp), stay, and suffice: at most three goroutines are in a system call at a
// time. Memory that the kernel refuses would be its end too. With the kernel's
// usual overcommit it refuses none to so small a process, but kills processes, and
// this one is exempt from that where it may be. Under vm.overcommit_memory=2 a
// machine that is full to the last page can end it; so can SIGKILL from the
// kernel's own machinery, as for an uncorrectable memory error (SIGBUS).
//
// All system calls may fail. Each failure has one of these ends: the request is
// refused and changes nothing; the process that was to be started is tried again
// with back-off; the sweep over children is made again a moment later; the
// connection ends and its supervisor with it, whose successor is told everything
// again. TestEachDescriptorFails has each descriptor fail in turn, TestNoProcesses
// each fork, FuzzReaperProtocol, FuzzReaperSession and FuzzReaperState send
// anything, TestMemoryStaysBounded measures.
package reaper
