package reaper

import (
	"maps"
	"slices"
	"syscall"
	"time"

	"berth/reaper/internal/wire"

	"golang.org/x/sys/unix"
)

const (
	// maxReplies is how many answers may wait to be sent before no more
	// requests are read.
	maxReplies = 256
	// sendRetry is the pause after a failure to send that poll cannot tell the
	// end of: no memory, or too many descriptors in flight (ETOOMANYREFS).
	sendRetry = 20 * time.Millisecond
)

// stage is how far a handover is.
type stage int

const (
	stageHello stage = iota
	stageStored
	stageRegistered
	stageExits
	stageIntents
	stageLauncher
	stageDone
	stageLive // requests are read, and events sent
)

// conn is the connection to the supervisor that runs. What it has to send is
// taken from the table piece by piece as the socket has room, so a supervisor
// that does not read costs no memory and blocks nothing.
type conn struct {
	fd    int
	stage stage

	// What is still to be handed over. The table does not change meanwhile but
	// for new exits, which go to exits below.
	names      []string
	registered []uint64
	handed     []uint64 // seqs
	intents    []uint64

	replies []message
	exits   []uint64 // seqs that were not told on this connection

	// next is the message to be sent now; empty: ask for one.
	next      []byte
	nextFDs   []int
	relaying  syscall.Signal // next is this signal
	endings   []syscall.Signal
	ending    syscall.Signal // asks for an end, and was told; 0: none was
	launching bool           // next is the launcher's connection

	full  bool      // wait until there is room
	retry time.Time // not before then
}

// connect begins the connection to a new supervisor.
func (r *reaper) connect(fd int) {
	t := r.table
	r.conn = &conn{
		endings:    r.endings(),
		fd:         fd,
		names:      slices.Sorted(maps.Keys(t.store)),
		registered: slices.Sorted(maps.Keys(t.byID)),
		handed:     t.unacknowledged(),
		intents:    slices.Clone(t.abandoned),
	}
}

// disconnect ends the connection, closes the intents of its supervisor, and
// kills that if it lives.
func (r *reaper) disconnect() {
	c := r.conn
	r.conn = nil
	unix.Close(c.fd)
	r.signals = c.untold(r.signals)
	r.table.abandonAll()
	r.reapReleased()
	if r.supervisor.pid != 0 {
		unix.Kill(r.supervisor.pid, unix.SIGKILL)
	}
}

// violation ends the connection to a supervisor that does what it must not.
func (r *reaper) violation(what string) {
	r.log("the supervisor sent " + what + ": it is killed and started again")
	r.disconnect()
}

// flush sends what there is to send, as far as the socket takes it.
func (r *reaper) flush(now time.Time) {
	for c := r.conn; c != nil && !c.full && !now.Before(c.retry); c = r.conn {
		if len(c.next) == 0 && !r.compose(c) {
			return
		}
		switch err := wire.Send(c.fd, c.next, c.nextFDs); err {
		case nil:
			if c.launching {
				r.closeLauncherConn()
			}
			c.sent()
		case unix.EAGAIN:
			c.full = true
		case unix.ENOMEM, unix.ENOBUFS, unix.ETOOMANYREFS:
			c.retry = now.Add(sendRetry)
		case unix.EPIPE, unix.ECONNRESET:
			// What it sent before it closed still counts.
			r.readRequests(true)
			if r.conn != nil {
				r.disconnect()
			}
		default:
			r.log("cannot send to the supervisor: " + err.Error())
			r.disconnect()
		}
	}
}

// untold puts the signals that the next supervisor is to be told before others:
// the one that was about to be sent, and one that asks for an end, for this
// supervisor may have died before it wrote that down. Told twice it is no more.
func (c *conn) untold(others []syscall.Signal) []syscall.Signal {
	for _, s := range []syscall.Signal{c.relaying, c.ending} {
		if s != 0 && !slices.Contains(others, s) {
			others = slices.Insert(slices.Clone(others), 0, s)
		}
	}
	return others
}

// sent makes room for the next message.
func (c *conn) sent() {
	if slices.Contains(c.endings, c.relaying) {
		c.ending = c.relaying
	}
	c.next, c.nextFDs, c.relaying, c.launching = c.next[:0], nil, 0, false
}

// compose makes the next message, if there is one.
func (r *reaper) compose(c *conn) bool {
	if c.stage != stageLive {
		m, fds := r.hand(c)
		r.ready(c, m, fds...)
		return true
	}
	switch {
	case len(c.replies) > 0:
		r.ready(c, c.replies[0])
		c.replies = pop(c.replies)
	case r.launcherConn >= 0:
		c.launching = true
		r.ready(c, message{Kind: kindLauncher}, r.launcherConn)
	case r.emergencyOver:
		r.emergencyOver = false
		r.ready(c, message{Kind: kindEmergencyEnded})
	case len(r.signals) > 0:
		c.relaying = r.signals[0]
		r.signals = pop(r.signals)
		r.ready(c, message{Kind: kindSignal, Number: int(c.relaying)})
	default:
		for len(c.exits) > 0 {
			ended := r.table.bySeq[c.exits[0]]
			c.exits = pop(c.exits)
			if ended != nil {
				r.ready(c, message{Kind: kindExited, Exit: *ended.exit})
				return true
			}
		}
		return false
	}
	return true
}

// ready makes m the next message to be sent.
func (r *reaper) ready(c *conn, m message, fds ...int) {
	c.next, c.nextFDs = m.encode(c.next[:0]), fds
}

// hand gives the next message of the handover.
func (r *reaper) hand(c *conn) (message, []int) {
	for {
		switch c.stage {
		case stageHello:
			c.stage++
			return message{Kind: kindHello, Stats: r.table.stats()}, nil
		case stageStored:
			for len(c.names) > 0 {
				name := c.names[0]
				c.names = pop(c.names)
				if fds := r.table.store[name]; fds != nil {
					return message{Kind: kindStored, Name: name}, fds
				}
			}
		case stageRegistered:
			for len(c.registered) > 0 {
				g := r.table.byID[c.registered[0]]
				c.registered = pop(c.registered)
				if g != nil {
					return message{Kind: kindRegistered, ID: g.id, PID: g.pid}, []int{g.pidfd}
				}
			}
		case stageExits:
			for len(c.handed) > 0 {
				ended := r.table.bySeq[c.handed[0]]
				c.handed = pop(c.handed)
				if ended != nil {
					return message{Kind: kindExited, Exit: *ended.exit}, nil
				}
			}
		case stageIntents:
			if n := min(len(c.intents), intentsPerMsg); n > 0 {
				ids := c.intents[:n]
				c.intents = c.intents[n:]
				return message{Kind: kindIntents, Intents: ids}, nil
			}
		case stageLauncher:
			if r.launcherConn >= 0 {
				c.stage++
				c.launching = true
				return message{Kind: kindLauncher}, []int{r.launcherConn}
			}
		case stageDone:
			c.stage++
			return message{Kind: kindDone}, nil
		}
		c.stage++
	}
}

// pop takes the first element away, and lets go of the array with the last.
func pop[T any](s []T) []T {
	if len(s) == 1 {
		return nil
	}
	return s[1:]
}

// wants gives the events that poll shall wait for.
func (c *conn) wants() int16 {
	var events int16
	if c.stage == stageLive && len(c.replies) < maxReplies {
		events |= unix.POLLIN
	}
	if c.full {
		events |= unix.POLLOUT
	}
	return events
}
