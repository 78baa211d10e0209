package fsimage

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// AddTar puts what is in a tar archive, which is not compressed, at a path of the
// tree: owners, permissions, times, extended attributes, hard links and devices as
// they are written there. So a root file system can be made by who is not root.
//
// Contents are read when an image is written: archive must stay open until then.
// It stays the caller's.
func (t *Tree) AddTar(at string, archive *os.File) error {
	wrong := func(err error) error { return fmt.Errorf("cannot read the archive %s: %w", archive.Name(), err) }
	in := tar.NewReader(archive)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return wrong(err)
		}
		n := &Inode{
			Mode: uint32(h.Mode & 0o7777), UID: uint32(h.Uid), GID: uint32(h.Gid), ModTime: h.ModTime,
			Major: uint32(h.Devmajor), Minor: uint32(h.Devminor),
		}
		to := join(clean(at), clean(h.Name))
		switch h.Typeflag {
		case tar.TypeReg:
			// The reader takes nothing in advance: the contents begin here.
			begin, err := archive.Seek(0, io.SeekCurrent)
			if err != nil {
				return wrong(err)
			}
			for key := range h.PAXRecords {
				if strings.HasPrefix(key, "GNU.sparse.") {
					return wrong(fmt.Errorf("%s is a file with holes: make the archive without --sparse", h.Name))
				}
			}
			n.Mode |= KindRegular
			n.Size = h.Size
			n.Open = func() (io.ReadCloser, error) {
				return io.NopCloser(io.NewSectionReader(archive, begin, n.Size)), nil
			}
		case tar.TypeDir:
			n.Mode |= KindDir
		case tar.TypeSymlink:
			n.Mode, n.Target = KindLink|0o777, h.Linkname
		case tar.TypeChar:
			n.Mode |= KindChar
		case tar.TypeBlock:
			n.Mode |= KindBlock
		case tar.TypeFifo:
			n.Mode |= KindFIFO
		case tar.TypeLink:
			if n = t.Lookup(join(clean(at), clean(h.Linkname))); n == nil {
				return wrong(fmt.Errorf("%s is a link to %s, which does not come before it", h.Name, h.Linkname))
			}
		case tar.TypeXGlobalHeader:
			continue
		default:
			return wrong(fmt.Errorf("%s is of the unknown type %q", h.Name, h.Typeflag))
		}
		for key, value := range h.PAXRecords {
			if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
				if n.Xattrs == nil {
					n.Xattrs = map[string][]byte{}
				}
				n.Xattrs[name] = []byte(value)
			}
		}
		if err := t.Add(strings.TrimSuffix(to, "/"), n); err != nil {
			return wrong(err)
		}
	}
}
