package blkid

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Device is a block device that the kernel has.
type Device struct {
	Name      string // as in /sys/class/block
	Path      string // in /dev
	Info      Info
	Partition Partition // of a partition
	Disk      string    // the whole disk's name; its own for one that is no partition
}

// Tag is one of UUID, LABEL, PARTUUID, PARTLABEL, with its value.
type Tag struct{ Key, Value string }

// links are udev's directories of links by tag, whose names mean the same here.
var links = map[string]string{"by-uuid": "UUID", "by-label": "LABEL", "by-partuuid": "PARTUUID", "by-partlabel": "PARTLABEL"}

// ParseTag reads UUID=x and the like, with or without quotes, or a path such as
// /dev/disk/by-uuid/x.
func ParseTag(source string) (Tag, bool) {
	if rest, ok := strings.CutPrefix(source, "/dev/disk/"); ok {
		dir, name, _ := strings.Cut(rest, "/")
		return Tag{links[dir], unescape(name)}, links[dir] != "" && name != ""
	}
	key, value, _ := strings.Cut(source, "=")
	if len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
		value = value[1 : len(value)-1]
	}
	switch key {
	case "UUID", "LABEL", "PARTUUID", "PARTLABEL":
		return Tag{key, value}, value != ""
	}
	return Tag{}, false
}

// unescape undoes udev's \x20.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\x`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		s = after
		if len(after) >= 2 {
			if v, err := strconv.ParseUint(after[:2], 16, 8); err == nil {
				b.WriteByte(byte(v))
				s = after[2:]
				continue
			}
		}
		b.WriteString(`\x`)
	}
}

// Match tells whether a tag means the device. Case does not matter in a UUID.
func (t Tag) Match(d *Device) bool {
	switch t.Key {
	case "UUID":
		return d.Info.UUID != "" && strings.EqualFold(d.Info.UUID, t.Value)
	case "LABEL":
		return d.Info.Label == t.Value
	case "PARTUUID":
		return d.Partition.UUID != "" && strings.EqualFold(d.Partition.UUID, t.Value)
	case "PARTLABEL":
		return d.Partition.Label == t.Value
	}
	return false
}

// rank prefers what is made of other devices to these: a file system on a mirror
// is on each of its halves too.
func (d *Device) rank() int {
	switch {
	case strings.HasPrefix(d.Name, "dm-"):
		return 0
	case strings.HasPrefix(d.Name, "md"):
		return 1
	}
	return 2
}

// Find gives the device that a tag means, fs.ErrNotExist if there is none yet. Of
// several it takes what is built of others first, then the first by name.
func Find(t Tag) (*Device, error) {
	entries, err := os.ReadDir("/sys/class/block")
	if err != nil {
		return nil, fmt.Errorf("cannot list the block devices: %w", err)
	}
	var found []*Device
	table := t.Key == "PARTUUID" || t.Key == "PARTLABEL"
	for _, e := range entries {
		d, err := look(e.Name(), table)
		if err == nil && t.Match(d) {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no device %s=%s: %w", t.Key, t.Value, fs.ErrNotExist)
	}
	d := slices.MinFunc(found, func(a, b *Device) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Name, b.Name))
	})
	if !table {
		return d, nil
	}
	whole, err := look(d.Name, false)
	if err == nil {
		whole.Partition = d.Partition
	}
	return whole, err
}

// At looks at the device with a path in /dev, also by a link to it.
func At(path string) (*Device, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	d, err := look(strings.ReplaceAll(strings.TrimPrefix(real, "/dev/"), "/", "!"), false)
	if errors.Is(err, fs.ErrNotExist) {
		if _, e := os.Stat(real); e == nil {
			return &Device{Path: path}, nil // a file, or a device in another place
		}
	}
	return d, err
}

// look reads a device's superblock, or with table its entry in the partition table.
func look(name string, table bool) (*Device, error) {
	sys := "/sys/class/block/" + name
	sectors, err := number(sys + "/size")
	if err != nil {
		return nil, err
	}
	d := &Device{Name: name, Path: "/dev/" + strings.ReplaceAll(name, "!", "/"), Disk: name}
	if sectors == 0 { // no medium; a loop device without a file
		return d, nil
	}
	if part, err := number(sys + "/partition"); err == nil {
		link, err := filepath.EvalSymlinks(sys)
		if err != nil {
			return nil, err
		}
		d.Disk = filepath.Base(filepath.Dir(link))
		if table {
			err := d.partition(int(part))
			return d, err
		}
	}
	if table {
		return d, nil
	}
	f, err := os.Open(d.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d.Info, err = Probe(f, sectors*512) // always of 512 bytes in /sys
	return d, err
}

// partition reads the disk's table.
func (d *Device) partition(n int) error {
	block, err := number("/sys/class/block/" + d.Disk + "/queue/logical_block_size")
	if err != nil {
		return err
	}
	f, err := os.Open("/dev/" + strings.ReplaceAll(d.Disk, "!", "/"))
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := Partitions(f, block)
	if all == nil && err == nil {
		d.Partition.UUID = MBRPartition(f, n)
	} else {
		d.Partition = all[n]
	}
	return err
}

func number(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}
