package supervisor

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"berth/supervisor/core"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// A state on which a supervisor panics would have every one that takes it over
// panic again. So what the Go runtime says as it ends a process for a panic, in
// whatever goroutine, goes to memory that the reaper keeps as well
// (debug.SetCrashOutput). The next supervisor tells it in its log, and counts it
// until one has lived for a while; after so many the next takes over less. Being
// killed, or ended for hanging, does not count.
const (
	relapsesName  = "relapses" // in the reaper's store
	salvageAfter  = 3          // then: only what runs
	anewAfter     = 6          // then: nothing, and what runs is ended
	relapseTime   = 30 * time.Second
	crashSnapshot = "crashed-snapshot" // in the state directory
)

const (
	// relapsesHead is the count, before what the runtime has said.
	relapsesHead = 4
	// maxReport bounds what is told of that in the log, in bytes.
	maxReport = 8 << 10
)

// relapses counts the panics.
type relapses struct {
	memory   *os.File
	report   string // of the supervisor before, if it crashed
	salvaged bool   // by take: what waits has to be roused
}

// takeRelapses goes on counting, or begins; keep has the reaper keep the memory.
func takeRelapses(stored map[string][]*os.File, keep func(string, ...*os.File) error) (*relapses, error) {
	r := &relapses{}
	if files := stored[relapsesName]; len(files) > 0 {
		delete(stored, relapsesName)
		r.memory = files[0]
		r.takeReport()
	} else {
		fd, err := unix.MemfdCreate("berth-relapses", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, os.NewSyscallError("memfd_create", err)
		}
		r.memory = os.NewFile(uintptr(fd), relapsesName)
		r.set(0)
		if err := keep(relapsesName, r.memory); err != nil {
			return nil, err
		}
	}
	if _, err := r.memory.Seek(relapsesHead, io.SeekStart); err != nil {
		return nil, err
	}
	return r, nil
}

// takeReport takes what the supervisor before has left, and counts it if that was
// a panic of its own.
func (r *relapses) takeReport() {
	report, err := io.ReadAll(io.NewSectionReader(r.memory, relapsesHead, maxReport))
	if err != nil || len(report) == 0 {
		return
	}
	r.report = string(report)
	if strings.HasPrefix(r.report, "panic: ") || strings.HasPrefix(r.report, "fatal error: ") {
		r.set(r.count() + 1)
	}
	_ = r.memory.Truncate(relapsesHead)
}

// listen has the runtime leave its report here, and tells the last one.
func (r *relapses) listen(log *zap.Logger) {
	if err := debug.SetCrashOutput(r.memory, debug.CrashOptions{}); err != nil {
		log.Error("a panic of this supervisor would go unnoticed by the next", zap.Error(err))
	}
	if r.report != "" {
		log.Error("the supervisor before crashed", zap.Int("panics", r.count()), zap.String("report", r.report))
	}
}

func (r *relapses) count() int {
	var b [relapsesHead]byte
	if _, err := r.memory.ReadAt(b[:], 0); err != nil {
		return 0
	}
	return int(binary.LittleEndian.Uint32(b[:]))
}

func (r *relapses) set(n int) {
	_, _ = r.memory.WriteAt(binary.LittleEndian.AppendUint32(nil, uint32(n)), 0)
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
