package fsimage

import (
	"encoding/binary"
	"math"
	"slices"
)

// journalInode writes the journal: an empty one, that is its superblock alone.
func (e *ext) journalInode() error {
	i := &extIno{n: &Inode{Mode: KindRegular | 0o600}, links: 1, number: extJournal, mapped: true}
	for _, r := range e.journal {
		for b := range r.count {
			i.append(r.start + b)
		}
	}
	i.size = uint64(i.blocks) * extBlock
	return e.inode(i)
}

// uuid is a digest of the contents in the form of an identifier that was made of
// a name (RFC 9562, version 8).
func (e *ext) uuid() []byte {
	id := e.digest.Sum(nil)[:16]
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return id
}

// finish writes what tells of the whole: bitmaps, descriptors, superblocks.
func (e *ext) finish(label string, last uint32) error {
	id := e.uuid()
	journal := make([]byte, extBlock)
	for i, v := range []uint32{0xc03b3998, 4, 0, extBlock, runBlocks(e.journal), 1, 1} { // jbd2's superblock, version 2
		binary.BigEndian.PutUint32(journal[4*i:], v)
	}
	copy(journal[0x30:], id)
	binary.BigEndian.PutUint32(journal[0x40:], 1) // file systems that use it
	if err := e.writeAt(e.journal[0].start, journal); err != nil {
		return err
	}
	descriptors := make([]byte, int(e.tables)*extBlock)
	free, freeInodes := uint32(0), uint32(0)
	for i := range e.groups {
		g := &e.groups[i]
		bitmap := slices.Repeat([]byte{0xff}, extBlock) // what is behind the end is used
		copy(bitmap, e.used[g.first/8:min(uint64(len(e.used)), uint64(g.first)/8+extBlock)])
		for b := g.blocks; b%8 != 0; b++ {
			bitmap[b/8] |= 1 << (b % 8)
		}
		if err := e.writeAt(g.blockMap, bitmap); err != nil {
			return err
		}
		inodes := slices.Repeat([]byte{0xff}, extBlock)
		for n := range e.groupInodes {
			if number := uint32(i)*e.groupInodes + n + 1; number > last {
				inodes[n/8] &^= 1 << (n % 8)
			}
		}
		if err := e.writeAt(g.inodeMap, inodes); err != nil {
			return err
		}
		d := descriptors[i*extDescriptor:]
		for j, v := range []uint32{g.blockMap, g.inodeMap, g.table} {
			binary.LittleEndian.PutUint32(d[4*j:], v)
		}
		for j, v := range []uint32{g.free, e.groupInodes - g.inodes, g.dirs} {
			binary.LittleEndian.PutUint16(d[12+2*j:], uint16(v))
		}
		free += g.free
		freeInodes += e.groupInodes - g.inodes
	}
	for i, g := range e.groups {
		if !sparse(i) {
			continue
		}
		offset := int64(g.first) * extBlock
		if i == 0 {
			offset = 1024
		}
		if _, err := e.out.WriteAt(e.super(id, label, uint16(i), free, freeInodes), offset); err != nil {
			return err
		}
		if err := e.writeAt(g.first+1, descriptors); err != nil {
			return err
		}
	}
	return nil
}

func runBlocks(runs []run) (n uint32) {
	for _, r := range runs {
		n += r.count
	}
	return n
}

// super is a superblock, the one of a group.
func (e *ext) super(id []byte, label string, group uint16, free, freeInodes uint32) []byte {
	s := make([]byte, 1024)
	u16 := func(at int, v uint16) { binary.LittleEndian.PutUint16(s[at:], v) }
	u32 := func(at int, v uint32) { binary.LittleEndian.PutUint32(s[at:], v) }
	u32(0x00, uint32(len(e.groups))*e.groupInodes)
	u32(0x04, e.blocks)
	u32(0x08, e.blocks/extReservedPart)
	u32(0x0c, free)
	u32(0x10, freeInodes)
	u32(0x18, 2) // blocks of 1024 << 2 bytes
	u32(0x1c, 2)
	u32(0x20, extGroupBlocks)
	u32(0x24, extGroupBlocks)
	u32(0x28, e.groupInodes)
	u32(0x30, e.newest)       // written
	u16(0x36, math.MaxUint16) // no check after so many mounts
	u16(0x38, 0xef53)
	u16(0x3a, 1)        // clean
	u16(0x3c, 1)        // go on after errors
	u32(0x40, e.newest) // checked
	u32(0x4c, 1)        // dynamic revision
	u32(0x54, extFirst)
	u16(0x58, extInode)
	u16(0x5a, group)
	u32(0x5c, 0x4|0x8|0x20)          // has_journal, ext_attr, dir_index
	u32(0x60, 0x2|0x40)              // filetype, extents
	u32(0x64, 0x1|0x2|0x8|0x20|0x40) // sparse_super, large_file, huge_file, dir_nlink, extra_isize
	copy(s[0x68:], id)
	copy(s[0x78:0x88], label)
	u32(0xe0, extJournal)
	copy(s[0xec:0xfc], id) // seed of the hashes of directories
	s[0xfc] = 1            // half MD4
	s[0xfd] = 1            // a copy of the journal's inode follows
	u32(0x108, e.newest)   // made
	copy(s[0x10c:], e.journalCopy())
	u16(0x15c, extInodeExtra)
	u16(0x15e, extInodeExtra)
	u32(0x160, 0x1) // signed directory hashes
	return s
}

// journalCopy is what a superblock keeps of the journal's inode: its map and size.
func (e *ext) journalCopy() []byte {
	i := &extIno{n: &Inode{}, mapped: true}
	for _, r := range e.journal {
		for b := range r.count {
			i.append(r.start + b)
		}
	}
	// The journal is the first that is allocated and has no more extents than an
	// inode holds.
	i.extents(nil)
	size := uint64(i.blocks) * extBlock
	out := append([]byte(nil), i.body[:]...)
	out = binary.LittleEndian.AppendUint32(out, uint32(size>>32))
	return binary.LittleEndian.AppendUint32(out, uint32(size))
}
