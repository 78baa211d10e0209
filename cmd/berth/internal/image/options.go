package image

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options say what an image is made of.
type Options struct {
	Format      string // initramfs | ext4 | squashfs
	Units       string // a directory of unit files; they go to /etc/berth/units
	Settings    string // a berthd.toml, or ""
	Kernel      string // a kernel image
	Modules     string // a directory as /lib/modules/RELEASE, or ""
	ModuleNames []string
	Roots       []Mapping // directories or tar archives, and the path or the unit that they are for
	Files       []Mapping // single files, and where they go
	Fstab       string    // a file, or ""
	Hostname    string
	Size        int64  // of an ext4, in bytes; 0: as large as needed
	Compress    string // of an initramfs: zstd | gzip | none
	Cmdline     string // added to the kernel's command line
	Berthd      string // the programs to put in
	Berth       string
	// Epoch is the time that files have which are made here, and the latest that
	// any file has. The zero value: files keep their times, and what is made here
	// has the latest of them.
	Epoch time.Time
	// DropXattrs leaves out the extended attributes that an initramfs cannot hold.
	DropXattrs bool
}

// Mapping is a path in the image (or, for a root, a unit's name) and what goes there.
type Mapping struct{ To, From string }

// ParseRoot reads "PATH=DIR" or "UNIT=DIR".
func ParseRoot(text string) (Mapping, error) {
	to, from, ok := strings.Cut(text, "=")
	if !ok || to == "" || from == "" {
		return Mapping{}, fmt.Errorf("%q is not PATH=DIRECTORY or UNIT=DIRECTORY", text)
	}
	return Mapping{to, from}, nil
}

// ParseFile reads "SRC:DST".
func ParseFile(text string) (Mapping, error) {
	i := strings.LastIndexByte(text, ':')
	if i <= 0 || !path.IsAbs(text[i+1:]) {
		return Mapping{}, fmt.Errorf("%q is not FILE:/PATH/IN/THE/IMAGE", text)
	}
	return Mapping{text[i+1:], text[:i]}, nil
}

// ParseEpoch reads SOURCE_DATE_EPOCH: seconds since 1970; "" gives the zero time.
func ParseEpoch(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1<<32-1 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q, and it is a number of seconds since 1970", text)
	}
	return time.Unix(n, 0), nil
}

// The formats and compressions that there are.
var (
	Formats      = []string{Initramfs, Ext4, Squashfs}
	Compressions = []string{"zstd", "gzip", "none"}
)

// The formats.
const (
	Initramfs = "initramfs"
	Ext4      = "ext4"
	Squashfs  = "squashfs"
)

// check refuses options that do not go together.
func (o *Options) check() error {
	switch {
	case !slices.Contains(Formats, o.Format):
		return fmt.Errorf("the format is one of %s, not %q", strings.Join(Formats, ", "), o.Format)
	case !slices.Contains(Compressions, o.Compress):
		return fmt.Errorf("the compression is one of %s, not %q", strings.Join(Compressions, ", "), o.Compress)
	case o.Size != 0 && o.Format != Ext4:
		return fmt.Errorf("only an ext4 has a size of its own")
	case o.DropXattrs && o.Format != Initramfs:
		return fmt.Errorf("an %s holds extended attributes, there is no need to drop them", o.Format)
	case len(o.ModuleNames) > 0 && o.Modules == "":
		return fmt.Errorf("modules are named, but not the directory that they are in")
	}
	return nil
}

// Defaults fills in what is found beside what is given: the modules of a kernel
// that lies as a distribution has it (/boot/vmlinuz-RELEASE and
// /lib/modules/RELEASE below one directory), and berthd beside this program.
func (o *Options) Defaults(self string) {
	if o.Modules == "" && o.Kernel != "" {
		if release, ok := strings.CutPrefix(filepath.Base(o.Kernel), "vmlinuz-"); ok {
			dir := filepath.Join(filepath.Dir(o.Kernel), "..", "lib", "modules", release)
			if st, err := os.Stat(dir); err == nil && st.IsDir() {
				o.Modules = dir
			}
		}
	}
	if o.Berth == "" {
		o.Berth = self
	}
	if o.Berthd == "" {
		o.Berthd = filepath.Join(filepath.Dir(self), "berthd")
	}
}
