// Package probe finds out whether a program in a container does its work, as
// seen from inside the container: a connection, an HTTP request, a file. The
// supervisor uses it for [ready] and [health].
//
// What runs in the container is not trusted. A probe ends with its context,
// whatever the other side does; it reads a bounded part of what is sent to it,
// follows no redirect and no link out of the container's root, and never runs
// code of the container (that is what the supervisor's own exec is for).
//
// A probe that waits costs a descriptor and a goroutine, so that one which hangs
// takes nothing from the others. What costs a thread is bounded: sockets are made
// in other network namespaces by a few threads at a time (socket.go), and one
// look at a time is taken at a container's files (file.go).
package probe

// Target is the container that is probed. It may be used by several goroutines.
type Target struct {
	// PID is the main process, in this process's PID namespace.
	PID int
	// Use calls f with a pidfd of the main process that stays open meanwhile, and
	// fails if there is none any more.
	Use func(f func(pidfd int) error) error
	// Network tells that the container is in another network namespace than this
	// process, which has to be entered to make a socket there.
	Network bool
	// Looks has room for one: who looks at the container's files holds it.
	Looks chan struct{}
}

// OutputLimit is how much of what a probe sees is kept, in bytes.
const OutputLimit = 4 << 10

// Tail keeps the last OutputLimit bytes that were written to it. It is not safe
// for concurrent use.
type Tail struct {
	buf   []byte
	total int64
}

// Write never fails.
func (t *Tail) Write(p []byte) (int, error) {
	n := len(p)
	t.total += int64(n)
	if len(p) > OutputLimit {
		p = p[len(p)-OutputLimit:]
	}
	if over := len(t.buf) + len(p) - OutputLimit; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

// Total is how many bytes were written.
func (t *Tail) Total() int64 { return t.total }

// String gives what is kept.
func (t *Tail) String() string { return string(t.buf) }
