package reaper

import (
	"strings"
	"syscall"

	"berth/reaper/internal/wire"
)

// protocol is the version that both ends must speak; it changes only when
// nothing else is possible. Both ends are in general the same binary: a
// daemon-reexec ends the connection, and the new reaper starts a supervisor of
// its own version. They are not where the reaper has to execute its binary by a
// path (no /proc) whose file was replaced. So kinds are only ever added, and the
// body of a kind never changes: an end that gets a kind it does not know passes
// over it, and answers it with ENOSYS if it is a request. A supervisor asks for
// nothing that its reaper does not offer: the environment says up to which
// revision that goes.
const (
	protocol         = 1
	revision         = 2 // 1: up to kindReexec. 2: up to kindReplace
	revisionVariable = "BERTH_REAPER_REVISION"
)

const (
	maxName       = 255     // bytes in the name of a stored set
	maxText       = 1024    // bytes in the text of a reply
	maxArgs       = 64      // arguments of a Finish
	maxArgBytes   = 4096    // of all of them together
	intentsPerMsg = 4096    // abandoned intents in one message of a handover
	maxPID        = 4 << 20 // PID_MAX_LIMIT, proc_sys_kernel(5)
)

// kind is the type of a message.
type kind uint8

// What the supervisor sends. All but kindAbandon, kindAck and kindBeat are
// answered by kindReply with the same request number.
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
	kindBeat
	kindFinish
	kindEmergency
	kindReplace
	lastRequest = kindReplace
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
	kindEmergencyEnded
	lastTold = kindEmergencyEnded
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
	Within  uint64   // Beat, Finish: nanoseconds
	Args    []string // Finish: none withdraws
}

// fdCount gives how many descriptors a message of the kind carries.
func (k kind) fdCount() (least, most int) {
	switch k {
	case kindRegister, kindRegistered, kindLauncher:
		return 1, 1
	case kindStore, kindStored:
		return 1, wire.MaxFDs
	}
	if !k.known() {
		return 0, wire.MaxFDs
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
	case kindBeat:
		e.U64(m.Within)
	case kindFinish:
		e.U64(m.Within)
		encodeArgs(&e, m.Args)
	}
	return e.Bytes
}

// decode reads one message. It accepts only what encode can have written; of a
// kind that is not known, only the kind and the number.
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
	case kindBeat:
		m.Within = d.U64()
	case kindFinish:
		m.Within = d.U64()
		m.Args, valid = decodeArgs(&d)
	case kindStats, kindReexec, kindDone, kindLauncher, kindEmergency, kindReplace, kindEmergencyEnded:
	default:
		return m, m.Kind != 0 && d.OK()
	}
	// Only requests and replies are numbered, and those that want an answer must be.
	if answered := m.Kind.wantsReply() || m.Kind == kindReply; answered != (m.Request != 0) {
		valid = false
	}
	return m, valid && d.Complete()
}

// known tells the kinds of this revision.
func (k kind) known() bool {
	return k >= kindBegin && k <= lastRequest || k >= kindHello && k <= lastTold
}

// wantsReply tells the requests that are answered.
func (k kind) wantsReply() bool {
	return k >= kindBegin && k <= lastRequest && k != kindAbandon && k != kindAck && k != kindBeat
}

// fromSupervisor tells the kinds that only the supervisor may send, those of
// later revisions included.
func (k kind) fromSupervisor() bool { return k >= kindBegin && k < kindHello }

// since is the revision that a request came with.
func (k kind) since() int {
	if k > kindReexec {
		return 2
	}
	return 1
}

// encodeArgs and decodeArgs are used for the saved state too (state.go).
func encodeArgs(e *wire.Encoder, args []string) {
	e.U16(uint16(len(args)))
	for _, a := range args {
		e.String(a)
	}
}

func decodeArgs(d *wire.Decoder) ([]string, bool) {
	n, total := int(d.U16()), 0
	if n > maxArgs {
		return nil, false
	}
	var args []string
	for range n {
		a := d.String()
		if total += len(a); total > maxArgBytes || strings.IndexByte(a, 0) >= 0 {
			return nil, false
		}
		args = append(args, a)
	}
	return args, d.OK()
}

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
