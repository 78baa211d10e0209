package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"berth/supervisor/core"
	"berth/supervisor/durable"
	"berth/units"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// stampsFile in the state directory holds where the timers stand, so that runs
// that fall due while the machine is off are known at the next boot.
const stampsFile = "timers.json"

// maxStamps bounds the file, in bytes.
const maxStamps = 8 << 20

type stamps struct {
	Timers map[string]core.Run `json:"timers"`
}

// readStamps gives what an earlier boot has left. What cannot be read is told and
// left: the timers then count from now on.
func readStamps(dir string, log *zap.Logger) map[string]core.Run {
	path := filepath.Join(dir, stampsFile)
	text, err := readBounded(path, maxStamps)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var s stamps
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		log.Warn("cannot use what is known of the timers: runs that were missed while the machine was off are not made up for", zap.String("path", path), zap.Error(err))
		return nil
	}
	return s.Timers
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > limit {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", path, limit)
	}
	text := make([]byte, st.Size())
	n, err := f.ReadAt(text, 0)
	if err != nil && n < len(text) {
		return nil, err
	}
	return text, nil
}

// stampKeeper writes where the timers stand, by a worker: the file is behind by no
// more than the time that takes, and the worst that can come of a crash in it is a
// run that is made up for twice. It is safe for concurrent use.
type stampKeeper struct {
	dir  string
	log  *zap.Logger
	jobs queue

	mu   sync.Mutex
	runs map[string]core.Run
	due  bool // a job that writes them has not begun
}

// begin takes what an earlier boot has left.
func (k *stampKeeper) begin(dir string, log *zap.Logger) {
	k.dir, k.log, k.runs = dir, log, readStamps(dir, log)
	if k.runs == nil {
		k.runs = map[string]core.Run{}
	}
}

// all gives a copy of what is known.
func (k *stampKeeper) all() map[string]core.Run {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.runs)
}

func (k *stampKeeper) set(unit string, r core.Run) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.runs[unit] = r
	k.later()
}

// retain forgets the units that there are no more.
func (k *stampKeeper) retain(there map[string]*units.Unit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := len(k.runs)
	maps.DeleteFunc(k.runs, func(name string, _ core.Run) bool { return there[name] == nil })
	if len(k.runs) != before {
		k.later()
	}
}

func (k *stampKeeper) later() {
	if !k.due {
		k.due = true
		k.jobs.add(k.write)
	}
}

func (k *stampKeeper) write() {
	k.mu.Lock()
	k.due = false
	text, err := json.Marshal(stamps{k.runs})
	k.mu.Unlock()
	if err == nil {
		path := filepath.Join(k.dir, stampsFile)
		err = durable.Replace(path, path+".new", append(text, '\n'), 0o600)
	}
	if err != nil {
		k.log.Error("cannot keep where the timers stand", zap.Error(err))
	}
}
