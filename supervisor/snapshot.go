package supervisor

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"berth/reaper"
	"berth/supervisor/core"

	"golang.org/x/sys/unix"
)

// A snapshot is the core's state in a memfd that the reaper keeps. It is a log:
// each record holds one unit (or the head: what is not a unit's), and the last
// of a name counts. A record is length, CRC-32 and JSON; one that a crash cut
// short is not whole and ends the log. When the log has grown, a new memfd with
// the whole state takes its place.
const (
	snapshotName = "snapshot"
	compactAfter = 1 << 20 // bytes beyond the size of the last whole state
	maxRecord    = 16 << 20
	recordHeader = 8
)

type snapshot struct {
	reaper *reaper.Client
	file   *os.File
	size   int64
	base   int64 // size when it was whole
}

type record struct {
	Head *core.Head `json:"head,omitempty"`
	Unit *core.Unit `json:"unit,omitempty"`
	Gone string     `json:"gone,omitempty"`
}

// newSnapshot writes the whole state to a new memfd and gives it to the reaper.
func newSnapshot(client *reaper.Client, state *core.State) (*snapshot, error) {
	s := &snapshot{reaper: client}
	if err := s.compact(state); err != nil {
		return nil, err
	}
	return s, nil
}

// record writes what the last step changed.
func (s *snapshot) record(state *core.State) error {
	dirty := state.Dirty()
	if s.size > s.base+compactAfter {
		return s.compact(state)
	}
	buf, err := appendRecord(nil, record{Head: &state.Head})
	if err != nil {
		return err
	}
	for _, name := range dirty {
		r := record{Gone: name}
		if u, ok := state.Unit(name); ok {
			r = record{Unit: u}
		}
		if buf, err = appendRecord(buf, r); err != nil {
			return err
		}
	}
	n, err := s.file.WriteAt(buf, s.size)
	if err != nil {
		return fmt.Errorf("cannot write the snapshot: %w", err)
	}
	s.size += int64(n)
	return nil
}

// compact replaces the memfd by one that holds each unit once.
func (s *snapshot) compact(state *core.State) error {
	fd, err := unix.MemfdCreate("berth-snapshot", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("cannot make the snapshot: %w", err)
	}
	file := os.NewFile(uintptr(fd), "snapshot")
	buf, err := appendRecord(nil, record{Head: &state.Head})
	for _, name := range state.Names() {
		if err != nil {
			break
		}
		u, _ := state.Unit(name)
		buf, err = appendRecord(buf, record{Unit: u})
	}
	if err == nil {
		_, err = file.WriteAt(buf, 0)
	}
	if err == nil {
		err = s.reaper.Store(snapshotName, file)
	}
	if err != nil {
		file.Close()
		return fmt.Errorf("cannot write the snapshot: %w", err)
	}
	if s.file != nil {
		s.file.Close()
	}
	s.file, s.size, s.base = file, int64(len(buf)), int64(len(buf))
	return nil
}

func appendRecord(buf []byte, r record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the state: %w", err)
	}
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(text)))
	buf = binary.LittleEndian.AppendUint32(buf, crc32.ChecksumIEEE(text))
	return append(buf, text...), nil
}

// readSnapshot gives the state that a snapshot holds; nil without a whole head.
func readSnapshot(file *os.File) (*core.State, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("cannot read the snapshot: %w", err)
	}
	data := make([]byte, size)
	if _, err := file.ReadAt(data, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("cannot read the snapshot: %w", err)
	}
	var head *core.Head
	us := map[string]*core.Unit{}
	for len(data) >= recordHeader {
		n, sum := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
		data = data[recordHeader:]
		if n > maxRecord || uint64(n) > uint64(len(data)) || crc32.ChecksumIEEE(data[:n]) != sum {
			break
		}
		var r record
		if err := json.Unmarshal(data[:n], &r); err != nil {
			return nil, fmt.Errorf("cannot read the snapshot: %w", err)
		}
		data = data[n:]
		switch {
		case r.Head != nil:
			head = r.Head
		case r.Unit != nil:
			us[r.Unit.Name] = r.Unit
		case r.Gone != "":
			delete(us, r.Gone)
		}
	}
	if head == nil {
		return nil, nil
	}
	return &core.State{Head: *head, Units: us}, nil
}
