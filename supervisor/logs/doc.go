// Package logs carries what services write to where people read it.
//
// The way of a line: the service writes to a pipe A (stdout or stderr) whose
// read end is ours; the pump of its unit takes whole lines off A and gives them
// to a sink: journald by its native protocol, a file in the CRI line format,
// the supervisor's own stderr, or nothing. Read brings lines back from journald
// and files.
//
// A line is neither lost nor doubled, even if the process is killed by SIGKILL
// between any two instructions. Three things make that so:
//
//   - Bytes stay in A while they are delivered: tee(2) copies them to a scratch
//     pipe without consuming. They are consumed afterwards by splice(2) into a
//     private pipe B, which is empty before and has no writer but us, so that the
//     number of bytes in B says how far the consumption came.
//   - What is being delivered stands in a page of shared memory (a memfd): which
//     bytes of which stream, which messages they make, and which phase it is in.
//   - Each sink leaves a witness of its progress that does not need our life:
//     sendmmsg(2) makes the kernel note each datagram sent in an array that lies
//     in that page; a log file's size tells how much of a batch was written. (The
//     console has no witness: lines under way at a SIGKILL may come twice there.)
//
// A's read ends, B and the memfd are kept in the reaper's descriptor store under
// the name of the streams and come back to Adopt after a crash.
//
// A Manager serves all units. Streams that have nothing to do cost four
// descriptors, one page and no goroutine; a goroutine and a scratch buffer from a
// small pool are taken only while there are lines to move. A sink that does not
// take lines (journald away) makes its unit wait with its lines in the pipe, and
// so in the end the service that writes them, and nobody else. Only a full disk
// holds up no service: the pipe's oldest lines are dropped when it is full, and
// the log tells how many as soon as there is room.
package logs
