package fsimage

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// metadata is a sequence of bytes in blocks, each compressed if that helps.
type metadata struct {
	encoder *deflater
	done    []byte // blocks
	starts  []int  // of each block, in done
	rest    []byte // not yet a block
}

// place is where the next byte will be: the offset of its block, and in the low
// 16 bits that in the block.
func (m *metadata) place() uint64 { return uint64(len(m.done))<<16 | uint64(len(m.rest)) }

func (m *metadata) write(data []byte) {
	for m.rest = append(m.rest, data...); len(m.rest) >= squashMetadata; m.rest = m.rest[squashMetadata:] {
		m.block(m.rest[:squashMetadata])
	}
}

func (m *metadata) block(data []byte) {
	m.starts = append(m.starts, len(m.done))
	packed := m.encoder.pack(data)
	size := uint16(len(packed))
	if len(packed) >= len(data) {
		packed, size = data, uint16(len(data))|squashRawMeta
	}
	m.done = append(binary.LittleEndian.AppendUint16(m.done, size), packed...)
}

func (m *metadata) finish() []byte {
	if len(m.rest) > 0 {
		m.block(m.rest)
		m.rest = nil
	}
	return m.done
}

// squashXattrs are the sets of extended attributes; files with the same have one.
type squashXattrs struct {
	keys, list metadata
	count      uint32
	known      map[string]uint32
}

// squashSpaces are the namespaces of extended attributes, by their numbers.
var squashSpaces = []string{"user.", "trusted.", "security."}

func (x *squashXattrs) add(n *node) (uint32, error) {
	if len(n.Xattrs) == 0 {
		return squashNoXattr, nil
	}
	var set []byte
	for _, key := range slices.Sorted(maps.Keys(n.Xattrs)) {
		space := slices.IndexFunc(squashSpaces, func(p string) bool { return strings.HasPrefix(key, p) })
		if space < 0 {
			return 0, fmt.Errorf("/%s has the attribute %s, which a squashfs cannot hold", n.path, key)
		}
		name := key[len(squashSpaces[space]):]
		set = binary.LittleEndian.AppendUint16(set, uint16(space))
		set = binary.LittleEndian.AppendUint16(set, uint16(len(name)))
		set = append(set, name...)
		set = binary.LittleEndian.AppendUint32(set, uint32(len(n.Xattrs[key])))
		set = append(set, n.Xattrs[key]...)
	}
	if i, ok := x.known[string(set)]; ok {
		return i, nil
	}
	entry := binary.LittleEndian.AppendUint64(nil, x.keys.place())
	entry = binary.LittleEndian.AppendUint32(entry, uint32(len(n.Xattrs)))
	entry = binary.LittleEndian.AppendUint32(entry, uint32(len(set)))
	x.keys.write(set)
	x.list.write(entry)
	if x.known == nil {
		x.known = map[string]uint32{}
	}
	x.known[string(set)] = x.count
	x.count++
	return x.count - 1, nil
}
