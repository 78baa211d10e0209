package supervisor

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"berth/supervisor/core"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// A state on which the core panics would have every supervisor that takes it over
// panic again. So a panic is counted, in memory that the reaper keeps, until a
// supervisor has lived for a while; after so many the next one takes over less.
const (
	relapsesName  = "relapses" // in the reaper's store
	salvageAfter  = 3          // then: only what runs
	anewAfter     = 6          // then: nothing, and what runs is ended
	relapseTime   = 30 * time.Second
	crashSnapshot = "crashed-snapshot" // in the state directory
)

// relapses counts the panics.
type relapses struct {
	memory   *os.File
	salvaged bool // by take: what waits has to be roused
}

// takeRelapses goes on counting, or begins; keep has the reaper keep the memory.
func takeRelapses(stored map[string][]*os.File, keep func(string, ...*os.File) error) (*relapses, error) {
	if files := stored[relapsesName]; len(files) > 0 {
		delete(stored, relapsesName)
		return &relapses{memory: files[0]}, nil
	}
	fd, err := unix.MemfdCreate("berth-relapses", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	r := &relapses{memory: os.NewFile(uintptr(fd), relapsesName)}
	r.set(0)
	return r, keep(relapsesName, r.memory)
}

func (r *relapses) count() int {
	var b [4]byte
	if _, err := r.memory.ReadAt(b[:], 0); err != nil {
		return 0
	}
	return int(binary.LittleEndian.Uint32(b[:]))
}

func (r *relapses) set(n int) {
	_, _ = r.memory.WriteAt(binary.LittleEndian.AppendUint32(nil, uint32(n)), 0)
}

// note counts the panic that its caller's caller is in, and lets it go on. It is
// deferred.
func (r *relapses) note() {
	if p := recover(); p != nil {
		r.set(r.count() + 1)
		panic(p)
	}
}

// take reads the state that an earlier supervisor has left, as far as it can be
// gone on with; nil: not at all.
func (r *relapses) take(snapshot *os.File, stateDir string, log *zap.Logger) *core.State {
	state, version, err := readSnapshot(snapshot)
	if err != nil {
		log.Error("starting anew: all that runs is ended, and what is to run is started again", zap.Error(err))
		return nil
	}
	n := r.count()
	if n < salvageAfter && version <= snapshotVersion {
		return state
	}
	aside := filepath.Join(stateDir, crashSnapshot)
	if err := setAside(snapshot, aside); err != nil {
		log.Error("cannot keep the state for who looks for the cause", zap.Error(err))
	}
	if n >= anewAfter {
		log.Error("the supervisor has panicked again and again: starting anew; all that runs is ended, and what is to run is started again",
			zap.Int("panics", n), zap.String("state", aside))
		return nil
	}
	if n < salvageAfter {
		log.Error("the state is of a newer berthd, and may mean what this one does not know: going on with the units that run and nothing else of it; timers, pending commands and restarts under way are forgotten",
			zap.Int("version", version), zap.Int("known", snapshotVersion), zap.String("state", aside))
		r.salvaged = true
		return core.Salvage(state, core.Input{Now: time.Now()})
	}
	log.Error("the supervisor has panicked again and again with this state: going on with the units that run and nothing else of it; timers, pending commands and restarts under way are forgotten",
		zap.Int("panics", n), zap.String("state", aside))
	r.salvaged = true
	return core.Salvage(state, core.Input{Now: time.Now()})
}

// rouse starts what waits in a state of which only a part was taken over.
func (s *Supervisor) rouse() {
	effects := core.Rouse(s.state, s.input(nil, rand.Float64()))
	s.record()
	for _, e := range effects {
		s.do(e)
	}
}

// setAside copies a snapshot to a file.
func setAside(snapshot *os.File, path string) error {
	if _, err := snapshot.Seek(0, io.SeekStart); err != nil {
		return err
	}
	data, err := io.ReadAll(snapshot)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
