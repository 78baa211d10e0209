package fsimage

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// extIno is an inode before it is written.
type extIno struct {
	n      *Inode
	number uint32
	links  uint32
	size   uint64
	mapped bool   // it has blocks by extents, and not a short text or a device
	runs   []run  // its blocks
	blocks uint32 // the logical ones of these so far
	body   [60]byte
	leaf   uint32 // a block of extents; 0: there is none
	xattr  uint32 // a block of attributes; 0: there is none
	inside []byte // attributes in the inode
}

// append adds the next block of a file.
func (i *extIno) append(block uint32) {
	i.blocks++
	if k := len(i.runs) - 1; k >= 0 && i.runs[k].start != 0 && i.runs[k].start+i.runs[k].count == block && i.runs[k].count < extRunMax {
		i.runs[k].count++
		return
	}
	i.runs = append(i.runs, run{block, 1})
}

// holes adds blocks that are not there and read as zeros.
func (i *extIno) holes(count uint32) {
	if count == 0 {
		return
	}
	i.blocks += count
	if k := len(i.runs) - 1; k >= 0 && i.runs[k].start == 0 {
		i.runs[k].count += count
		return
	}
	i.runs = append(i.runs, run{0, count})
}

// extents writes the map of blocks: into the inode, or into a block of its own,
// which leaf gives and takes.
func (i *extIno) extents(leaf func(entries int) (uint32, []byte, error)) error {
	to := i.body[:]
	var entries []byte
	logical, count := uint32(0), 0
	for _, r := range i.runs {
		if r.start != 0 {
			entries = binary.LittleEndian.AppendUint32(entries, logical)
			entries = binary.LittleEndian.AppendUint16(entries, uint16(r.count))
			entries = binary.LittleEndian.AppendUint16(entries, 0)
			entries = binary.LittleEndian.AppendUint32(entries, r.start)
			count++
		}
		logical += r.count
	}
	head := func(to []byte, entries, room, depth int) {
		for j, v := range []int{0xf30a, entries, room, depth} {
			binary.LittleEndian.PutUint16(to[2*j:], uint16(v))
		}
	}
	if count <= extInline {
		head(to, count, extInline, 0)
		copy(to[12:], entries)
		return nil
	}
	at, block, err := leaf(count)
	if err != nil {
		return err
	}
	head(block, count, extLeaf, 0)
	copy(block[12:], entries)
	i.leaf = at
	head(to, 1, extInline, 1)
	binary.LittleEndian.PutUint32(to[16:], at)
	return nil
}

// inode writes one into its group's table.
func (e *ext) inode(i *extIno) error {
	if i.mapped {
		var leaf []byte
		err := i.extents(func(entries int) (uint32, []byte, error) {
			if entries > extLeaf {
				return 0, nil, fmt.Errorf("a file of %d bytes lies in %d pieces, and %d is the most", i.size, entries, extLeaf)
			}
			runs, err := e.allocate(1)
			if err != nil {
				return 0, nil, err
			}
			leaf = make([]byte, extBlock)
			return runs[0].start, leaf, nil
		})
		if err != nil {
			return err
		}
		if leaf != nil {
			if err := e.writeAt(i.leaf, leaf); err != nil {
				return err
			}
		}
	}
	sectors := uint32(0)
	for _, r := range i.runs {
		if r.start != 0 {
			sectors += r.count * extSectors
		}
	}
	for _, b := range []uint32{i.leaf, i.xattr} {
		if b != 0 {
			sectors += extSectors
		}
	}
	raw := make([]byte, extInode)
	u16 := func(at int, v uint32) { binary.LittleEndian.PutUint16(raw[at:], uint16(v)) }
	u32 := func(at int, v uint32) { binary.LittleEndian.PutUint32(raw[at:], v) }
	seconds := i.n.seconds()
	u16(0x00, i.n.Mode)
	u16(0x02, i.n.UID)
	u32(0x04, uint32(i.size))
	for _, at := range []int{0x08, 0x0c, 0x10, 0x90} { // accessed, changed, modified, made
		u32(at, seconds)
	}
	if seconds > 1<<31-1 { // the time is signed, and the epoch above it begins in 1901
		for _, at := range []int{0x84, 0x88, 0x8c, 0x94} {
			u32(at, 1)
		}
	}
	u16(0x18, i.n.GID)
	u16(0x1a, i.links)
	u32(0x1c, sectors)
	if i.mapped {
		u32(0x20, 0x80000) // by extents
	}
	copy(raw[0x28:], i.body[:])
	u32(0x68, i.xattr)
	u32(0x6c, uint32(i.size>>32))
	u16(0x78, i.n.UID>>16)
	u16(0x7a, i.n.GID>>16)
	u16(0x80, extInodeExtra)
	copy(raw[128+extInodeExtra:], i.inside)

	group := (i.number - 1) / e.groupInodes
	g := &e.groups[group]
	if i.number >= extFirst {
		g.inodes++
	}
	if i.n.Kind() == KindDir {
		g.dirs++
	}
	at := int64(g.table)*extBlock + int64((i.number-1)%e.groupInodes)*extInode
	_, err := e.out.WriteAt(raw, at)
	return err
}

// extAttribute is an extended attribute in the file system's terms.
type extAttribute struct {
	space byte
	name  string
	value []byte
}

// extSpaces are the namespaces of extended attributes, by their numbers.
var extSpaces = map[string]byte{"user.": 1, "trusted.": 4, "security.": 6}

// attributes puts extended attributes into the inode if they fit, or into a block.
func (e *ext) attributes(n *node, i *extIno) error {
	if len(n.Xattrs) == 0 {
		return nil
	}
	var list []extAttribute
	for _, key := range slices.Sorted(maps.Keys(n.Xattrs)) {
		dot := strings.IndexByte(key, '.') + 1
		space := extSpaces[key[:dot]]
		if space == 0 || len(key)-dot > 255 {
			return fmt.Errorf("/%s has the attribute %s, which is not written to an ext4", n.path, key)
		}
		list = append(list, extAttribute{space, key[dot:], n.Xattrs[key]})
		fmt.Fprintf(e.digest, "%s=%x\n", key, n.Xattrs[key])
	}
	slices.SortFunc(list, func(a, b extAttribute) int {
		return cmp.Or(cmp.Compare(a.space, b.space), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	inside := make([]byte, extInode-128-extInodeExtra)
	binary.LittleEndian.PutUint32(inside, 0xea020000)
	if packAttributes(inside[4:], 0, list) != nil {
		i.inside = inside
		return nil
	}
	block := make([]byte, extBlock)
	hashes := packAttributes(block[32:], 32, list)
	if hashes == nil {
		return fmt.Errorf("the attributes of /%s do not fit into the %d bytes that an ext4 has for them", n.path, extBlock)
	}
	total := uint32(0)
	for _, h := range hashes {
		total = total<<16 ^ total>>16 ^ h
	}
	for j, v := range []uint32{0xea020000, 1, 1, total} { // one file, one block
		binary.LittleEndian.PutUint32(block[4*j:], v)
	}
	runs, err := e.allocate(1)
	if err != nil {
		return err
	}
	i.xattr = runs[0].start
	return e.writeAt(i.xattr, block)
}

// packAttributes writes entries from the beginning of room and values from its
// end, and gives the entries' hashes; nil: they do not fit. Places are counted
// from base bytes before room.
func packAttributes(room []byte, base int, list []extAttribute) []uint32 {
	var hashes []uint32
	at, end := 0, len(room)
	for _, a := range list {
		entry, value := (16+len(a.name)+3)&^3, (len(a.value)+3)&^3
		end -= value
		if at+entry+4 > end { // a zero word ends the entries
			return nil
		}
		copy(room[end:], a.value)
		e := room[at:]
		e[0], e[1] = byte(len(a.name)), a.space
		offset := base + end
		if len(a.value) == 0 {
			offset = 0
		}
		binary.LittleEndian.PutUint16(e[2:], uint16(offset))
		binary.LittleEndian.PutUint32(e[8:], uint32(len(a.value)))
		h := attributeHash(a.name, room[end:end+value])
		binary.LittleEndian.PutUint32(e[12:], h)
		copy(e[16:], a.name)
		hashes = append(hashes, h)
		at += entry
	}
	return hashes
}

// attributeHash is ext4_xattr_hash_entry: of the name, then of the value's words.
func attributeHash(name string, value []byte) uint32 {
	h := uint32(0)
	for _, c := range []byte(name) {
		h = h<<5 ^ h>>(32-5) ^ uint32(c)
	}
	for ; len(value) > 0; value = value[4:] {
		h = h<<16 ^ h>>(32-16) ^ binary.LittleEndian.Uint32(value)
	}
	return h
}
