// Package blkid tells file systems and partitions apart by what is written on
// them, and finds the device that UUID=, LABEL=, PARTUUID= or PARTLABEL= means,
// for machines without udev. It writes nothing.
//
// Of what is on a device only fixed places are read, each bounded; what makes no
// sense there is no file system. probe.go knows file systems, table.go partition
// tables, and find.go the devices in /sys.
package blkid

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
)

// Info is what a device says of itself. What it does not say is "".
type Info struct {
	Type  string // as mount(2) names it; or crypto_LUKS, LVM2_member, linux_raid_member, swap
	UUID  string
	Label string
}

// Mountable tells whether a file system is on it.
func (i Info) Mountable() bool {
	switch i.Type {
	case "", "crypto_LUKS", "LVM2_member", "linux_raid_member", "swap", "jbd":
		return false
	}
	return true
}

// head is how much of a device's beginning is looked at: btrfs is the last, at 64 KiB.
const head = 68 << 10

// Probe tells what is on a device of size bytes; nothing known is no error. What
// belongs to something larger (RAID, LVM, LUKS) is recognized before what may be
// inside.
func Probe(r io.ReaderAt, size int64) (Info, error) {
	data := make([]byte, head)
	n, err := r.ReadAt(data, 0)
	if err != nil && err != io.EOF && n == 0 {
		return Info{}, err
	}
	d := image(data[:n])
	for _, known := range []func(image) (Info, bool){raid, lvm, luks, swap} {
		if i, ok := known(d); ok {
			return i, nil
		}
	}
	if raidAtEnd(r, size) {
		return Info{Type: "linux_raid_member"}, nil
	}
	for _, known := range []func(image) (Info, bool){ext, xfs, btrfs, f2fs, erofs, squashfs, iso9660, exfat, ntfs, vfat} {
		if i, ok := known(d); ok {
			return i, nil
		}
	}
	return Info{}, nil
}

// image is the beginning of a device; what lies behind its end is zero.
type image []byte

func (d image) at(offset, size int) []byte {
	if offset+size > len(d) {
		return make([]byte, size)
	}
	return d[offset : offset+size]
}

func (d image) has(offset int, magic string) bool {
	return string(d.at(offset, len(magic))) == magic
}

func (d image) u32(offset int) uint32 { return binary.LittleEndian.Uint32(d.at(offset, 4)) }

// text is a label: up to its first zero byte, without blanks behind.
func (d image) text(offset, size int) string {
	b, _, _ := bytes.Cut(d.at(offset, size), []byte{0})
	return strings.TrimRight(string(b), " ")
}

// uuid formats 16 bytes as RFC 9562 does; all zero is none.
func (d image) uuid(offset int) string {
	b := d.at(offset, 16)
	if bytes.Equal(b, make([]byte, 16)) {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// utf16le is text of 16-bit units up to the first zero.
func (d image) utf16le(offset, units int) string {
	b := d.at(offset, 2*units)
	var u []uint16
	for i := 0; i < len(b); i += 2 {
		c := binary.LittleEndian.Uint16(b[i:])
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}

// ext reads the superblock of ext2, ext3 and ext4
// (Documentation/filesystems/ext4/super.rst).
func ext(d image) (Info, bool) {
	const (
		at         = 1024
		journal    = 0x4
		journalDev = 0x8
		// What ext3 may have: file types, recovery, meta block groups; sparse
		// superblocks, large files, b-tree directories.
		ext3Incompat = 0x2 | 0x4 | 0x10
		ext3ROCompat = 0x1 | 0x2 | 0x4
	)
	if !d.has(at+0x38, "\x53\xef") {
		return Info{}, false
	}
	compat, incompat, roCompat := d.u32(at+0x5c), d.u32(at+0x60), d.u32(at+0x64)
	i := Info{Type: "ext2", UUID: d.uuid(at + 0x68), Label: d.text(at+0x78, 16)}
	switch {
	case incompat&journalDev != 0:
		i.Type = "jbd"
	case incompat&^ext3Incompat != 0 || roCompat&^ext3ROCompat != 0:
		i.Type = "ext4"
	case compat&journal != 0:
		i.Type = "ext3"
	}
	return i, true
}

func xfs(d image) (Info, bool) {
	return Info{"xfs", d.uuid(32), d.text(108, 12)}, d.has(0, "XFSB")
}

func btrfs(d image) (Info, bool) {
	const at = 64 << 10
	return Info{"btrfs", d.uuid(at + 0x20), d.text(at+0x12b, 256)}, d.has(at+0x40, "_BHRfS_M")
}

func f2fs(d image) (Info, bool) {
	const at = 1024
	return Info{"f2fs", d.uuid(at + 108), d.utf16le(at+124, 512)}, d.u32(at) == 0xF2F52010
}

func erofs(d image) (Info, bool) {
	const at = 1024
	return Info{"erofs", d.uuid(at + 48), d.text(at+64, 16)}, d.u32(at) == 0xE0F5E1E2
}

func squashfs(d image) (Info, bool) { return Info{Type: "squashfs"}, d.has(0, "hsqs") }

// iso9660 has no UUID; the time when it was changed stands for one, as for blkid(8).
func iso9660(d image) (Info, bool) {
	const at = 32 << 10
	if !d.has(at+1, "CD001") {
		return Info{}, false
	}
	i := Info{Type: "iso9660", Label: d.text(at+40, 32)}
	for _, offset := range []int{at + 830, at + 813} { // modification, creation
		s := string(d.at(offset, 16))
		if digits(s) && strings.Trim(s, "0") != "" {
			i.UUID = s[:4] + "-" + s[4:6] + "-" + s[6:8] + "-" + s[8:10] + "-" + s[10:12] + "-" + s[12:14] + "-" + s[14:16]
			break
		}
	}
	return i, true
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// serial is the 32-bit serial number of FAT.
func (d image) serial(offset int) string {
	v := d.u32(offset)
	return fmt.Sprintf("%04X-%04X", v>>16, v&0xffff)
}

func exfat(d image) (Info, bool) {
	return Info{Type: "exfat", UUID: d.serial(100)}, d.has(3, "EXFAT   ")
}

func ntfs(d image) (Info, bool) {
	b := bytes.Clone(d.at(72, 8))
	for i, j := 0, 7; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return Info{Type: "ntfs3", UUID: strings.ToUpper(hex.EncodeToString(b))}, d.has(3, "NTFS    ")
}

// vfat takes the label of the boot sector, which mkfs.fat and fatlabel write too.
func vfat(d image) (Info, bool) {
	if !d.has(510, "\x55\xaa") {
		return Info{}, false
	}
	at := 0
	switch {
	case d.has(82, "FAT32   "):
		at = 67
	case d.has(54, "FAT12   "), d.has(54, "FAT16   "), d.has(54, "FAT     "):
		at = 39
	default:
		return Info{}, false
	}
	i := Info{"vfat", d.serial(at), d.text(at+4, 11)}
	if i.Label == "NO NAME" {
		i.Label = ""
	}
	return i, true
}

// swap has its signature at the end of the first page, whose size is not known
// before.
func swap(d image) (Info, bool) {
	for _, page := range []int{4 << 10, 8 << 10, 16 << 10, 64 << 10} {
		if d.has(page-10, "SWAPSPACE2") {
			return Info{"swap", d.uuid(1024 + 12), d.text(1024+28, 16)}, true
		}
	}
	return Info{}, false
}

func luks(d image) (Info, bool) {
	return Info{Type: "crypto_LUKS", UUID: d.text(168, 40)}, d.has(0, "LUKS\xba\xbe")
}

func lvm(d image) (Info, bool) {
	for sector := range 4 {
		if d.has(512*sector, "LABELONE") {
			return Info{Type: "LVM2_member"}, true
		}
	}
	return Info{}, false
}

// raidMagic begins a superblock of md (include/uapi/linux/raid/md_p.h).
const raidMagic = 0xa92b4efc

func raid(d image) (Info, bool) {
	return Info{Type: "linux_raid_member"}, d.u32(0) == raidMagic || d.u32(4096) == raidMagic
}

// raidAtEnd knows the versions 0.90 and 1.0, whose superblock is at the end, so
// that what is inside looks as if it were alone.
func raidAtEnd(r io.ReaderAt, size int64) bool {
	for _, at := range []int64{size&^(64<<10-1) - 64<<10, (size - 8<<10) &^ (4<<10 - 1)} {
		b := make([]byte, 4)
		if at <= 0 {
			continue
		}
		if n, _ := r.ReadAt(b, at); n == 4 && binary.LittleEndian.Uint32(b) == raidMagic {
			return true
		}
	}
	return false
}
