package pid1test

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/isolate/vmtest"
)

// TestSwitchRoot boots from an initramfs to a disk, which has a berthd of its own:
// written to, and read-only with what is written over it in memory.
func TestSwitchRoot(t *testing.T) {
	for name, c := range map[string]struct {
		line  string
		parts bool
		mount string // of the root, in /proc/mounts
	}{
		"label":   {"root=LABEL=root rw rootflags=noatime", false, "/dev/vda / ext4 rw,noatime,errors=remount-ro"},
		"table":   {"root=PARTUUID=01234567-89ab-cdef-0123-456789abcdef", true, "/dev/vda2 / ext4 rw,relatime,errors=remount-ro"}, // by fstab
		"overlay": {"root=/dev/vda rootfstype=ext4 berth.overlay=tmpfs", false, "overlay / overlay rw,relatime,lowerdir=/run/berth-root/lower,"},
		"changes": {"root=LABEL=root berth.overlay=LABEL=changes", false, "/dev/vdb /run/berth-root/upper ext4 rw,"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			vmtest.RootDisk(t, path, "root", append(withLibraries(t, "e2fsck", "usr/sbin/fsck.ext4"),
				vmtest.Text("etc/where", "disk", 0o644), vmtest.Text("etc/fstab", "LABEL=root / ext4 errors=remount-ro 0 1\n", 0o644))...)
			if c.parts {
				path = partitioned(t, path, 2, "01234567-89ab-cdef-0123-456789abcdef")
			}
			g := vmtest.Boot(t, vmtest.System{
				Bare: true, Disks: []string{path, disk(t, "changes", "mkfs.ext4", "-q", "-L", "changes")}, Cmdline: c.line, Modules: []string{"overlay"},
				Files: append(withLibraries(t, "e2fsck", "usr/sbin/fsck.ext4"), vmtest.Text("etc/where", "initramfs", 0o644), vmtest.Text("only-initramfs", "", 0o644)),
			})
			g.Up()
			if got := g.Read("/etc/where"); got != "disk" {
				t.Errorf("the root is the %s", got)
			}
			if mounts := g.Read("/proc/mounts"); !strings.Contains(mounts, c.mount) || strings.Contains(mounts, "/sysroot") {
				t.Errorf("the mounts have no %q:\n%s", c.mount, mounts)
			}
			g.Shell("echo x > /written; test ! -e /only-initramfs; test -b /dev/vda; test -d /sys/fs/cgroup/berth.slice")
			if name == "changes" {
				g.Shell("grep -q 'overlay / overlay rw' /proc/mounts; test -s /run/berth-root/upper/files/written")
			}
			if exe := g.Shell("readlink /proc/1/exe; tr '\\0' ' ' < /proc/1/cmdline"); !strings.HasPrefix(exe, "/usr/sbin/berthd\n") {
				t.Errorf("PID 1 is %s", exe)
			}
			record := g.Read("/run/berth/boot.json")
			for _, span := range []string{`"initramfs/kernel-modules"`, `"initramfs/root-file-system"`, `"file-systems"`, `{"done":true}`} {
				if !strings.Contains(record, span) {
					t.Errorf("the record has no %s:\n%s", span, record)
				}
			}
			if !strings.Contains(g.Run("dmesg"), ": root: clean") {
				t.Error("the root was not checked")
			}
			g.Quit()
		})
	}
}

// partitioned makes a disk with a GPT, one of whose partitions holds an image.
func partitioned(t *testing.T, image string, number int, id string) string {
	t.Helper()
	text, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	const sector, first, entries = 512, 2048, 128
	count := int64(len(text)+sector-1) / sector
	total := first + count + 34
	le := binary.LittleEndian
	table := make([]byte, entries*128)
	e := table[(number-1)*128:]
	guid := func(s string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(b[:4])
		slices.Reverse(b[4:6])
		slices.Reverse(b[6:8])
		return b
	}
	copy(e, guid("0fc63daf-8483-4772-8e79-3d69d8477de4")) // Linux file system
	copy(e[16:], guid(id))
	le.PutUint64(e[32:], first)
	le.PutUint64(e[40:], uint64(first+count-1))
	header := func(at, other, table64 int64) []byte {
		h := make([]byte, sector)
		copy(h, "EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00")
		le.PutUint64(h[24:], uint64(at))
		le.PutUint64(h[32:], uint64(other))
		le.PutUint64(h[40:], 34)
		le.PutUint64(h[48:], uint64(total-34))
		copy(h[56:], guid("11111111-2222-3333-4444-555555555555"))
		le.PutUint64(h[72:], uint64(table64))
		le.PutUint32(h[80:], entries)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(table))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		return h
	}
	mbr := make([]byte, sector)
	copy(mbr[446:], "\x00\x00\x02\x00\xee\xff\xff\xff\x01\x00\x00\x00\xff\xff\xff\xff") // protects the whole disk
	copy(mbr[510:], "\x55\xaa")
	path := image + ".gpt"
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at, b := range map[int64][]byte{0: mbr, 1: header(1, total-1, 2), 2: table, first: text, total - 33: table, total - 1: header(total-1, 1, total-33)} {
		if _, err := f.WriteAt(b, at*sector); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestNoRoot has no device of the name: the console tells why.
func TestNoRoot(t *testing.T) {
	g := vmtest.Boot(t, vmtest.System{Bare: true, Cmdline: "root=UUID=0000 rootwait=1"})
	g.WaitConsole(`\*\*\* berth: emergency \*\*\*`, 2*time.Minute)
	g.WaitConsole(`cannot use root=UUID=0000: there is no device UUID=0000: file does not exist \(waited 1s\)`, time.Minute)
	g.Quit()
}
