// Package launcher is the small, stateless process that forks programs for the
// supervisor, and the supervisor's client for it. A fork costs what the forker's
// memory costs, and a child between fork and execve must not be a copy of
// anything that matters; hence a process of its own.
//
// A request is a compiled program's image and its descriptors; the answer is a
// pid and a pidfd. The child has CLONE_PARENT: it is the reaper's from birth.
// It waits at a gate, a pipe whose write end only the supervisor holds, and ends
// by itself when that is closed, so neither the death of the launcher nor of the
// supervisor lets a program run that nobody knows of.
//
// The launcher holds no connection but the one to its supervisor, and ends with
// it. Each supervisor gets a new one from the reaper, and another as a Launcher
// event whenever that dies.
package launcher

import (
	"berth/reaper/internal/wire"
)

const (
	protocol = 3
	// maxInline is the largest image that goes in the message itself; a larger
	// one goes in a sealed memfd, as the first of the descriptors.
	maxInline = 64 << 10
	// MaxImage is the size of the largest image in bytes.
	MaxImage = 16 << 20
	// MaxFiles is how many descriptors a program may have.
	MaxFiles = wire.MaxFDs - 1
	maxText  = 1024
)

// request asks for one fork or, with Ahead, announces one; that has no answer.
type request struct {
	Number uint64
	Ahead  uint64 // flags of clone(2), not 0; then there is nothing else
	Sealed bool   // the image is in the first descriptor
	Image  []byte // else here
}

func (q *request) encode(buf []byte) []byte {
	e := wire.Encoder{Bytes: buf}
	e.U8(protocol)
	e.U64(q.Number)
	e.U64(q.Ahead)
	e.Bool(q.Sealed)
	e.Bytes = append(e.Bytes, q.Image...)
	return e.Bytes
}

// decodeRequest reads a request; Image is within data.
func decodeRequest(data []byte) (request, bool) {
	d := wire.Decoder{Bytes: data}
	version := d.U8()
	q := request{Number: d.U64(), Ahead: d.U64(), Sealed: d.Bool(), Image: d.Rest()}
	if !d.OK() || version != protocol || len(q.Image) > maxInline {
		return q, false
	}
	if q.Ahead != 0 {
		return q, q.Number == 0 && !q.Sealed && len(q.Image) == 0
	}
	return q, q.Number != 0 && q.Sealed == (len(q.Image) == 0)
}

// answer is the outcome of one request; a pidfd comes with it when PID is not 0.
// The first one, with the number 0, answers nothing and says only Sealed.
type answer struct {
	Number uint64
	Sealed bool // see sealed
	PID    int
	Errno  uint32 // 0 when there is none
	Text   string // what went wrong
}

func (a *answer) encode(buf []byte) []byte {
	e := wire.Encoder{Bytes: buf}
	e.U8(protocol)
	e.U64(a.Number)
	e.Bool(a.Sealed)
	e.U32(uint32(a.PID))
	e.U32(a.Errno)
	e.String(a.Text[:min(len(a.Text), maxText)])
	return e.Bytes
}

func decodeAnswer(data []byte) (answer, bool) {
	d := wire.Decoder{Bytes: data}
	version := d.U8()
	a := answer{Number: d.U64(), Sealed: d.Bool(), PID: int(d.U32()), Errno: d.U32(), Text: d.String()}
	if a.Number == 0 {
		return a, d.Complete() && version == protocol && a == answer{Sealed: a.Sealed}
	}
	ok := d.Complete() && version == protocol && !a.Sealed && len(a.Text) <= maxText &&
		a.PID >= 0 && a.PID <= 4<<20 && (a.PID == 0) == (a.Text != "" || a.Errno != 0)
	return a, ok
}
