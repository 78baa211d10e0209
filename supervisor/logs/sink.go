package logs

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Target is where lines go, resolved: never "auto".
type Target uint32

// The targets.
const (
	TargetNull Target = iota
	TargetJournald
	TargetFile
	TargetConsole
)

func (t Target) String() string {
	switch t {
	case TargetJournald:
		return "journald"
	case TargetFile:
		return "file"
	case TargetConsole:
		return "console"
	}
	return "null"
}

const (
	stdout = 0
	stderr = 1
)

var streamNames = [2]string{"stdout", "stderr"}

// sink takes batches. Its methods are called by the one goroutine that runs the
// streams, with phase idle (prepare) or delivering (the others).
type sink interface {
	// prepare makes all ready for the batch in sc and its witness in the page:
	// nothing delivered.
	prepare(s *Streams, sc *scratch, stream int, data []byte, now int64) error
	// deliver sends the batch, as much of it as goes without waiting.
	deliver(s *Streams, sc *scratch) error
	// delivered tells from the witness how many messages have gone, and brings
	// the sink to exactly that state. It is all that is called after a crash.
	delivered(s *Streams) (int, error)
}

func (s *Streams) sinkFor(t Target) (sink, error) {
	switch t {
	case TargetJournald:
		return s.m.journal, nil
	case TargetFile:
		return s.file, nil
	case TargetConsole:
		return s.m.console, nil
	}
	return nil, fmt.Errorf("the log target %d is not known", t)
}

// lockFile keeps other streams of the same unit (an incarnation that is still
// being finished) off the unit's log file from the begin of a batch until its
// outcome is settled in the page.
func (s *Streams) lockFile(t Target) {
	if t == TargetFile {
		s.file.mu.Lock()
	}
}

func (s *Streams) unlockFile(t Target) {
	if t == TargetFile {
		s.file.mu.Unlock()
	}
}

// text gives the service's text of a message, or the notice in its place,
// which it puts into the scratch's prefix memory.
func (sc *scratch) text(m *message, data []byte, r rate) []byte {
	if !m.notice {
		return data[m.off : m.off+m.len]
	}
	return sc.keep(func(b []byte) []byte {
		b = fmt.Appendf(b, "%d lines dropped", m.dropped)
		switch {
		case m.full:
			b = append(b, ": the disk was full"...)
		case r.lines > 0:
			b = fmt.Appendf(b, ": more than %d in %s (log.rate)", r.lines, r.per)
		}
		return b
	})
}

// keep appends to the prefix memory and gives what was appended.
func (sc *scratch) keep(add func([]byte) []byte) []byte {
	start := len(sc.prefix)
	sc.prefix = add(sc.prefix)
	if cap(sc.prefix) != prefixSize {
		panic("logs: a batch's prefixes do not fit") // they are bounded by the unit name's length
	}
	return sc.prefix[start:]
}

// lines sets the vectors of a text sink: per message its head, text and newline.
// It notes the end of each message in the output.
func (sc *scratch) lines(data []byte, r rate, head func(b []byte, m *message) []byte) []unix.Iovec {
	sc.prefix = sc.prefix[:0]
	nl := sc.keep(func(b []byte) []byte { return append(b, '\n') })
	out, v := uint32(0), 0
	for j := range sc.batch.msgs[:sc.batch.n] {
		m := &sc.batch.msgs[j]
		h := sc.keep(func(b []byte) []byte { return head(b, m) })
		t := sc.text(m, data, r)
		vector(&sc.iovs[v], h)
		vector(&sc.iovs[v+1], t)
		vector(&sc.iovs[v+2], nl)
		v += 3
		out += uint32(len(h) + len(t) + 1)
		sc.batch.states[j+1].out = out
	}
	return sc.iovs[:v]
}

const timeLayout = "2006-01-02T15:04:05.000000000Z"

func appendTime(b []byte, now int64) []byte {
	return time.Unix(0, now).UTC().AppendFormat(b, timeLayout)
}
