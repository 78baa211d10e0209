// Package early makes the stack of the main goroutine large before anything else is
// initialized: it imports nothing, and of such packages the one that is first by
// name is first (go.dev/ref/spec, program initialization).
package early

func init() { GrowStack(false) }

// GrowStack makes the stack of its goroutine as large as the start of a container
// needs it. What counts is its frame: from 2 KB on a stack is doubled each time it
// is full, its frames are looked up and copied, and each size comes from memory of
// its own. use is false.
//
//go:noinline
func GrowStack(use bool) {
	if use { // so that it is not written to
		var frame [16 << 10]byte
		fill(frame[:])
	}
}

//go:noinline
func fill(b []byte) { clear(b) }
