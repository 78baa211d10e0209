package reaper

import (
	"syscall"

	"berth/reaper/internal/wire"
)

// protocol is the version that both ends must speak. They are the same binary
// but for a daemon-reexec, and that ends the connection.
const protocol = 1

const (
	maxName       = 255     // bytes in the name of a stored set
	maxText       = 1024    // bytes in the text of a reply
	intentsPerMsg = 4096    // abandoned intents in one message of a handover
	maxPID        = 4 << 20 // PID_MAX_LIMIT, proc_sys_kernel(5)
)

// kind is the type of a message.
type kind uint8

// What the supervisor sends. All but kindAbandon and kindAck are answered by
// kindReply with the same request number.
const (
	kindBegin kind = iota + 1
	kindRegister
	kindAbandon
	kindAck
	kindStore
	kindDrop
	kindStats
	kindExit
	kindReexec
)

// What the reaper sends. A connection begins with kindHello, then everything
// that is handed over, then kindDone.
const (
	kindHello kind = iota + 64
	kindStored
	kindRegistered
	kindIntents
	kindDone
	kindReply
	kindExited
	kindSignal
	kindLauncher
)

// message is any message; which fields count is told by its kind.
type message struct {
	Kind    kind
	Request uint64 // requests and replies; 0 elsewhere

	ID      uint64   // Begin, Register, Abandon, Registered
	PID     int      // Register, Registered
	Seq     uint64   // Ack
	Name    string   // Store, Drop, Stored
	Number  int      // Exit: the exit code; Signal: the signal
	Errno   uint32   // Reply: 0 for success
	Text    string   // Reply: what went wrong, in words; may be ""
	Stats   Stats    // Hello, and Reply to a kindStats
	Intents []uint64 // Intents
	Exit    Exit     // Exited
}

// fdCount gives how many descriptors a message of the kind carries.
func (k kind) fdCount() (least, most int) {
	switch k {
	case kindRegister, kindRegistered, kindLauncher:
		return 1, 1
	case kindStore, kindStored:
		return 1, wire.MaxFDs
	}
	return 0, 0
}

// encode appends the message to buf.
func (m *message) encode(buf []byte) []byte {
	e := wire.Encoder{Bytes: buf}
	e.U8(protocol)
	e.U8(uint8(m.Kind))
	e.U64(m.Request)
	switch m.Kind {
	case kindBegin, kindAbandon:
		e.U64(m.ID)
	case kindRegister, kindRegistered:
		e.U64(m.ID)
		e.U32(uint32(m.PID))
	case kindAck:
		e.U64(m.Seq)
	case kindStore, kindDrop, kindStored:
		e.String(m.Name)
	case kindExit, kindSignal:
		e.U8(uint8(m.Number))
	case kindReply:
		e.U32(m.Errno)
		e.String(m.Text[:min(len(m.Text), maxText)])
		m.Stats.encode(&e)
	case kindHello:
		m.Stats.encode(&e)
	case kindIntents:
		e.U16(uint16(len(m.Intents)))
		for _, id := range m.Intents {
			e.U64(id)
		}
	case kindExited:
		encodeExit(&e, &m.Exit)
	}
	return e.Bytes
}

// decode reads one message. It accepts only what encode can have written.
func decode(data []byte) (message, bool) {
	d := wire.Decoder{Bytes: data}
	if d.U8() != protocol {
		return message{}, false
	}
	m := message{Kind: kind(d.U8()), Request: d.U64()}
	valid := true
	switch m.Kind {
	case kindBegin, kindAbandon:
		m.ID = d.U64()
	case kindRegister, kindRegistered:
		m.ID = d.U64()
		m.PID = int(d.U32())
		valid = m.PID > 0 && m.PID <= maxPID
	case kindAck:
		m.Seq = d.U64()
	case kindStore, kindDrop, kindStored:
		m.Name = d.String()
		valid = m.Name != "" && len(m.Name) <= maxName
	case kindExit, kindSignal:
		m.Number = int(d.U8())
	case kindReply:
		m.Errno = d.U32()
		m.Text = d.String()
		m.Stats = decodeStats(&d)
		valid = len(m.Text) <= maxText
	case kindHello:
		m.Stats = decodeStats(&d)
	case kindIntents:
		n := int(d.U16())
		valid = n > 0 && n <= intentsPerMsg
		for i := 0; valid && i < n && d.OK(); i++ {
			m.Intents = append(m.Intents, d.U64())
		}
	case kindExited:
		m.Exit = decodeExit(&d)
		valid = m.Exit.PID > 0 && m.Exit.PID <= maxPID && m.Exit.Seq > 0
	case kindStats, kindReexec, kindDone, kindLauncher:
	default:
		valid = false
	}
	// Only requests and replies are numbered, and those that want an answer must be.
	if answered := m.Kind.wantsReply() || m.Kind == kindReply; answered != (m.Request != 0) {
		valid = false
	}
	return m, valid && d.Complete()
}

// wantsReply tells the requests that are answered.
func (k kind) wantsReply() bool {
	return k >= kindBegin && k <= kindReexec && k != kindAbandon && k != kindAck
}

// fromSupervisor tells the kinds that only the supervisor may send.
func (k kind) fromSupervisor() bool { return k >= kindBegin && k <= kindReexec }

func (s *Stats) encode(e *wire.Encoder) {
	for _, n := range [...]int{s.Supervisors, s.Launchers, s.Registered, s.Unacknowledged, s.Held, s.Intents, s.Descriptors} {
		e.U64(uint64(n))
	}
	e.U64(s.Orphans)
}

func decodeStats(d *wire.Decoder) (s Stats) {
	for _, n := range [...]*int{&s.Supervisors, &s.Launchers, &s.Registered, &s.Unacknowledged, &s.Held, &s.Intents, &s.Descriptors} {
		*n = int(d.U64())
	}
	s.Orphans = d.U64()
	return s
}

// encodeExit and decodeExit are used for the saved state too (state.go).
func encodeExit(e *wire.Encoder, x *Exit) {
	e.U64(x.Seq)
	e.U64(x.ID)
	e.U32(uint32(x.PID))
	e.U8(uint8(x.Code))
	e.U8(uint8(x.Signal))
	e.Bool(x.Core)
	e.Bool(x.Rusage != nil)
	if r := x.Rusage; r != nil {
		for _, n := range rusageFields(r) {
			e.U64(uint64(*n))
		}
	}
}

func decodeExit(d *wire.Decoder) (x Exit) {
	x.Seq, x.ID = d.U64(), d.U64()
	x.PID = int(d.U32())
	x.Code = int(d.U8())
	x.Signal = syscall.Signal(d.U8())
	x.Core = d.Bool()
	if d.Bool() {
		x.Rusage = new(syscall.Rusage)
		for _, n := range rusageFields(x.Rusage) {
			*n = int64(d.U64())
		}
	}
	return x
}

// rusageFields are those that Linux fills in, getrusage(2).
func rusageFields(r *syscall.Rusage) [12]*int64 {
	return [...]*int64{
		&r.Utime.Sec, &r.Utime.Usec, &r.Stime.Sec, &r.Stime.Usec, &r.Maxrss,
		&r.Minflt, &r.Majflt, &r.Inblock, &r.Oublock, &r.Nvcsw, &r.Nivcsw, &r.Nsignals,
	}
}
