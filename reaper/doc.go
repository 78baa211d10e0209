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
// One goroutine, locked to its thread, owns all state and makes all decisions
// (loop.go); it never blocks but in poll(2). table.go is what it knows, without
// a system call; wait.go and children.go look at processes; conn.go and
// requests.go speak with the supervisor; process.go keeps the two processes
// alive; state.go carries everything over an execve of the reaper itself.
//
// Nothing else in a process that calls Run may wait for children: no os/exec, no
// os.Process.Wait, no wait4(-1).
package reaper
