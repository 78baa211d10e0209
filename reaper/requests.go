package reaper

import (
	"io"
	"strconv"
	"syscall"
	"time"

	"berth/reaper/internal/wire"

	"golang.org/x/sys/unix"
)

const (
	// requestBatch is how many requests are read before the loop looks at
	// everything else again, and lastRequests how many at most of a supervisor
	// that has ended: more than a socket holds.
	requestBatch = 256
	lastRequests = 1 << 14
	// spareFDs are kept free of stored ones, or half of all where there are so
	// few: one message's worth of new descriptors, and what starting processes takes.
	spareFDs = wire.MaxFDs + 70
)

// readRequests carries out what the supervisor has asked for. With all, it goes
// on until nothing is left, however many answers wait: the supervisor is gone.
func (r *reaper) readRequests(all bool) {
	limit := requestBatch
	if all {
		limit = lastRequests
	}
	for n := 0; n < limit && r.conn != nil && (all || len(r.conn.replies) < maxReplies); n++ {
		got, err := wire.Recv(r.conn.fd, &r.buffers, unix.MSG_DONTWAIT)
		switch err {
		case nil:
			r.request(got)
		case unix.EAGAIN:
			return
		case unix.ENOMEM, unix.ENOBUFS:
			return // poll tells again
		case wire.ErrTooLong:
			r.violation("a message that is too long")
		default:
			if err != io.EOF && err != unix.ECONNRESET {
				r.log("cannot read from the supervisor: " + err.Error())
			}
			r.disconnect()
		}
	}
}

// request carries out one. It owns the message's descriptors.
func (r *reaper) request(got wire.Received) {
	m, ok := decode(got.Data)
	least, most := m.Kind.fdCount()
	if !ok || !m.Kind.fromSupervisor() || len(got.FDs) > most || (len(got.FDs) < least && !got.Lost) {
		wire.CloseAll(got.FDs)
		r.violation("a message that makes no sense")
		return
	}
	reply := message{Kind: kindReply, Request: m.Request}
	refuse := func(errno syscall.Errno, text string) {
		reply.Errno, reply.Text = uint32(errno), text
	}
	if !m.Kind.known() {
		wire.CloseAll(got.FDs)
		refuse(syscall.ENOSYS, "this reaper is older than its supervisor, and does not know such a request")
	} else if got.Lost || (most > 0 && !r.room(len(got.FDs))) {
		wire.CloseAll(got.FDs)
		refuse(syscall.EMFILE, "the reaper can keep no more descriptors")
	} else {
		switch m.Kind {
		case kindBegin:
			refuse(r.table.begin(m.ID), "")
		case kindRegister:
			refuse(r.register(m.ID, m.PID, got.FDs[0]))
		case kindAbandon:
			r.table.abandon(m.ID)
			r.reapReleased()
		case kindAck:
			r.acknowledge(m.Seq)
		case kindStore:
			old, errno := r.table.put(m.Name, got.FDs)
			wire.CloseAll(old)
			if errno != 0 {
				wire.CloseAll(got.FDs)
				refuse(errno, "the reaper keeps "+strconv.Itoa(maxStored)+" descriptors at most")
			}
		case kindDrop:
			wire.CloseAll(r.table.drop(m.Name))
		case kindStats:
			reply.Stats = r.table.stats()
		case kindExit:
			r.exit(m.Number)
		case kindReexec:
			refuse(r.reexec())
		case kindBeat:
			r.beat(m.Within, time.Now())
		case kindFinish:
			refuse(r.finishBy(m.Args, m.Within, time.Now()))
		case kindEmergency:
			refuse(r.wantEmergency("the supervisor asks for it"))
		case kindReplace:
			r.replaceLauncher(time.Now())
		}
	}
	if m.Request != 0 && r.conn != nil {
		r.conn.replies = append(r.conn.replies, reply)
	}
}

// room tells whether n more descriptors, already open, may be kept.
func (r *reaper) room(n int) bool {
	return r.table.stored+len(r.table.byID)+n+min(spareFDs, r.maxFDs/2) <= r.maxFDs
}

// register takes over pidfd.
func (r *reaper) register(id uint64, pid, pidfd int) (syscall.Errno, string) {
	errno, text := r.checkPIDFD(pid, pidfd)
	if errno == 0 {
		errno = r.table.registrable(id, pid)
	}
	if errno == 0 && (pid == r.supervisor.pid || pid == r.launcher.pid || pid == r.emergency.pid || r.retired[pid]) {
		errno, text = syscall.EINVAL, "the process is the reaper's own"
	}
	if errno != 0 {
		unix.Close(pidfd)
		return errno, text
	}
	r.table.register(id, pid, pidfd)
	r.reapReleased()
	if ended, _ := peek(pid); ended {
		r.settle(pid)
	}
	return 0, ""
}

// acknowledge lets an ended process go.
func (r *reaper) acknowledge(seq uint64) {
	if g := r.table.acknowledge(seq); g != nil {
		reapPID(g.pid)
		unix.Close(g.pidfd)
		if !r.hasProc() {
			r.reapDue = true // it may have hidden others
		}
	}
}

// reapReleased takes away what was held for intents that are now closed.
func (r *reaper) reapReleased() {
	for _, pid := range r.table.released() {
		if _, gone := reapPID(pid); gone {
			r.table.orphans++
		}
		r.reapDue = true
	}
}
