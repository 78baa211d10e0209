package image

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"berth/isolate/fsimage"

	"github.com/klauspost/compress/zstd"
)

// Files of the directory that an image is written to.
const (
	KernelFile    = "vmlinuz"
	InitramfsFile = "initramfs.img"
	CmdlineFile   = "cmdline"
)

// Label is the name of a root file system that is an ext4.
const Label = "berth-root"

// RootFile is the file with the root file system, "" where the initramfs is it.
func RootFile(format string) string {
	if format == Initramfs {
		return ""
	}
	return "root." + format
}

// File is one that was written.
type File struct {
	Path string `json:"path"`
	Size int64  `json:"size"` // in bytes, as long as it is
}

// Write writes the image into a directory, which is made: the kernel, the
// initramfs, the root file system if the format is one, and the kernel's command
// line. Each file appears as a whole, in place of the one before.
func (p *Plan) Write(dir string) ([]File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot write the image: %w", err)
	}
	initramfs := p.system
	if p.handover != nil {
		initramfs = p.handover
	}
	type part struct {
		name  string
		write func(*os.File) error
	}
	parts := []part{
		{KernelFile, func(f *os.File) error { return copyFile(f, p.options.Kernel) }},
		{InitramfsFile, func(f *os.File) error { return p.compressed(f, initramfs.WriteCpio) }},
	}
	switch p.options.Format {
	case Ext4:
		parts = append(parts, part{RootFile(Ext4), func(f *os.File) error {
			return p.system.WriteExt4(f, fsimage.Ext4{Size: p.options.Size, Label: Label})
		}})
	case Squashfs:
		parts = append(parts, part{RootFile(Squashfs), func(f *os.File) error { return p.system.WriteSquashfs(f) }})
	}
	parts = append(parts, part{CmdlineFile, func(f *os.File) error {
		_, err := io.WriteString(f, p.Cmdline+"\n")
		return err
	}})
	var files []File
	for _, part := range parts {
		size, err := replace(filepath.Join(dir, part.name), part.write)
		if err != nil {
			return files, fmt.Errorf("cannot write %s: %w", part.name, err)
		}
		files = append(files, File{filepath.Join(dir, part.name), size})
	}
	return files, nil
}

// replace writes a file beside its place and then puts it there.
func replace(path string, write func(*os.File) error) (int64, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) // it is gone when it was renamed
	defer f.Close()
	if err := write(f); err != nil {
		return 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if err := f.Chmod(0o644); err != nil {
		return 0, err
	}
	if err := f.Close(); err != nil {
		return 0, err
	}
	return st.Size(), os.Rename(f.Name(), path)
}

func copyFile(to *os.File, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(to, in)
	return err
}

// kernelWindow is how far back a zstd stream may refer: the kernel takes up to
// 128 MiB for an initramfs, and needs as much memory to unpack it.
const kernelWindow = 8 << 20

// compressed writes through the compression that was chosen.
func (p *Plan) compressed(to io.Writer, write func(io.Writer) error) error {
	var z io.WriteCloser
	var err error
	switch p.options.Compress {
	case "zstd":
		z, err = zstd.NewWriter(to, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(kernelWindow), zstd.WithEncoderCRC(false))
	case "gzip":
		z, err = gzip.NewWriterLevel(to, gzip.BestSpeed)
	default:
		return write(to)
	}
	if err != nil {
		return err
	}
	if err := write(z); err != nil {
		_ = z.Close() // the first error counts
		return err
	}
	return z.Close()
}

// Print lists everything that would be in the image.
func (p *Plan) Print(w io.Writer) error {
	out := &strings.Builder{}
	release := p.Release
	if release == "" {
		release = "of unknown release"
	}
	fmt.Fprintf(out, "kernel %s, %s\n", release, p.options.Kernel)
	if len(p.Modules) > 0 {
		fmt.Fprintf(out, "modules %s\n", strings.Join(p.Modules, " "))
	}
	fmt.Fprintf(out, "command line %s\n", p.Cmdline)
	for _, part := range p.Parts() {
		fmt.Fprintf(out, "\n%s:\n", part.Name)
		for _, e := range part.Entries {
			fmt.Fprintln(out, e)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// Part is one of the trees of an image.
type Part struct {
	Name    string  `json:"name"`
	Entries []Entry `json:"entries"`
}

// Entry is a file in the image.
type Entry struct {
	Path   string `json:"path"`
	Mode   string `json:"mode"` // as ls(1) writes it
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Size   int64  `json:"size,omitempty"`
	Target string `json:"target,omitempty"` // of a link
	Device string `json:"device,omitempty"` // MAJOR:MINOR
}

// String is the entry's line of the listing.
func (e Entry) String() string {
	text := fmt.Sprintf("%s %5d:%-5d %10d %s", e.Mode, e.UID, e.GID, e.Size, e.Path)
	if e.Device != "" {
		text = fmt.Sprintf("%s %5d:%-5d %10s %s", e.Mode, e.UID, e.GID, e.Device, e.Path)
	}
	if e.Target != "" {
		text += " -> " + e.Target
	}
	return text
}

// Parts lists what would be in each file of the image.
func (p *Plan) Parts() []Part {
	list := func(name string, t *fsimage.Tree) Part {
		part := Part{Name: name}
		for _, n := range t.Entries() {
			e := Entry{Path: "/" + n.Path, Mode: modeText(n.Mode), UID: n.UID, GID: n.GID, Size: n.Size, Target: n.Target}
			if k := n.Kind(); k == fsimage.KindChar || k == fsimage.KindBlock {
				e.Device = fmt.Sprintf("%d:%d", n.Major, n.Minor)
			}
			part.Entries = append(part.Entries, e)
		}
		return part
	}
	if p.handover == nil {
		return []Part{list(InitramfsFile, p.system)}
	}
	return []Part{list(InitramfsFile, p.handover), list(RootFile(p.options.Format), p.system)}
}

// modeText is a file's kind and permissions as ls(1) writes them.
func modeText(mode uint32) string {
	kinds := map[uint32]byte{fsimage.KindDir: 'd', fsimage.KindLink: 'l', fsimage.KindChar: 'c', fsimage.KindBlock: 'b', fsimage.KindFIFO: 'p', fsimage.KindSocket: 's'}
	text := []byte("-rwxrwxrwx")
	if k := kinds[mode&fsimage.KindMask]; k != 0 {
		text[0] = k
	}
	for i := range 9 {
		if mode&(1<<(8-i)) == 0 {
			text[i+1] = '-'
		}
	}
	for _, special := range []struct {
		bit   uint32
		at    int
		shown string
	}{{0o4000, 3, "sS"}, {0o2000, 6, "sS"}, {0o1000, 9, "tT"}} {
		if mode&special.bit != 0 {
			letter := special.shown[0]
			if text[special.at] == '-' {
				letter = special.shown[1]
			}
			text[special.at] = letter
		}
	}
	return string(text)
}
