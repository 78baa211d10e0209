package logs

import (
	"bytes"
	"time"
	"unicode/utf8"
)

// Limits of one message's text, in bytes. Longer lines go in parts.
const (
	fileLineMax    = 16 << 10 // as container runtimes split in the CRI format
	journalLineMax = 48 << 10 // journald's own LineMax
)

const (
	defaultPriority = 6 // informational, for both streams, as systemd has it
	noticePriority  = 4 // warning
)

// rate allows lines in each period; lines <= 0: no limit.
type rate struct {
	lines int64
	per   time.Duration
}

// message is one entry to deliver.
type message struct {
	off, len int   // its text in the data
	newline  bool  // a newline follows the text in the data
	partial  bool  // the line goes on in the next message
	priority uint8 // 0 to 7, from a "<N>" at the start of the line
	prefix   uint8 // bytes of "<N>" at the start of the text
	dropped  uint32
	notice   bool // no text of the service: dropped lines were not written
	full     bool // for want of room
}

// batch is what one round delivers: messages, and the state after each.
// states[0] is the state with none delivered (lines dropped before the first
// message are already behind it).
type batch struct {
	msgs   [maxMessages]message
	states [maxMessages + 1]state
	n      int
}

// input is what plan works on.
type input struct {
	stream int
	data   []byte // from the stream's next byte on
	limit  int    // longest text
	rate   rate
	now    int64 // ns since 1970
	// force: no more data will come until some is taken; final: none ever.
	// In both cases a line without its end is delivered, as a part or as a line.
	force, final bool
	// flush: tell about dropped lines before the period's end.
	flush bool
	// drop: there is no room for any of it.
	drop bool
}

// plan cuts data into messages. It is pure: the same input gives the same
// batch. It reports through b; b.n messages, of which b.states[b.n] is the state
// after all. No message and states[0].src == 0: nothing can be done yet.
func (b *batch) plan(base state, in input) {
	st := base
	st.src, st.out = 0, 0
	b.n = 0
	b.states[0] = st
	b.tell(&st, in, false)
	for b.n < maxMessages {
		size, full, ok := cut(in.data[st.src:], in)
		if !ok {
			return
		}
		if !b.add(&st, in, size, full) {
			return
		}
	}
}

// cut finds the next piece at the start of data: size bytes of text; full: its
// line ends here. ok is false if there is no piece yet.
func cut(data []byte, in input) (size int, full, ok bool) {
	window := data[:min(len(data), in.limit+1)]
	if i := bytes.IndexByte(window, '\n'); i >= 0 {
		return i, true, true
	}
	switch {
	case len(data) > in.limit:
		return wholeRunes(data[:in.limit]), false, true
	case len(data) == 0:
		return 0, false, false
	case in.final:
		return len(data), true, true
	case in.force:
		return wholeRunes(data), false, true
	}
	return 0, false, false
}

// wholeRunes gives the length of data without a UTF-8 sequence that its end cuts
// in two.
func wholeRunes(data []byte) int {
	for back := 1; back <= min(utf8.UTFMax-1, len(data)-1); back++ {
		c := data[len(data)-back]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(data[len(data)-back:]) {
				return len(data) - back
			}
			break
		}
	}
	return len(data)
}

// add puts the piece of size bytes at st.src into the batch, or drops it. It
// reports false if the batch has no room for it; st is then as before.
func (b *batch) add(st *state, in input, size int, full bool) bool {
	cont := st.cont[in.stream]
	if in.drop {
		if cont&contDrop == 0 { // also of a line whose begin was written
			cont |= contDrop
			st.dropped++
			st.full = 1
		}
	}
	text := in.data[st.src : int(st.src)+size]
	msg := message{off: int(st.src), len: size, partial: !full}
	msg.newline = full && int(st.src)+size < len(in.data)
	next := uint32(size)
	if msg.newline {
		next++
	}
	if cont&contOpen == 0 {
		if !b.tell(st, in, true) {
			return false
		}
		msg.priority, msg.prefix = priorityPrefix(text)
		cont = cont&contDrop | msg.priority
		if in.rate.lines > 0 && !in.drop {
			if int64(st.used) >= in.rate.lines {
				cont |= contDrop
				st.dropped++
			} else {
				st.used++
			}
		}
	} else {
		msg.priority = cont & contPrio
	}
	st.src += next
	st.cont[in.stream] = 0
	if !full {
		st.cont[in.stream] = cont | contOpen
	}
	if cont&contDrop != 0 {
		b.states[b.n] = *st // belongs to the message before, which is as good as delivered then
		return true
	}
	b.push(msg, *st)
	return true
}

// tell begins a new rate period when the old one is over, with a notice if
// lines were dropped in it. starting: a line is about to be counted. It reports
// false if there is no room for that line behind the notice.
func (b *batch) tell(st *state, in input, starting bool) bool {
	if in.drop {
		return true
	}
	over := in.rate.lines <= 0 || in.now < st.window || in.now >= st.window+int64(in.rate.per)
	if st.dropped > 0 && (over || st.full != 0 || in.flush && !starting) {
		msg := message{notice: true, dropped: st.dropped, full: st.full != 0, priority: noticePriority}
		st.dropped, st.full = 0, 0
		b.push(msg, *st)
	}
	if over && starting && in.rate.lines > 0 {
		st.window, st.used = in.now, 0
	}
	return b.n < maxMessages
}

func (b *batch) push(msg message, after state) {
	b.msgs[b.n] = msg
	b.n++
	b.states[b.n] = after
}

// priorityPrefix reads the "<N>" that the kernel's log and sd-daemon(3) know.
func priorityPrefix(text []byte) (priority, size uint8) {
	if len(text) >= 3 && text[0] == '<' && text[2] == '>' && text[1] >= '0' && text[1] <= '7' {
		return text[1] - '0', 3
	}
	return defaultPriority, 0
}
