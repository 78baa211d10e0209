package fsimage

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"slices"
)

// The numbers of ext4, from the kernel's Documentation/filesystems/ext4.
const (
	extBlock        = 4096
	extSectors      = extBlock / 512
	extGroupBlocks  = 8 * extBlock // what one block of a bitmap tells of
	extInode        = 256
	extInodesBlock  = extBlock / extInode
	extInodeExtra   = 32 // of an inode behind the first 128 bytes
	extDescriptor   = 32
	extDescriptors  = extBlock / extDescriptor // of groups in one block
	extRoot         = 2
	extJournal      = 8
	extLostFound    = 11
	extFirst        = 11 // inodes below are the file system's own
	extRunMax       = 1 << 15
	extInline       = 4   // extents in an inode
	extLeaf         = 340 // extents in a block
	extMostHoles    = 300 // pieces of a file after which zeros are written, lest the extents run out
	extLostBlocks   = 4
	extBytesInode   = 16 << 10 // of the image, for each inode
	extSpareInodes  = 1024
	extMaxBlocks    = 1 << 32
	extLinksMax     = 65000
	extReservedPart = 100 // one of so many blocks is root's alone
)

// MinExt4 is the smallest ext4 that is written, in bytes: the journal alone is 4 MiB.
const MinExt4 = 8 << 20

// Ext4 says how a file system is to be.
type Ext4 struct {
	Size  int64  // in bytes, at least MinExt4; 0: what the files need, a tenth more and 16 MiB
	Label string // at most 16 bytes
}

// WriteExt4 writes the tree as an ext4 with a journal into an empty file, which
// becomes as long as the file system is, with holes where it is empty. Writable
// as any other, it can be grown with resize2fs while it is not mounted. It has no
// checksums of metadata. Extended attributes are those of the namespaces user,
// trusted and security, and all of a file's must fit into a block of 4096 bytes.
func (t *Tree) WriteExt4(to *os.File, o Ext4) error {
	if err := t.check(); err != nil {
		return err
	}
	if len(o.Label) > 16 {
		return fmt.Errorf("the label %q is longer than 16 bytes", o.Label)
	}
	tree := &Tree{inodes: maps.Clone(t.inodes)}
	if n := tree.inodes["lost+found"]; n == nil {
		tree.inodes["lost+found"] = &Inode{Mode: KindDir | 0o700, ModTime: t.inodes[""].ModTime}
	} else if n.Kind() != KindDir {
		return fmt.Errorf("/lost+found is not a directory")
	}
	e := &ext{out: to, nodes: tree.nodes(), digest: sha256.New()}
	if err := e.layOut(o); err != nil {
		return err
	}
	if err := to.Truncate(int64(e.blocks) * extBlock); err != nil {
		return fmt.Errorf("cannot make the image as long as it is to be: %w", err)
	}
	return e.write(o.Label)
}

// ext is a file system while it is written.
type ext struct {
	out    *os.File
	nodes  []*node
	digest hash.Hash // of all that is in it

	blocks      uint32
	groups      []extGroup
	groupInodes uint32
	tables      uint32   // blocks of descriptors behind each superblock
	numbers     []uint32 // of the inodes, by node.number - 1
	used        []byte   // a bit for each block
	next        uint32   // where the next free block is looked for
	journal     []run
	newest      uint32
}

// extGroup is a group of blocks and what it holds.
type extGroup struct {
	first, blocks             uint32
	blockMap, inodeMap, table uint32 // where these are
	free, inodes, dirs        uint32 // blocks free, inodes used, directories
}

// run is a row of blocks of a file; start 0 is a hole.
type run struct{ start, count uint32 }

// layOut decides how large everything is, and where what is not files is.
func (e *ext) layOut(o Ext4) error {
	need, inodes := int64(0), int64(len(e.nodes)+extFirst+extSpareInodes)
	for _, n := range e.nodes {
		need += (n.Size+extBlock-1)/extBlock + 1
		if n.Kind() == KindDir {
			need += int64(len(n.children))*(8+64)/extBlock + 1
		}
	}
	size := o.Size
	if size == 0 {
		size = need*extBlock + inodes*extInode
		size += size/10 + 16<<20 + int64(journalBlocks(size/extBlock))*extBlock
		size = (size + 1<<20 - 1) &^ (1<<20 - 1)
	}
	if size < MinExt4 {
		return fmt.Errorf("an ext4 of %d bytes is too small: it needs %d", size, MinExt4)
	}
	total := size / extBlock
	if total >= extMaxBlocks {
		return fmt.Errorf("an ext4 of %d bytes is too large: it can have less than 16 TiB", size)
	}
	inodes = max(inodes, size/extBytesInode)
	for {
		groups := (total + extGroupBlocks - 1) / extGroupBlocks
		perGroup := (inodes + groups - 1) / groups
		perGroup = (perGroup + extInodesBlock - 1) / extInodesBlock * extInodesBlock
		if perGroup > 8*extBlock {
			return fmt.Errorf("%d files are too many for an ext4 of %d bytes", len(e.nodes), size)
		}
		e.groupInodes = uint32(perGroup)
		e.tables = uint32((groups + extDescriptors - 1) / extDescriptors)
		// A last group that would hold little beside itself is left out.
		last := total - (groups-1)*extGroupBlocks
		if own := int64(1+e.tables+2) + perGroup/extInodesBlock; groups > 1 && last < own+50 {
			total = (groups - 1) * extGroupBlocks
			continue
		}
		e.blocks, e.groups = uint32(total), make([]extGroup, groups)
		break
	}
	e.used = make([]byte, (e.blocks+7)/8)
	for i := range e.groups {
		g := &e.groups[i]
		g.first = uint32(i) * extGroupBlocks
		g.blocks = min(extGroupBlocks, e.blocks-g.first)
		g.free = g.blocks
		at := g.first
		if sparse(i) {
			at += 1 + e.tables
		}
		g.blockMap, g.inodeMap, g.table = at, at+1, at+2
		end := g.table + e.groupInodes/extInodesBlock
		if end > g.first+g.blocks {
			return fmt.Errorf("an ext4 of %d bytes is too small for %d files", size, len(e.nodes))
		}
		for b := g.first; b < end; b++ {
			e.take(b)
		}
	}
	var err error
	e.journal, err = e.allocate(journalBlocks(total))
	return err
}

// journalBlocks is how large the journal is, about as mke2fs makes it.
func journalBlocks(total int64) uint32 {
	switch {
	case total < 32<<10:
		return 1024 // jbd2 wants no less
	case total < 256<<10:
		return 4096
	case total < 2<<20:
		return 8192
	}
	return 32 << 10
}

// sparse tells whether a group has a copy of the superblock.
func sparse(group int) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []int{3, 5, 7} {
		n := group
		for n%base == 0 {
			n /= base
		}
		if n == 1 {
			return true
		}
	}
	return false
}

func (e *ext) take(block uint32) {
	e.used[block/8] |= 1 << (block % 8)
	e.groups[block/extGroupBlocks].free--
}

// allocate gives blocks in rows as long as they can be, in ascending order.
func (e *ext) allocate(count uint32) ([]run, error) {
	var runs []run
	for count > 0 {
		for e.next < e.blocks && e.used[e.next/8]&(1<<(e.next%8)) != 0 {
			e.next++
		}
		if e.next >= e.blocks {
			return nil, fmt.Errorf("the files do not fit into the ext4 of %d bytes: give it more with its size", int64(e.blocks)*extBlock)
		}
		r := run{start: e.next}
		for count > 0 && r.count < extRunMax && e.next < e.blocks && e.used[e.next/8]&(1<<(e.next%8)) == 0 {
			e.take(e.next)
			e.next++
			r.count++
			count--
		}
		runs = append(runs, r)
	}
	return runs, nil
}

// write fills the image.
func (e *ext) write(label string) error {
	number := uint32(extFirst + 1)
	for _, n := range e.nodes {
		switch n.path {
		case "":
			e.numbers = append(e.numbers, extRoot)
		case "lost+found":
			e.numbers = append(e.numbers, extLostFound)
		default:
			e.numbers = append(e.numbers, number)
			number++
		}
		e.newest = max(e.newest, n.seconds())
	}
	for _, n := range e.nodes {
		if err := e.node(n); err != nil {
			return err
		}
	}
	if err := e.journalInode(); err != nil {
		return err
	}
	// The inodes below the first are used, whether they are anything or not.
	e.groups[0].inodes += extFirst - 1
	return e.finish(label, number-1)
}

// node writes a file: its contents, its attributes and its inode.
func (e *ext) node(n *node) error {
	i := &extIno{n: n.Inode, links: n.paths, number: e.numbers[n.number-1]}
	fmt.Fprintf(e.digest, "%s %o %d %d %d %d %d %q %d\n", n.path, n.Mode, n.UID, n.GID, n.Major, n.Minor, n.paths, n.Target, n.seconds())
	var err error
	switch n.Kind() {
	case KindDir:
		i.links = 2 + n.subdirs
		if i.links >= extLinksMax {
			i.links = 1
		}
		err = e.directory(n, i)
	case KindRegular:
		err = e.file(n, i)
	case KindLink:
		if i.size = uint64(len(n.Target)); i.size < uint64(len(i.body)) {
			copy(i.body[:], n.Target)
			break
		}
		block := make([]byte, extBlock)
		copy(block, n.Target)
		if i.runs, err = e.allocate(1); err == nil {
			err = e.writeAt(i.runs[0].start, block)
		}
		i.mapped = true
	case KindBlock, KindChar:
		binary.LittleEndian.PutUint32(i.body[4:], n.device())
	}
	if err != nil {
		return err
	}
	if n.paths >= extLinksMax {
		return fmt.Errorf("/%s has %d names, and in an ext4 a file can have %d", n.path, n.paths, extLinksMax-1)
	}
	if err := e.attributes(n, i); err != nil {
		return err
	}
	return e.inode(i)
}

// file writes the contents of a regular file, without the blocks of zeros.
func (e *ext) file(n *node, i *extIno) error {
	i.size, i.mapped = uint64(n.Size), true
	if n.Open == nil {
		i.holes(uint32((n.Size + extBlock - 1) / extBlock))
		return nil
	}
	c := chunker{size: extBlock, take: func(block []byte) error {
		if len(i.runs) < extMostHoles && allZero(block) {
			i.holes(1)
			return nil
		}
		runs, err := e.allocate(1)
		if err != nil {
			return err
		}
		i.append(runs[0].start)
		return e.writeAt(runs[0].start, block)
	}}
	if err := n.contents(n.path, io.MultiWriter(&c, e.digest)); err != nil {
		return err
	}
	return c.close()
}

// directory writes entries one after the other, as a directory without an index.
func (e *ext) directory(n *node, i *extIno) error {
	i.mapped = true
	self, up := e.numbers[n.number-1], e.numbers[n.parent.number-1]
	var blocks [][]byte
	block, last := make([]byte, 0, extBlock), 0
	end := func() { // the last entry reaches to the end of the block
		binary.LittleEndian.PutUint16(block[last+4:], uint16(extBlock-last))
		blocks = append(blocks, append(block, make([]byte, extBlock-len(block))...))
	}
	add := func(number uint32, name string, kind uint32) {
		size := (8 + len(name) + 3) &^ 3
		if len(block)+size > extBlock {
			end()
			block = make([]byte, 0, extBlock)
		}
		last = len(block)
		block = binary.LittleEndian.AppendUint32(block, number)
		block = binary.LittleEndian.AppendUint16(block, uint16(size))
		block = append(block, byte(len(name)), extKind(kind))
		block = append(block, name...)
		block = append(block, make([]byte, size-8-len(name))...)
	}
	add(self, ".", KindDir)
	add(up, "..", KindDir)
	for _, c := range n.children {
		add(e.numbers[c.number-1], c.name, c.Kind())
		fmt.Fprintf(e.digest, "%d %s\n", c.number, c.name)
	}
	end()
	for self == extLostFound && len(blocks) < extLostBlocks { // room for fsck, kept empty
		empty := make([]byte, extBlock)
		binary.LittleEndian.PutUint16(empty[4:], extBlock)
		blocks = append(blocks, empty)
	}
	i.size = uint64(len(blocks)) * extBlock
	for _, block := range blocks {
		runs, err := e.allocate(1)
		if err != nil {
			return err
		}
		i.append(runs[0].start)
		if err := e.writeAt(runs[0].start, block); err != nil {
			return err
		}
	}
	return nil
}

func extKind(kind uint32) byte {
	return byte(1 + slices.Index([]uint32{KindRegular, KindDir, KindChar, KindBlock, KindFIFO, KindSocket, KindLink}, kind))
}

func (e *ext) writeAt(block uint32, data []byte) error {
	_, err := e.out.WriteAt(data, int64(block)*extBlock)
	return err
}
