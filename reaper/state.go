package reaper

import (
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"berth/reaper/internal/wire"

	"golang.org/x/sys/unix"
)

// The state of a reaper that executes a new binary in its place: a memfd named
// by an environment variable, with a magic number and then records. A record is
// a type, the length of its body, and the body. A reader passes over types that
// it does not know, and over fields that a newer writer has added at the end of
// a body, so that a downgrade works as well as an upgrade.
const (
	stateVariable = "BERTH_REAPER_STATE"
	stateMagic    = 0x0170_6165_7220_6562
	maxState      = 64 << 20
)

// record is the type of a record.
type record uint16

const (
	recordCounts     record = iota + 1 // seq, orphans, supervisors, launchers
	recordProcesses                    // pids of the supervisor and of launchers
	recordRegistered                   // id, pid, pidfd
	recordExit                         // as in a message; after its recordRegistered
	recordStored                       // name, descriptors
	recordAbandoned                    // start ids
	recordSignal                       // a signal that waits for a supervisor
	recordWatch                        // what the supervisor's last Beat said
	recordFinish                       // nanoseconds left, arguments
	recordEmergency                    // pid of the emergency role
)

// saveState writes everything that a new reaper needs.
func (r *reaper) saveState() []byte {
	t := r.table
	var all wire.Encoder
	all.U64(stateMagic)
	add := func(kind record, fill func(e *wire.Encoder)) {
		var body wire.Encoder
		fill(&body)
		all.U16(uint16(kind))
		all.U32(uint32(len(body.Bytes)))
		all.Bytes = append(all.Bytes, body.Bytes...)
	}
	add(recordCounts, func(e *wire.Encoder) {
		e.U64(t.seq)
		e.U64(t.orphans)
		e.U64(uint64(t.supervisors))
		e.U64(uint64(t.launchers))
	})
	add(recordProcesses, func(e *wire.Encoder) {
		e.U32(uint32(r.supervisor.pid))
		launchers := slices.Collect(maps.Keys(r.retired))
		if r.launcher.pid != 0 {
			launchers = append(launchers, r.launcher.pid)
		}
		e.U32(uint32(len(launchers)))
		for _, pid := range launchers {
			e.U32(uint32(pid))
		}
	})
	for _, g := range t.byID {
		add(recordRegistered, func(e *wire.Encoder) {
			e.U64(g.id)
			e.U32(uint32(g.pid))
			e.U32(uint32(g.pidfd))
		})
		if g.exit != nil {
			add(recordExit, func(e *wire.Encoder) { encodeExit(e, g.exit) })
		}
	}
	for name, fds := range t.store {
		add(recordStored, func(e *wire.Encoder) {
			e.String(name)
			e.U32(uint32(len(fds)))
			for _, fd := range fds {
				e.U32(uint32(fd))
			}
		})
	}
	add(recordAbandoned, func(e *wire.Encoder) {
		// The supervisor does not outlive this reaper.
		ids := slices.Concat(t.abandoned, slices.Collect(maps.Keys(t.intents)))
		e.U32(uint32(len(ids)))
		for _, id := range ids {
			e.U64(id)
		}
	})
	if r.watch.armed() {
		add(recordWatch, func(e *wire.Encoder) { e.U64(uint64(r.watch.within)) })
	}
	if r.finish.set() {
		add(recordFinish, func(e *wire.Encoder) {
			e.U64(uint64(max(0, time.Until(r.finish.by))))
			encodeArgs(e, r.finish.argv)
		})
	}
	if r.emergency.pid != 0 {
		add(recordEmergency, func(e *wire.Encoder) { e.U32(uint32(r.emergency.pid)) })
	}
	signals := r.signals
	if r.conn != nil {
		signals = r.conn.untold(signals)
	}
	for _, s := range signals {
		add(recordSignal, func(e *wire.Encoder) { e.U8(uint8(s)) })
	}
	return all.Bytes
}

// loadState reads what saveState wrote into a new table. It reports false when
// the data is damaged; what came before the damage is kept.
func (r *reaper) loadState(data []byte) bool {
	d := wire.Decoder{Bytes: data}
	if d.U64() != stateMagic {
		return false
	}
	for d.OK() && len(d.Bytes) > 0 {
		kind := record(d.U16())
		body := wire.Decoder{Bytes: d.Raw(int(d.U32()))}
		if !d.OK() || !r.loadRecord(kind, &body) {
			return false
		}
	}
	return d.OK()
}

func (r *reaper) loadRecord(kind record, d *wire.Decoder) bool {
	t := r.table
	switch kind {
	case recordCounts:
		t.seq, t.orphans = d.U64(), d.U64()
		t.supervisors, t.launchers = int(d.U64()), int(d.U64())
	case recordProcesses:
		r.supervisor.pid = int(d.U32())
		for n := d.U32(); n > 0 && d.OK(); n-- {
			r.retired[int(d.U32())] = true
		}
	case recordRegistered:
		id, pid, pidfd := d.U64(), int(d.U32()), int(d.U32())
		if !d.OK() || t.registrable(id, pid) != 0 {
			return false
		}
		t.register(id, pid, pidfd)
	case recordExit:
		x := decodeExit(d)
		g := t.byID[x.ID]
		if !d.OK() || g == nil || g.pid != x.PID || t.bySeq[x.Seq] != nil {
			return false
		}
		g.exit = &x
		t.bySeq[x.Seq] = g
	case recordStored:
		name := d.String()
		var fds []int
		for n := d.U32(); n > 0 && d.OK(); n-- {
			fds = append(fds, int(d.U32()))
		}
		if !d.OK() || t.store[name] != nil {
			return false
		}
		if _, errno := t.put(name, fds); errno != 0 {
			wire.CloseAll(fds)
		}
	case recordAbandoned:
		for n := d.U32(); n > 0 && d.OK(); n-- {
			t.abandoned = append(t.abandoned, d.U64())
		}
	case recordSignal:
		r.queueSignal(syscall.Signal(d.U8()))
	case recordWatch:
		r.watch.within = span(d.U64())
	case recordFinish:
		left := span(d.U64())
		args, ok := decodeArgs(d)
		if !ok || len(args) == 0 {
			return false
		}
		r.finish = finish{argv: args, by: time.Now().Add(left)}
	case recordEmergency:
		r.emergency.pid = int(d.U32())
	}
	return d.OK()
}

// reexec executes the binary at Config.Exe in place of this process. It returns
// only when that has failed, and everything is then as it was.
func (r *reaper) reexec() (syscall.Errno, string) {
	if err := roomToReexec(); err != nil {
		return errnoOf(err), "the new program would have too few descriptors free"
	}
	memfd, err := unix.MemfdCreate("berth-reaper-state", unix.MFD_CLOEXEC)
	if err != nil {
		return errnoOf(err), "memfd_create"
	}
	state := os.NewFile(uintptr(memfd), "state")
	defer state.Close()
	if _, err := state.Write(r.saveState()); err != nil {
		return errnoOf(err), "write the state"
	}
	kept := []int{memfd}
	for _, g := range r.table.byID {
		kept = append(kept, g.pidfd)
	}
	for _, fds := range r.table.store {
		kept = append(kept, fds...)
	}
	closeOnExec := func(flag int) {
		for _, fd := range kept {
			unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag)
		}
	}
	r.log("executes " + r.config.Exe + " in its place")
	env := append(os.Environ(), stateVariable+"="+strconv.Itoa(memfd))
	closeOnExec(0)
	// What comes from here on stays pending, and the new reaper gets it.
	setMask(true)
	r.restoreScore()
	err = syscall.Exec(r.config.Exe, os.Args, env)
	r.othersScore, r.spared = spareSelf()
	setMask(false)
	closeOnExec(unix.FD_CLOEXEC)
	r.log("cannot execute " + r.config.Exe + ": " + err.Error())
	return errnoOf(err), "execute " + r.config.Exe
}

// Resuming tells whether this process is a reaper that has executed a binary in
// its own place, and is not at its beginning. To be asked before Run.
func Resuming() bool { return os.Getenv(stateVariable) != "" }

// resume begins with what a predecessor left, or with nothing.
func (r *reaper) resume() {
	r.table = newTable()
	value := os.Getenv(stateVariable)
	if value == "" {
		return
	}
	os.Unsetenv(stateVariable)
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 3 {
		r.log("ignores " + stateVariable + "=" + value)
		return
	}
	state := os.NewFile(uintptr(fd), "state")
	defer state.Close()
	data, err := io.ReadAll(io.NewSectionReader(state, 0, maxState))
	if err != nil {
		r.log("cannot read the state of its predecessor: " + err.Error())
		return
	}
	if !r.loadState(data) {
		r.log("the state of its predecessor is damaged; what can be read of it is used")
	}
	// Its supervisor and launcher are children of this process, if they were
	// not reaped. They lost their connection with the execve, and a new
	// supervisor starts only when the old one is gone.
	r.supervisor.started = time.Now()
	for pid := range r.retired {
		if !r.killOld(pid) {
			delete(r.retired, pid)
		}
	}
	if r.supervisor.pid != 0 && !r.killOld(r.supervisor.pid) {
		r.supervisor.pid = 0
	}
	if r.emergency.pid != 0 {
		if _, errno := peek(r.emergency.pid); errno != 0 {
			r.emergency.pid = 0 // whatever it was, it is no child
		}
		r.emergency.started = time.Now()
	}
	r.log("goes on after execve with " + strconv.Itoa(len(r.table.byID)) + " processes and " +
		strconv.Itoa(r.table.stored) + " descriptors")
}

// killOld kills a process that is this one's child, and reports whether it is.
func (r *reaper) killOld(pid int) bool {
	if _, errno := peek(pid); errno != 0 {
		return false
	}
	return unix.Kill(pid, unix.SIGKILL) == nil
}

func errnoOf(err error) syscall.Errno {
	for err != nil {
		if errno, ok := err.(syscall.Errno); ok {
			return errno
		}
		inner, ok := err.(interface{ Unwrap() error })
		if !ok {
			break
		}
		err = inner.Unwrap()
	}
	return syscall.EIO
}
