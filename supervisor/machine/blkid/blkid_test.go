package blkid

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unicode/utf16"
)

// made has a program of the host write to a file of so many MiB.
func made(t *testing.T, mib int64, command ...string) *os.File {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(mib << 20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(command[0], append(command[1:], f.Name())...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	return f
}

const id = "01234567-89ab-cdef-0123-456789abcdef"

func TestTools(t *testing.T) {
	for _, c := range []struct {
		command []string
		want    Info
	}{
		{[]string{"mkfs.ext4", "-q", "-U", id, "-L", "a label", "-O", "^has_journal"}, Info{"ext4", id, "a label"}},
		{[]string{"mkfs.ext3", "-q", "-U", id}, Info{"ext3", id, ""}},
		{[]string{"mkfs.ext2", "-q", "-U", id, "-L", "0123456789abcdef"}, Info{"ext2", id, "0123456789abcdef"}},
		{[]string{"mkswap", "-U", id, "-L", "space"}, Info{"swap", id, "space"}},
		{[]string{"mkswap", "-p", "65536", "-U", id}, Info{"swap", id, ""}},
	} {
		t.Run(c.command[0], func(t *testing.T) {
			f := made(t, 16, c.command...)
			if got, err := Probe(f, 16<<20); err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

// at is a device with texts at places.
func at(size int, parts map[int]string) []byte {
	b := make([]byte, size)
	for i, s := range parts {
		copy(b[i:], s)
	}
	return b
}

// TestSuperblocks has those that no tool of the host makes, written as their
// specifications have them.
func TestSuperblocks(t *testing.T) {
	raw := "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef"
	const mib = 1 << 20
	for name, c := range map[string]struct {
		device []byte
		want   Info
	}{
		"nothing":      {make([]byte, mib), Info{}},
		"short":        {[]byte("XF"), Info{}},
		"xfs":          {at(mib, map[int]string{0: "XFSB", 32: raw, 108: "twelve bytes"}), Info{"xfs", id, "twelve bytes"}},
		"btrfs":        {at(mib, map[int]string{65536 + 0x40: "_BHRfS_M", 65536 + 0x20: raw, 65536 + 0x12b: "b"}), Info{"btrfs", id, "b"}},
		"squashfs":     {at(4096, map[int]string{0: "hsqs"}), Info{Type: "squashfs"}},
		"erofs":        {at(4096, map[int]string{1024: "\xe2\xe1\xf5\xe0", 1024 + 48: raw, 1024 + 64: "e"}), Info{"erofs", id, "e"}},
		"f2fs":         {at(4096, map[int]string{1024: "\x10\x20\xf5\xf2", 1024 + 108: raw, 1024 + 124: "f\x002\x00"}), Info{"f2fs", id, "f2"}},
		"fat32":        {at(4096, map[int]string{82: "FAT32   ", 67: "\x78\x56\x34\x12", 71: "BOOT       ", 510: "\x55\xaa"}), Info{"vfat", "1234-5678", "BOOT"}},
		"fat16":        {at(4096, map[int]string{54: "FAT16   ", 39: "\x78\x56\x34\x12", 43: "NO NAME    ", 510: "\x55\xaa"}), Info{"vfat", "1234-5678", ""}},
		"exfat":        {at(4096, map[int]string{3: "EXFAT   ", 100: "\x78\x56\x34\x12"}), Info{"exfat", "1234-5678", ""}},
		"ntfs":         {at(4096, map[int]string{3: "NTFS    ", 72: "\x08\x07\x06\x05\x04\x03\x02\x01"}), Info{"ntfs3", "0102030405060708", ""}},
		"iso":          {at(mib, map[int]string{32769: "CD001", 32768 + 40: "DISC  ", 32768 + 813: "2024010203040506\x00"}), Info{"iso9660", "2024-01-02-03-04-05-06", "DISC"}},
		"luks":         {at(4096, map[int]string{0: "LUKS\xba\xbe", 168: id + "\x00"}), Info{"crypto_LUKS", id, ""}},
		"lvm":          {at(4096, map[int]string{512: "LABELONE", 1024 + 0x38: "\x53\xef"}), Info{Type: "LVM2_member"}},
		"raid 1.2":     {at(8192, map[int]string{4096: "\xfc\x4e\x2b\xa9"}), Info{Type: "linux_raid_member"}},
		"raid 1.0":     {at(mib, map[int]string{1024 + 0x38: "\x53\xef", mib - 8192: "\xfc\x4e\x2b\xa9"}), Info{Type: "linux_raid_member"}},
		"raid 0.90":    {at(mib, map[int]string{1024 + 0x38: "\x53\xef", mib - 65536: "\xfc\x4e\x2b\xa9"}), Info{Type: "linux_raid_member"}},
		"a lone ext2":  {at(4096, map[int]string{1024 + 0x38: "\x53\xef"}), Info{Type: "ext2"}},
		"ext4 journal": {at(4096, map[int]string{1024 + 0x38: "\x53\xef", 1024 + 0x60: "\x08"}), Info{Type: "jbd"}},
	} {
		if got, err := Probe(bytes.NewReader(c.device), int64(len(c.device))); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

// guid is id as a GPT has it.
const guid = "\x67\x45\x23\x01\xab\x89\xef\xcd\x01\x23\x45\x67\x89\xab\xcd\xef"

func table(block int, count, size uint32) []byte {
	d := make([]byte, 40*block)
	h := d[block:]
	copy(h, "EFI PART")
	binary.LittleEndian.PutUint64(h[72:], 2)
	binary.LittleEndian.PutUint32(h[80:], count)
	binary.LittleEndian.PutUint32(h[84:], size)
	e := d[2*block+2*128:] // the third
	copy(e, guid)
	copy(e[16:], guid)
	for i, c := range utf16.Encode([]rune("the rööt")) {
		binary.LittleEndian.PutUint16(e[56+2*i:], c)
	}
	return d
}

func TestPartitions(t *testing.T) {
	for _, block := range []int{512, 4096} {
		got, err := Partitions(bytes.NewReader(table(block, 128, 128)), int64(block))
		if err != nil || len(got) != 1 || got[3] != (Partition{id, "the rööt"}) {
			t.Errorf("blocks of %d: %v, %v", block, got, err)
		}
	}
	for _, c := range [][2]uint32{{1 << 30, 128}, {128, 1 << 30}, {128, 1}} {
		if got, err := Partitions(bytes.NewReader(table(512, c[0], c[1])), 512); err == nil {
			t.Errorf("%v: %v", c, got)
		}
	}
	if got, err := Partitions(bytes.NewReader(make([]byte, 2048)), 512); got != nil || err != nil {
		t.Errorf("no table: %v, %v", got, err)
	}
	mbr := at(512, map[int]string{440: "\x78\x56\x34\x12", 510: "\x55\xaa"})
	if got := MBRPartition(bytes.NewReader(mbr), 10); got != "12345678-0a" {
		t.Errorf("MBR: %q", got)
	}
	if got := MBRPartition(bytes.NewReader(make([]byte, 512)), 1); got != "" {
		t.Errorf("no MBR: %q", got)
	}
}

func TestTag(t *testing.T) {
	d := &Device{Info: Info{UUID: "1234-ABCD", Label: "a b"}, Partition: Partition{UUID: id, Label: "p"}}
	for source, want := range map[string]bool{
		"UUID=1234-abcd": true, `UUID="1234-ABCD"`: true, "UUID=": false, "LABEL=a b": true, "LABEL=A B": false, "LABEL='a b'": true,
		"PARTUUID=01234567-89AB-cdef-0123-456789abcdef": true, "PARTLABEL=p": true, "PARTLABEL=q": false,
		`/dev/disk/by-label/a\x20b`: true, "/dev/disk/by-uuid/1234-ABCD": true, "/dev/disk/by-id/x": false, "/dev/vda": false, "tmpfs": false, "ID=x": false,
	} {
		tag, ok := ParseTag(source)
		if got := ok && tag.Match(d); got != want {
			t.Errorf("%s: %v, %v", source, tag, ok)
		}
	}
	if (Tag{"UUID", ""}).Match(&Device{}) || (Tag{"PARTUUID", ""}).Match(&Device{}) {
		t.Error("no UUID is one")
	}
}

// TestFind: what this machine has is looked at without fault.
func TestFind(t *testing.T) {
	if _, err := Find(Tag{"UUID", "00000000-dead-beef-0000-000000000000"}); !os.IsNotExist(unwrap(err)) {
		t.Error(err)
	}
}

func unwrap(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return err
}

func FuzzProbe(f *testing.F) {
	f.Add(at(4096, map[int]string{1024 + 0x38: "\x53\xef"}), int64(4096))
	f.Add(table(512, 128, 128), int64(100000))
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		r := bytes.NewReader(data)
		_, _ = Probe(r, size)
		_, _ = Partitions(r, 512)
		_ = MBRPartition(r, 1)
	})
}
