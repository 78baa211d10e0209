package history

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"berth/supervisor/durable"
	"berth/units"

	"golang.org/x/sys/unix"
)

const (
	recordSuffix = ".json"
	unitsSuffix  = ".units"
	newSuffix    = ".new"
	maxRecord    = 4 << 20  // bytes of a record
	maxUnits     = 64 << 20 // bytes of a generation's units
	// maxTotal bounds what all generations but the newest take on disk, in bytes.
	maxTotal = 64 << 20
)

// Store is the history of one daemon. Its methods may be called from any
// goroutine.
type Store struct {
	dir  string
	keep int

	mu      sync.Mutex
	records []*Record // by number
	sizes   map[uint64]int64
	last    uint64 // the highest number that was ever given out
}

// Open reads the history in dir, which is made if it is not there. At most keep
// generations stay. What cannot be read is told in faults and passed over. The
// error is that there can be no history in dir at all; the Store then works, and
// keeps nothing beyond its own life.
func Open(dir string, keep int) (s *Store, faults []error, err error) {
	s = &Store{dir: dir, keep: keep, sizes: map[uint64]int64{}}
	if err := private(dir); err != nil {
		s.dir = ""
		return s, nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.dir = ""
		return s, nil, fmt.Errorf("cannot read the history: %w", err)
	}
	for _, e := range entries {
		name, isRecord := strings.CutSuffix(e.Name(), recordSuffix)
		name, isUnits := strings.CutSuffix(name, unitsSuffix)
		n, err := strconv.ParseUint(name, 10, 64)
		if err != nil || isRecord == isUnits || n == 0 || n > 1<<53 {
			if strings.HasSuffix(e.Name(), newSuffix) {
				_ = os.Remove(filepath.Join(dir, e.Name())) // the writing of it was cut short
			}
			continue
		}
		s.last = max(s.last, n)
		if isUnits {
			continue
		}
		r, size, err := s.readRecord(n)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		s.records, s.sizes[n] = append(s.records, r), size
	}
	slices.SortFunc(s.records, func(a, b *Record) int { return cmp.Compare(a.Generation, b.Generation) })
	s.evict()
	return s, faults, nil
}

// private makes the directory, or sees that it is one that only we may enter:
// what units hold is nobody else's.
func private(dir string) error {
	if err := os.Mkdir(dir, 0o700); err == nil || !errors.Is(err, fs.ErrExist) {
		if err != nil {
			return fmt.Errorf("cannot make the directory of the history: %w", err)
		}
		return nil
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("cannot look at the directory of the history: %w", &os.PathError{Op: "lstat", Path: dir, Err: err})
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("cannot use %s for the history: it is no directory of user %d; remove it", dir, os.Geteuid())
	}
	if st.Mode&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("cannot close the directory of the history to others: %w", err)
	}
	return nil
}

func (s *Store) path(generation uint64, suffix string) string {
	return filepath.Join(s.dir, strconv.FormatUint(generation, 10)+suffix)
}

func (s *Store) readRecord(generation uint64) (*Record, int64, error) {
	text, err := readBounded(s.path(generation, recordSuffix), maxRecord)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read generation %d of the history: %w", generation, err)
	}
	r := &Record{}
	if err := json.Unmarshal(text, r); err != nil || r.Generation != generation {
		return nil, 0, fmt.Errorf("cannot use generation %d of the history: %s is damaged", generation, s.path(generation, recordSuffix))
	}
	size := int64(len(text))
	if info, err := os.Lstat(s.path(generation, unitsSuffix)); err == nil {
		size += info.Size()
	}
	return r, size, nil
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return text, err
}

// Next is the number that the next generation gets; above is one that it has to
// be higher than.
func (s *Store) Next(above uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.last, above) + 1
}

// Add writes a generation down. all may be nil for an invalid one, which takes
// the place of an invalid one that is the newest. After an error the generation
// is known as long as the Store lives.
func (s *Store) Add(r Record, all map[string]*units.Unit) error {
	r.bound()
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.newest(); last != nil && last.Outcome.State == Invalid && r.Outcome.State == Invalid {
		r.Generation = last.Generation
		s.records = s.records[:len(s.records)-1]
	}
	s.last = max(s.last, r.Generation)
	s.records = append(s.records, &r)
	defer s.evict()
	if s.dir == "" {
		return errors.New("cannot write the generation down: there is no directory for the history")
	}
	var text []byte
	if all != nil {
		text = encode(all)
		if len(text) > maxUnits {
			return fmt.Errorf("cannot write the generation down: its units take %d bytes", len(text))
		}
		r.Sum = crc32.ChecksumIEEE(text)
		if err := write(s.path(r.Generation, unitsSuffix), text); err != nil {
			return fmt.Errorf("cannot write the generation down: %w", err)
		}
	}
	s.sizes[r.Generation] = int64(len(text))
	if err := s.writeRecord(&r); err != nil {
		return fmt.Errorf("cannot write the generation down: %w", err)
	}
	return nil
}

func (s *Store) writeRecord(r *Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return write(s.path(r.Generation, recordSuffix), append(text, '\n'))
}

func write(path string, text []byte) error {
	return durable.Replace(path, path+newSuffix, text, 0o600)
}

// newest gives the last record; nil: there is none.
func (s *Store) newest() *Record {
	if len(s.records) == 0 {
		return nil
	}
	return s.records[len(s.records)-1]
}

// evict removes the oldest generations until there are no more than are kept and
// no more bytes than may be. Invalid ones go with the generation before them.
func (s *Store) evict() {
	for s.tooMuch() {
		s.records = slices.Delete(s.records, 0, 1)
		for len(s.records) > 1 && s.records[0].Outcome.State == Invalid {
			s.records = slices.Delete(s.records, 0, 1)
		}
	}
	if len(s.records) == 0 || s.dir == "" {
		return
	}
	// By what is there, so that damaged ones go too.
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return // the next Add tries again
	}
	oldest := s.records[0].Generation
	for _, e := range entries {
		name := strings.TrimSuffix(strings.TrimSuffix(e.Name(), recordSuffix), unitsSuffix)
		if n, err := strconv.ParseUint(name, 10, 64); err == nil && n < oldest {
			_ = os.Remove(filepath.Join(s.dir, e.Name())) // likewise
			delete(s.sizes, n)
		}
	}
}

func (s *Store) tooMuch() bool {
	taken, total := 0, int64(0)
	for i, r := range s.records {
		if r.Outcome.State != Invalid {
			taken++
		}
		if i < len(s.records)-1 {
			total += s.sizes[r.Generation]
		}
	}
	return len(s.records) > 1 && (taken > s.keep || total > maxTotal)
}

// Records gives all generations, the oldest first.
func (s *Store) Records() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Record, len(s.records))
	for i, r := range s.records {
		out[i] = *r
	}
	return out
}

// Record gives one generation, or false.
func (s *Store) Record(generation uint64) (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if r.Generation == generation {
			return *r, true
		}
	}
	return Record{}, false
}

// Last gives the newest generation that was taken up, or false.
func (s *Store) Last() (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range slices.Backward(s.records) {
		if r.Outcome.State != Invalid {
			return *r, true
		}
	}
	return Record{}, false
}

// Before gives the newest generation that came before this one and came up
// without fault, or false. A rollback counts as the generation it went back to.
func (s *Store) Before(generation uint64) (Record, bool) {
	now, ok := s.Record(generation)
	base := generation
	if ok {
		base = now.Base()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range slices.Backward(s.records) {
		if r.Generation < base && r.Good() && r.Base() != base {
			return *r, true
		}
	}
	return Record{}, false
}

// Units reads the units of a generation. The error tells why they cannot be had;
// diagnostics among it (units.Diagnostics) that this berth refuses them.
func (s *Store) Units(generation uint64) (map[string]*units.Unit, error) {
	r, ok := s.Record(generation)
	switch {
	case !ok:
		return nil, fmt.Errorf("there is no generation %d in the history", generation)
	case r.Outcome.State == Invalid:
		return nil, fmt.Errorf("generation %d was invalid and never taken up", generation)
	case s.dir == "":
		return nil, fmt.Errorf("generation %d was not written down: there is no directory for the history", generation)
	}
	path := s.path(generation, unitsSuffix)
	text, err := readBounded(path, maxUnits)
	if err != nil {
		return nil, fmt.Errorf("cannot read generation %d: %w", generation, err)
	}
	if crc32.ChecksumIEEE(text) != r.Sum {
		return nil, fmt.Errorf("cannot use generation %d: %s is damaged", generation, path)
	}
	all, diagnostics := decode(generation, text)
	if err := diagnostics.Err(); err != nil {
		return nil, fmt.Errorf("cannot use generation %d any more: %w", generation, err)
	}
	if len(all) != r.Units {
		return nil, fmt.Errorf("cannot use generation %d: %s is not whole", generation, path)
	}
	return all, nil
}

// Update changes the record of a generation and writes it down again; a
// generation that is not there (any more) is none of its business.
func (s *Store) Update(generation uint64, change func(*Record)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.records, func(r *Record) bool { return r.Generation == generation })
	if i < 0 {
		return nil
	}
	r := *s.records[i]
	r.Outcome.Rejected, r.Outcome.Failed = maps.Clone(r.Outcome.Rejected), maps.Clone(r.Outcome.Failed)
	change(&r)
	s.records[i] = &r
	if s.dir == "" {
		return nil
	}
	if err := s.writeRecord(&r); err != nil {
		return fmt.Errorf("cannot write down what became of generation %d: %w", generation, err)
	}
	return nil
}
