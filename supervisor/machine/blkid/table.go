package blkid

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Partition is what a disk's table says of a partition.
type Partition struct {
	UUID  string
	Label string
}

// Bounds of a GPT that is believed (UEFI specification, 5.3).
const (
	maxEntries   = 1024
	minEntrySize = 128
	maxEntrySize = 4096
)

// Partitions reads the GPT of a disk whose logical blocks have block bytes; the
// partition's number is the key. A disk without one has none.
func Partitions(r io.ReaderAt, block int64) (map[int]Partition, error) {
	if block < 512 || block > 64<<10 {
		return nil, fmt.Errorf("blocks of %d bytes", block)
	}
	h := make(image, 512)
	if n, err := r.ReadAt(h, block); n == len(h) && h.has(0, "EFI PART") {
		return gpt(r, h, block)
	} else if err != nil && err != io.EOF {
		return nil, err
	}
	return nil, nil
}

func gpt(r io.ReaderAt, h image, block int64) (map[int]Partition, error) {
	first := binary.LittleEndian.Uint64(h.at(72, 8))
	count, size := h.u32(80), h.u32(84)
	if count > maxEntries || size < minEntrySize || size > maxEntrySize || first > 1<<40 {
		return nil, fmt.Errorf("the partition table makes no sense")
	}
	table := make(image, int(count*size))
	if _, err := r.ReadAt(table, int64(first)*block); err != nil && err != io.EOF {
		return nil, err
	}
	all := map[int]Partition{}
	for n := range int(count) {
		at := n * int(size)
		if table.uuid(at) == "" { // of no type: not in use
			continue
		}
		all[n+1] = Partition{UUID: table.guid(at + 16), Label: table.utf16le(at+56, 36)}
	}
	return all, nil
}

// guid formats an UUID whose first three fields are little-endian.
func (d image) guid(offset int) string {
	b := d.at(offset, 16)
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:])
}

// MBRPartition gives the UUID of a partition of a disk that has no GPT: the disk's
// signature and the partition's number, as the kernel makes it
// (block/partitions/msdos.c). It is "" if there is no MBR with a signature.
func MBRPartition(r io.ReaderAt, number int) string {
	d := make(image, 512)
	if n, _ := r.ReadAt(d, 0); n < len(d) || !d.has(510, "\x55\xaa") {
		return ""
	}
	id := d.u32(440)
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("%08x-%02x", id, number)
}
