package supervisor

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"

	"berth/supervisor/core"

	"golang.org/x/sys/unix"
)

// A snapshot is the core's state in a memfd that the reaper keeps. It is a log:
// each record holds what one step changed, and is there whole or not at all: a
// step of which a crash left half would let the state be one that never was.
// The last of a unit's name counts. A record is length, CRC-32 and JSON. When
// the log has grown, a new memfd with the whole state takes its place.
const (
	snapshotName = "snapshot"
	compactAfter = 1 << 20 // bytes beyond the size of the last whole state
	recordHeader = 8
)

type snapshot struct {
	keep   func(*os.File) error // gives the reaper what it is to hand to the next supervisor
	file   *os.File
	size   int64
	base   int64  // size when it was whole
	behind bool   // a record could not be written: only a whole state is right again
	head   []byte // of the last record, but for the number of the last timer
}

// snapshotVersion is that of what the records mean. It is raised when a
// supervisor of before would misread them; a field that it may leave out without
// harm does not raise it. 0, which is not written: as 1, from before there were
// versions. testdata/versions has what each version wrote; all of it is read.
const snapshotVersion = 1

type record struct {
	Version int `json:"version,omitempty"`

	Head  *core.Head   `json:"head"`
	Units []*core.Unit `json:"units,omitempty"`
	Gone  []string     `json:"gone,omitempty"`
}

// newSnapshot writes the whole state to a new memfd and has it kept.
func newSnapshot(keep func(*os.File) error, state *core.State) (*snapshot, error) {
	s := &snapshot{keep: keep}
	if err := s.compact(state); err != nil {
		return nil, err
	}
	return s, nil
}

// record writes what the last step changed. After an error the next call writes
// everything. Nothing is written if all that was changed is the number of the
// last timer, as by a health check that says nothing new: timers end with the
// supervisor, and the next one may give their numbers out again.
func (s *snapshot) record(state *core.State) error {
	dirty := state.Dirty()
	head, err := timeless(state.Head)
	if err != nil {
		return fmt.Errorf("cannot write the snapshot: %w", err)
	}
	if len(dirty) == 0 && !s.behind && bytes.Equal(head, s.head) {
		return nil
	}
	s.head = head
	if s.behind || s.size > s.base+compactAfter {
		err := s.compact(state)
		s.behind = err != nil
		return err
	}
	r := record{Version: snapshotVersion, Head: &state.Head}
	for _, name := range dirty {
		if u, ok := state.Unit(name); ok {
			r.Units = append(r.Units, u)
		} else {
			r.Gone = append(r.Gone, name)
		}
	}
	buf, err := encodeRecord(r)
	if err == nil {
		_, err = s.file.WriteAt(buf, s.size)
	}
	if err != nil {
		s.behind = true
		return fmt.Errorf("cannot write the snapshot: %w", err)
	}
	s.size += int64(len(buf))
	return nil
}

// timeless encodes the head without the number of the last timer.
func timeless(h core.Head) ([]byte, error) {
	h.TimerSeq = 0
	return json.Marshal(h)
}

// compact replaces the memfd by one that holds each unit once.
func (s *snapshot) compact(state *core.State) error {
	file, size, err := wholeSnapshot(state)
	if err != nil {
		return fmt.Errorf("cannot write the snapshot: %w", err)
	}
	if err := s.keep(file); err != nil {
		file.Close()
		return fmt.Errorf("cannot keep the snapshot: %w", err)
	}
	if s.file != nil {
		s.file.Close()
	}
	s.file, s.size, s.base = file, size, size
	return nil
}

// wholeSnapshot makes a memfd that holds all of the state, and tells its size.
func wholeSnapshot(state *core.State) (*os.File, int64, error) {
	r := record{Version: snapshotVersion, Head: &state.Head}
	for _, name := range state.Names() {
		u, _ := state.Unit(name)
		r.Units = append(r.Units, u)
	}
	buf, err := encodeRecord(r)
	if err != nil {
		return nil, 0, err
	}
	fd, err := unix.MemfdCreate("berth-snapshot", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, 0, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "snapshot")
	if _, err := file.WriteAt(buf, 0); err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, int64(len(buf)), nil
}

func encodeRecord(r record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if uint64(len(text)) > math.MaxUint32 {
		return nil, fmt.Errorf("the state takes %d bytes", len(text))
	}
	buf := make([]byte, recordHeader, recordHeader+len(text))
	binary.LittleEndian.PutUint32(buf, uint32(len(text)))
	binary.LittleEndian.PutUint32(buf[4:], crc32.ChecksumIEEE(text))
	return append(buf, text...), nil
}

// readSnapshot gives the state that a snapshot holds, and its version. One that is
// newer than snapshotVersion is only read as far as it can be: see mend.
func readSnapshot(file *os.File) (*core.State, int, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read the snapshot: %w", err)
	}
	data := make([]byte, size)
	if _, err := file.ReadAt(data, 0); err != nil && err != io.EOF {
		return nil, 0, fmt.Errorf("cannot read the snapshot: %w", err)
	}
	state, version, err := decodeSnapshot(data)
	if err != nil {
		return nil, version, fmt.Errorf("cannot use the snapshot: %w", err)
	}
	return state, version, nil
}

// decodeSnapshot reads records up to the end, or to one that a crash cut short:
// nothing that the step decided has been done then. Anything else that is wrong
// spoils the whole: a state of the past would be worse than none. What a berthd
// with other fields wrote is read as far as this one knows them; what is lacking
// has its zero value.
func decodeSnapshot(data []byte) (*core.State, int, error) {
	version := 0
	var head *core.Head
	us := map[string]*core.Unit{}
	for n := 0; len(data) >= recordHeader; n++ {
		length, sum := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
		data = data[recordHeader:]
		if uint64(length) > uint64(len(data)) {
			break
		}
		text := data[:length]
		data = data[length:]
		if crc32.ChecksumIEEE(text) != sum {
			return nil, version, fmt.Errorf("record %d is damaged", n)
		}
		var r record
		err := json.Unmarshal(text, &r)
		version = max(version, r.Version)
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) && version > snapshotVersion {
			err = nil // the rest was read
		}
		if err != nil {
			return nil, version, fmt.Errorf("record %d: %w", n, err)
		}
		if r.Head == nil {
			return nil, version, fmt.Errorf("record %d has no head", n)
		}
		head = r.Head
		for _, u := range r.Units {
			if u == nil {
				return nil, version, fmt.Errorf("record %d has an empty unit", n)
			}
			us[u.Name] = u
		}
		for _, name := range r.Gone {
			delete(us, name)
		}
	}
	if head == nil {
		return nil, version, errors.New("it holds no whole record")
	}
	for name, u := range us {
		if version > snapshotVersion && !mend(u) {
			delete(us, name)
		} else if err := sane(u); err != nil {
			return nil, version, fmt.Errorf("unit %q: %w", u.Name, err)
		}
	}
	for id, p := range head.Commands {
		if p == nil {
			return nil, version, fmt.Errorf("command %d is empty", id)
		}
	}
	return &core.State{Head: *head, Units: us}, version, nil
}

// mend makes of a unit of a newer version one that core.Salvage can take: what
// has a main process runs. It reports false for one that nothing can be made of,
// whose processes are then ended as those of a unit that nobody knows.
func mend(u *core.Unit) bool {
	if u.Name == "" || u.Config == nil {
		return false
	}
	u.Beside, u.StopStep, u.Tries = nil, 0, max(0, u.Tries)
	if u.MainPID < 0 || u.Side > core.Second {
		return false
	}
	if sane(u) != nil {
		u.Phase = core.Inactive
		if u.MainPID > 0 {
			u.Phase, u.Ready, u.Halt = core.Running, true, false
		}
	}
	return true
}

// sane refuses what the core never writes and would stumble over.
func sane(u *core.Unit) error {
	switch u.Phase {
	case core.Inactive, core.Waiting, core.Starting, core.Running, core.Stopping,
		core.Cleaning, core.Backoff, core.Completed, core.Failed:
	default:
		return fmt.Errorf("there is no phase %q", u.Phase)
	}
	switch {
	case u.Name == "" || u.Config == nil:
		return errors.New("it has no configuration")
	case u.StopStep < 0 || u.MainPID < 0 || u.Tries < 0:
		return errors.New("it counts below zero")
	case u.Side > core.Second:
		return fmt.Errorf("there is no side %d", u.Side)
	case u.Beside != nil:
		return saneBeside(u.Beside)
	}
	return nil
}

func saneBeside(l *core.Life) error {
	switch l.Phase {
	case core.Starting, core.Running, core.Stopping, core.Cleaning:
	default:
		return fmt.Errorf("an instance beside it is %q", l.Phase)
	}
	switch {
	case l.Config == nil:
		return errors.New("an instance beside it has no configuration")
	case l.StopStep < 0 || l.MainPID < 0 || l.Side > core.Second:
		return errors.New("an instance beside it counts wrong")
	}
	return nil
}
