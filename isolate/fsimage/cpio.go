package fsimage

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxCpioFile is the most that a file of a cpio archive holds: its size has 8
// hexadecimal digits.
const maxCpioFile = 1<<32 - 1

// ErrXattrs: the format has no place for extended attributes.
var ErrXattrs = errors.New("an initramfs cannot hold extended attributes")

// WriteCpio writes the tree as a cpio archive in the "newc" form that the kernel
// unpacks as an initramfs (Documentation/driver-api/early-userspace/buffer-format.rst).
// That form has no extended attributes (an error that is ErrXattrs tells of a file
// that has some) and no file of 4 GiB or more.
func (t *Tree) WriteCpio(to io.Writer) error {
	if err := t.check(); err != nil {
		return err
	}
	w := &padded{w: bufio.NewWriterSize(to, 1<<16)}
	nodes := map[*Inode]*node{}
	for _, n := range t.nodes() {
		nodes[n.Inode] = n
	}
	seen := map[*Inode]uint32{}
	for _, e := range t.Entries() {
		n := nodes[e.Inode]
		if e.Path == "" {
			continue // the kernel has made it
		}
		if len(e.Xattrs) > 0 {
			return fmt.Errorf("/%s: %w", e.Path, ErrXattrs)
		}
		seen[e.Inode]++
		size, links := int64(len(e.Target)), n.paths
		switch e.Kind() {
		case KindRegular:
			if size = e.Size; size > maxCpioFile {
				return fmt.Errorf("/%s is of 4 GiB or more, which an initramfs cannot hold", e.Path)
			}
			if seen[e.Inode] < n.paths {
				size = 0 // the contents come with the last link
			}
		case KindDir:
			links = 2 + n.subdirs
		}
		w.header(n.number, e.Inode, links, size, e.Path)
		if e.Kind() == KindRegular && size > 0 {
			if err := e.contents(e.Path, w); err != nil {
				return err
			}
		} else {
			_, _ = io.WriteString(w, e.Target)
		}
		w.pad()
	}
	w.header(0, &Inode{}, 1, 0, "TRAILER!!!")
	return w.w.Flush()
}

// padded counts what is written, for the archive's alignment. Its writer keeps
// its first error for Flush.
type padded struct {
	w       *bufio.Writer
	written int64
}

func (p *padded) Write(data []byte) (int, error) {
	n, err := p.w.Write(data)
	p.written += int64(n)
	return n, err
}

func (p *padded) pad() { _, _ = p.Write(make([]byte, -p.written&3)) }

func (p *padded) header(number uint32, n *Inode, links uint32, size int64, name string) {
	fmt.Fprintf(p, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		number, n.Mode, n.UID, n.GID, links, n.seconds(), size, 0, 0, n.Major, n.Minor, len(name)+1, 0, name)
	p.pad()
}

// Xattrs lists the paths that have extended attributes.
func (t *Tree) Xattrs() []string {
	var paths []string
	for _, e := range t.Entries() {
		if len(e.Xattrs) > 0 {
			paths = append(paths, e.Path)
		}
	}
	return slices.Clip(paths)
}
