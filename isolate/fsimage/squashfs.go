package fsimage

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// The numbers of squashfs 4.0, from the kernel's fs/squashfs/squashfs_fs.h.
const (
	squashMagic     = 0x73717368
	squashBlock     = 128 << 10 // of files
	squashBlockLog  = 17
	squashMetadata  = 8 << 10 // of everything else
	squashZlib      = 1       // compressor
	squashNoTails   = 0x10    // flag: no fragments
	squashNone      = math.MaxUint64
	squashNoTail    = math.MaxUint32 // no fragment
	squashNoXattr   = math.MaxUint32
	squashRawBlock  = 1 << 24 // this block of a file is not compressed
	squashRawMeta   = 1 << 15 // this block of metadata is not compressed
	squashExtended  = 7       // what makes of a kind of inode its extended form
	squashHeader    = 96
	squashRun       = 256 // entries of a directory after one header
	squashListing   = 3   // what a directory's size counts for "." and ".."
	squashAlignment = 4096
)

// Kinds of inodes.
const (
	squashDir = iota + 1
	squashRegular
	squashLink
	squashBlockDevice
	squashCharDevice
	squashFIFO
	squashSocket
)

// WriteSquashfs writes the tree as a read-only squashfs 4.0, compressed with
// zlib, into a file from its beginning. (Of zstd's frames the kernel has refused
// some that libzstd reads.) The kernel needs CONFIG_SQUASHFS_ZLIB, and CONFIG_SQUASHFS_XATTR for extended attributes, which are those of the
// namespaces user, trusted and security.
//
// Each file's last block stands alone and not with others' in a fragment, which
// costs some space and saves reading what is not asked for.
func (t *Tree) WriteSquashfs(to io.WriteSeeker) error {
	if err := t.check(); err != nil {
		return err
	}
	encoder, err := newDeflater()
	if err != nil {
		return err
	}
	s := &squash{out: bufio.NewWriterSize(to, 1<<20), encoder: encoder, nodes: t.nodes()}
	s.inodes.encoder, s.listings.encoder = encoder, encoder
	s.ids = map[uint32]uint16{}
	if err := s.write(make([]byte, squashHeader)); err != nil {
		return err
	}
	header, err := s.image()
	if err != nil {
		return err
	}
	if err := s.write(make([]byte, -s.at&(squashAlignment-1))); err != nil {
		return err
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	if _, err := to.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return binary.Write(to, binary.LittleEndian, header)
}

// squashSuper is the superblock.
type squashSuper struct {
	Magic, Inodes, ModTime, BlockSize, Fragments   uint32
	Compressor, BlockLog, Flags, IDs, Major, Minor uint16
	Root, Bytes, IDTable, XattrTable, InodeTable   uint64
	DirectoryTable, FragmentTable, ExportTable     uint64
}

// squash is an image while it is written.
type squash struct {
	out              *bufio.Writer
	at               int64 // how much has been written
	encoder          *deflater
	nodes            []*node
	files            map[*node]squashFile
	places           map[*node]uint64 // of inodes
	inodes, listings metadata
	ids              map[uint32]uint16
	idList           []uint32
	xattrs           squashXattrs
}

// squashFile is where a file's contents are.
type squashFile struct {
	start  uint64
	blocks []uint32
	holes  uint64 // bytes
}

func (s *squash) write(data []byte) error {
	n, err := s.out.Write(data)
	s.at += int64(n)
	return err
}

// image writes all but the superblock, and gives that.
func (s *squash) image() (*squashSuper, error) {
	s.files, s.places = map[*node]squashFile{}, map[*node]uint64{}
	newest := uint32(0)
	for _, n := range s.nodes {
		newest = max(newest, n.seconds())
		if n.Kind() != KindRegular {
			continue
		}
		f, err := s.file(n)
		if err != nil {
			return nil, err
		}
		s.files[n] = f
	}
	s.xattrs.keys.encoder, s.xattrs.list.encoder = s.encoder, s.encoder
	if err := s.tree(s.nodes[0]); err != nil {
		return nil, err
	}
	super := squashSuper{
		Magic: squashMagic, Inodes: uint32(len(s.nodes)), ModTime: newest, BlockSize: squashBlock,
		Compressor: squashZlib, BlockLog: squashBlockLog, Flags: squashNoTails, IDs: uint16(len(s.idList)), Major: 4,
		Root: s.places[s.nodes[0]], XattrTable: squashNone, FragmentTable: squashNone, ExportTable: squashNone,
	}
	super.InodeTable = uint64(s.at)
	if err := s.write(s.inodes.finish()); err != nil {
		return nil, err
	}
	super.DirectoryTable = uint64(s.at)
	if err := s.write(s.listings.finish()); err != nil {
		return nil, err
	}
	ids := metadata{encoder: s.encoder}
	for _, id := range s.idList {
		ids.write(binary.LittleEndian.AppendUint32(nil, id))
	}
	var err error
	if super.IDTable, err = s.indexed(&ids, nil); err != nil {
		return nil, err
	}
	if s.xattrs.count > 0 {
		start := uint64(s.at)
		if err := s.write(s.xattrs.keys.finish()); err != nil {
			return nil, err
		}
		head := binary.LittleEndian.AppendUint64(nil, start)
		head = binary.LittleEndian.AppendUint32(head, s.xattrs.count)
		head = binary.LittleEndian.AppendUint32(head, 0)
		if super.XattrTable, err = s.indexed(&s.xattrs.list, head); err != nil {
			return nil, err
		}
	}
	super.Bytes = uint64(s.at)
	return &super, nil
}

// indexed writes blocks of metadata, then a head and where each of the blocks is,
// and gives the place of the head.
func (s *squash) indexed(m *metadata, head []byte) (uint64, error) {
	start := uint64(s.at)
	if err := s.write(m.finish()); err != nil {
		return 0, err
	}
	table := uint64(s.at)
	for _, offset := range m.starts {
		head = binary.LittleEndian.AppendUint64(head, start+uint64(offset))
	}
	return table, s.write(head)
}

// file writes a file's blocks.
func (s *squash) file(n *node) (squashFile, error) {
	f := squashFile{start: uint64(s.at)}
	if n.Open == nil {
		f.blocks = make([]uint32, (n.Size+squashBlock-1)/squashBlock)
		f.holes = uint64(n.Size)
		return f, nil
	}
	c := chunker{size: squashBlock, take: func(block []byte) error {
		if len(block) == squashBlock && allZero(block) {
			f.blocks, f.holes = append(f.blocks, 0), f.holes+squashBlock
			return nil
		}
		packed := s.encoder.pack(block)
		if len(packed) >= len(block) {
			f.blocks = append(f.blocks, uint32(len(block))|squashRawBlock)
			return s.write(block)
		}
		f.blocks = append(f.blocks, uint32(len(packed)))
		return s.write(packed)
	}}
	if err := n.contents(n.path, &c); err != nil {
		return f, err
	}
	return f, c.close()
}

// tree writes the inodes of what is below a directory, then its listing, then its
// own inode: each must know where the ones before are.
func (s *squash) tree(dir *node) error {
	for _, c := range dir.children {
		if _, done := s.places[c.node]; done {
			continue
		}
		var err error
		if c.Kind() == KindDir {
			err = s.tree(c.node)
		} else {
			err = s.inode(c.node, nil)
		}
		if err != nil {
			return err
		}
	}
	place, size := s.listing(dir)
	if size > math.MaxUint32 {
		return fmt.Errorf("the directory /%s is too large for squashfs", dir.path)
	}
	return s.inode(dir, &listing{place, uint32(size)})
}

type listing struct {
	place uint64
	size  uint32
}

// listing writes the entries of a directory, whose inodes are all written.
func (s *squash) listing(dir *node) (place uint64, size int) {
	place = s.listings.place()
	rest := dir.children
	for len(rest) > 0 {
		base, block := rest[0].number, s.places[rest[0].node]>>16
		count := 0
		for _, c := range rest {
			delta := int64(c.number) - int64(base)
			if count == squashRun || s.places[c.node]>>16 != block || delta != int64(int16(delta)) {
				break
			}
			count++
		}
		run := binary.LittleEndian.AppendUint32(nil, uint32(count-1))
		run = binary.LittleEndian.AppendUint32(run, uint32(block))
		run = binary.LittleEndian.AppendUint32(run, base)
		for _, c := range rest[:count] {
			run = binary.LittleEndian.AppendUint16(run, uint16(s.places[c.node]))
			run = binary.LittleEndian.AppendUint16(run, uint16(c.number-base))
			run = binary.LittleEndian.AppendUint16(run, squashKind(c.Kind()))
			run = binary.LittleEndian.AppendUint16(run, uint16(len(c.name)-1))
			run = append(run, c.name...)
		}
		s.listings.write(run)
		size += len(run)
		rest = rest[count:]
	}
	return place, size
}

// inode writes one, in its extended form where it needs that.
func (s *squash) inode(n *node, list *listing) error {
	uid, err := s.id(n.UID)
	if err != nil {
		return err
	}
	gid, err := s.id(n.GID)
	if err != nil {
		return err
	}
	xattr, err := s.xattrs.add(n)
	if err != nil {
		return err
	}
	kind, extended := squashKind(n.Kind()), xattr != squashNoXattr
	var body []byte
	u16 := func(v uint16) { body = binary.LittleEndian.AppendUint16(body, v) }
	u32 := func(values ...uint32) {
		for _, v := range values {
			body = binary.LittleEndian.AppendUint32(body, v)
		}
	}
	u64 := func(values ...uint64) {
		for _, v := range values {
			body = binary.LittleEndian.AppendUint64(body, v)
		}
	}
	switch n.Kind() {
	case KindDir:
		block, offset := uint32(list.place>>16), uint16(list.place)
		size, up := list.size+squashListing, n.parent.number
		if n.parent == n {
			up = uint32(len(s.nodes)) + 1 // what mksquashfs gives the root
		}
		if extended = extended || size > math.MaxUint16; extended {
			u32(2+n.subdirs, size, block, up)
			u16(0)
			u16(offset)
			u32(xattr)
		} else {
			u32(block, 2+n.subdirs)
			u16(uint16(size))
			u16(offset)
			u32(up)
		}
	case KindRegular:
		f := s.files[n]
		if extended = extended || n.paths > 1 || n.Size > math.MaxUint32 || f.start > math.MaxUint32 || f.holes > 0; extended {
			u64(f.start, uint64(n.Size), f.holes)
			u32(n.paths, squashNoTail, 0, xattr)
		} else {
			u32(uint32(f.start), squashNoTail, 0, uint32(n.Size))
		}
		u32(f.blocks...)
	case KindLink:
		u32(n.paths, uint32(len(n.Target)))
		body = append(body, n.Target...)
	case KindBlock, KindChar:
		u32(n.paths, n.device())
	default:
		u32(n.paths)
	}
	if extended {
		kind += squashExtended
		if k := n.Kind(); k != KindDir && k != KindRegular {
			u32(xattr)
		}
	}
	head := binary.LittleEndian.AppendUint16(nil, kind)
	head = binary.LittleEndian.AppendUint16(head, uint16(n.Mode&0o7777))
	head = binary.LittleEndian.AppendUint16(head, uid)
	head = binary.LittleEndian.AppendUint16(head, gid)
	head = binary.LittleEndian.AppendUint32(head, n.seconds())
	head = binary.LittleEndian.AppendUint32(head, n.number)
	s.places[n] = s.inodes.place()
	s.inodes.write(append(head, body...))
	return nil
}

// id gives the index of a user or group in the table that both share.
func (s *squash) id(id uint32) (uint16, error) {
	if i, ok := s.ids[id]; ok {
		return i, nil
	}
	if len(s.idList) == math.MaxUint16 {
		return 0, fmt.Errorf("a squashfs holds files of 65535 users and groups, and these are more")
	}
	s.ids[id] = uint16(len(s.idList))
	s.idList = append(s.idList, id)
	return s.ids[id], nil
}

func squashKind(kind uint32) uint16 {
	switch kind {
	case KindDir:
		return squashDir
	case KindRegular:
		return squashRegular
	case KindLink:
		return squashLink
	case KindBlock:
		return squashBlockDevice
	case KindChar:
		return squashCharDevice
	case KindFIFO:
		return squashFIFO
	}
	return squashSocket
}
