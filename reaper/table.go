package reaper

import (
	"maps"
	"slices"
	"syscall"
)

const (
	// maxIntents bounds the intents open at a time, and those remembered from
	// earlier supervisors (of which the oldest are forgotten).
	maxIntents = 1 << 16
	// maxRegistered bounds the registrations. Each is a descriptor, so the
	// limit on those comes first in general.
	maxRegistered = 1 << 16
	// maxHeld bounds the zombies held for intents. What is beyond is reaped: if it
	// was a start's process, that start fails.
	maxHeld = 1 << 16
	// maxStored bounds the descriptors in the store.
	maxStored = 1 << 14
)

// registration is a process whose exit is the supervisor's to know.
type registration struct {
	id    uint64
	pid   int
	pidfd int
	exit  *Exit // nil while it runs; else it is a zombie until acknowledged
}

// table is what the reaper knows. It makes no system call: it is told what was
// seen and says what shall be done. Descriptors in it are numbers that the loop
// opens and closes.
type table struct {
	byID  map[uint64]*registration
	byPID map[int]*registration
	bySeq map[uint64]*registration // those that have ended
	seq   uint64                   // of the last exit

	// intents are the open ones, by start id, with the moment of each: a
	// counter that grows by one with every Begin.
	intents map[uint64]uint64
	moment  uint64
	// abandoned are intents of earlier supervisors, oldest first.
	abandoned []uint64
	// held are ended processes that nobody knows, with the moment at which each
	// was first seen. One whose intents of that moment are all closed is an orphan.
	held map[int]uint64

	store       map[string][]int
	stored      int
	orphans     uint64
	supervisors int
	launchers   int
}

func newTable() *table {
	return &table{
		byID:    map[uint64]*registration{},
		byPID:   map[int]*registration{},
		bySeq:   map[uint64]*registration{},
		intents: map[uint64]uint64{},
		held:    map[int]uint64{},
		store:   map[string][]int{},
	}
}

// verdict is what is to be done with an ended process.
type verdict int

const (
	keepZombie verdict = iota // leave it: known, or held for an intent
	reportExit                // registered, and seen for the first time: call ended
	reapOrphan                // reap it
)

// judge decides on an ended process that no child of the reaper's own is.
func (t *table) judge(pid int) verdict {
	if r := t.byPID[pid]; r != nil {
		if r.exit != nil {
			return keepZombie
		}
		return reportExit
	}
	if _, seen := t.held[pid]; seen {
		return keepZombie
	}
	if len(t.intents) > 0 && len(t.held) < maxHeld {
		t.held[pid] = t.moment
		return keepZombie
	}
	return reapOrphan
}

// known reports whether pid is an ended process on which judge would say keepZombie.
func (t *table) known(pid int) bool {
	if r := t.byPID[pid]; r != nil {
		return r.exit != nil
	}
	_, held := t.held[pid]
	return held
}

// ended records the exit of a registered process and gives it its Seq.
func (t *table) ended(x Exit) *Exit {
	r := t.byPID[x.PID]
	t.seq++
	x.Seq, x.ID = t.seq, r.id
	r.exit = &x
	t.bySeq[x.Seq] = r
	return r.exit
}

// begin opens an intent.
func (t *table) begin(id uint64) syscall.Errno {
	if _, open := t.intents[id]; open || t.byID[id] != nil {
		return syscall.EEXIST
	}
	if len(t.intents) >= maxIntents {
		return syscall.ENOSPC
	}
	t.moment++
	t.intents[id] = t.moment
	return 0
}

// registrable tells whether register would succeed.
func (t *table) registrable(id uint64, pid int) syscall.Errno {
	if t.byID[id] != nil || t.byPID[pid] != nil {
		return syscall.EEXIST
	}
	if len(t.byID) >= maxRegistered {
		return syscall.ENOSPC
	}
	return 0
}

// register takes over pidfd and closes the intent.
func (t *table) register(id uint64, pid, pidfd int) {
	r := &registration{id: id, pid: pid, pidfd: pidfd}
	t.byID[id], t.byPID[pid] = r, r
	delete(t.intents, id)
	delete(t.held, pid)
}

// abandon closes an intent, and forgets it if it is an earlier supervisor's.
func (t *table) abandon(id uint64) {
	delete(t.intents, id)
	if i := slices.Index(t.abandoned, id); i >= 0 {
		t.abandoned = slices.Delete(t.abandoned, i, i+1)
	}
}

// abandonAll closes all intents, for their supervisor is gone.
func (t *table) abandonAll() {
	ids := slices.SortedFunc(maps.Keys(t.intents), func(a, b uint64) int {
		return int(t.intents[a]) - int(t.intents[b])
	})
	t.abandoned = append(t.abandoned, ids...)
	if over := len(t.abandoned) - maxIntents; over > 0 {
		t.abandoned = slices.Delete(t.abandoned, 0, over)
	}
	clear(t.intents)
}

// released gives the held processes that wait for no intent any more, and
// forgets them: they are orphans.
func (t *table) released() []int {
	if len(t.held) == 0 {
		return nil
	}
	oldest := ^uint64(0)
	for _, moment := range t.intents {
		oldest = min(oldest, moment)
	}
	var pids []int
	for pid, moment := range t.held {
		if moment < oldest {
			pids = append(pids, pid)
			delete(t.held, pid)
		}
	}
	return pids
}

// acknowledge forgets an exit and gives its registration, whose process the
// caller reaps and whose pidfd it closes; nil when the Seq is not known.
func (t *table) acknowledge(seq uint64) *registration {
	r := t.bySeq[seq]
	if r != nil {
		delete(t.bySeq, seq)
		delete(t.byID, r.id)
		delete(t.byPID, r.pid)
	}
	return r
}

// put stores descriptors, which it takes over, in place of those that it
// returns for the caller to close.
func (t *table) put(name string, fds []int) (old []int, errno syscall.Errno) {
	old = t.store[name]
	if t.stored-len(old)+len(fds) > maxStored {
		return nil, syscall.EMFILE
	}
	t.store[name] = fds
	t.stored += len(fds) - len(old)
	return old, 0
}

// drop forgets a name and gives its descriptors for the caller to close.
func (t *table) drop(name string) []int {
	old := t.store[name]
	delete(t.store, name)
	t.stored -= len(old)
	return old
}

// unacknowledged gives the seqs of all ended registered processes, oldest first.
func (t *table) unacknowledged() []uint64 { return slices.Sorted(maps.Keys(t.bySeq)) }

func (t *table) stats() Stats {
	return Stats{
		Supervisors:    t.supervisors,
		Launchers:      t.launchers,
		Registered:     len(t.byID),
		Unacknowledged: len(t.bySeq),
		Held:           len(t.held),
		Intents:        len(t.intents),
		Descriptors:    t.stored,
		Orphans:        t.orphans,
	}
}
