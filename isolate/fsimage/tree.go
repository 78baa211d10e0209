package fsimage

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Kinds of files, as st_mode has them (inode(7)).
const (
	KindMask    = 0o170000
	KindSocket  = 0o140000
	KindLink    = 0o120000
	KindRegular = 0o100000
	KindBlock   = 0o060000
	KindDir     = 0o040000
	KindChar    = 0o020000
	KindFIFO    = 0o010000
)

// Inode is a file of any kind. Two paths that lead to the same *Inode are hard
// links of one file.
type Inode struct {
	Mode         uint32 // st_mode: kind and permissions
	UID, GID     uint32
	ModTime      time.Time // to the second; from 1970 to 2106
	Major, Minor uint32    // of a device
	Target       string    // of a symbolic link
	Size         int64     // of a regular file, in bytes
	// Open gives the contents of a regular file, exactly Size bytes. It is called
	// once for each image that is written, and what it gives is closed. Nil: the
	// file is empty, or holes only.
	Open   func() (io.ReadCloser, error)
	Xattrs map[string][]byte // extended attributes by full name (xattr(7))
}

// Kind is the file type alone: KindRegular, KindDir and so on.
func (n *Inode) Kind() uint32 { return n.Mode & KindMask }

// Directory is an empty directory of root's.
func Directory(mode uint32) *Inode { return &Inode{Mode: KindDir | mode} }

// Link is a symbolic link of root's.
func Link(target string) *Inode { return &Inode{Mode: KindLink | 0o777, Target: target} }

// Bytes is a regular file of root's with these contents.
func Bytes(contents []byte, mode uint32) *Inode {
	return &Inode{Mode: KindRegular | mode, Size: int64(len(contents)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(contents)), nil
	}}
}

// Text is Bytes of a string.
func Text(contents string, mode uint32) *Inode { return Bytes([]byte(contents), mode) }

// Device is a device of root's; kind is KindChar or KindBlock.
func Device(kind, mode, major, minor uint32) *Inode {
	return &Inode{Mode: kind | mode, Major: major, Minor: minor}
}

// Tree is what an image is to hold, with its root directory at "".
type Tree struct {
	inodes map[string]*Inode // by path without a leading slash
}

// New gives a tree that has an empty root directory.
func New() *Tree { return &Tree{inodes: map[string]*Inode{"": Directory(0o755)}} }

// Entry is a path of a tree, without a leading slash, and what is there.
type Entry struct {
	Path string
	*Inode
}

// Entries lists everything in the order of the names; a directory comes before
// what lies in it.
func (t *Tree) Entries() []Entry {
	paths := slices.SortedFunc(maps.Keys(t.inodes), func(a, b string) int {
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
	out := make([]Entry, len(paths))
	for i, p := range paths {
		out[i] = Entry{p, t.inodes[p]}
	}
	return out
}

// Lookup gives what is at a path, following links on the way to it but not at its
// end; nil: nothing.
func (t *Tree) Lookup(name string) *Inode {
	at, err := t.resolve("", name, false)
	if err != nil {
		return nil
	}
	return t.inodes[at]
}

// Stat is Lookup that follows a link at the end too.
func (t *Tree) Stat(name string) *Inode { return t.StatIn("", name) }

// StatIn is Stat for who has the directory root, a path of the tree, as the root
// directory: links and ".." do not lead out of it.
func (t *Tree) StatIn(root, name string) *Inode {
	base, err := t.resolve("", root, true)
	if err != nil {
		return nil
	}
	at, err := t.resolve(base, name, true)
	if err != nil {
		return nil
	}
	return t.inodes[at]
}

// Add puts a file at a path, in place of what is there, unless both are
// directories: then the directory gets the owner, the permissions and the
// attributes of the new one. Directories that lack on the way are made. Links on
// the way are followed as the kernel will, within the tree.
func (t *Tree) Add(name string, n *Inode) error {
	at, err := t.resolve("", name, false)
	if err != nil {
		return fmt.Errorf("cannot put /%s into the image: %w", clean(name), err)
	}
	old := t.inodes[at]
	if old != nil && old.Kind() == KindDir && n.Kind() != KindDir {
		return fmt.Errorf("cannot put /%s into the image: a directory is there", at)
	}
	for dir := parent(at); t.inodes[dir] == nil; dir = parent(dir) {
		t.inodes[dir] = Directory(0o755)
	}
	t.inodes[at] = n
	return nil
}

// maxLinks is how many symbolic links are followed in one path (path_resolution(7)).
const maxLinks = 40

// resolve gives the path at which a name is in the tree for who has base as the
// root directory, whether there is something or not. What lacks is taken for a
// directory. last: a link at the end is followed too.
func (t *Tree) resolve(base, name string, last bool) (string, error) {
	at, rest, links := base, clean(name), 0
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch part {
		case "", ".":
			continue
		case "..":
			if at != base {
				at = parent(at)
			}
			continue
		}
		next := join(at, part)
		n := t.inodes[next]
		switch {
		case n == nil, n.Kind() == KindDir:
			at = next
		case n.Kind() == KindLink && (rest != "" || last):
			if links++; links > maxLinks {
				return "", fmt.Errorf("too many symbolic links at /%s", next)
			}
			if strings.HasPrefix(n.Target, "/") {
				at = base
			}
			rest = strings.TrimPrefix(n.Target+"/"+rest, "/")
		case rest != "":
			return "", fmt.Errorf("/%s is not a directory", next)
		default:
			at = next
		}
	}
	return at, nil
}

// clean makes a name relative to the root; ".." does not lead out of it.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func parent(at string) string {
	dir, _, found := cutLast(at)
	if !found {
		return ""
	}
	return dir
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// cutLast splits a path before its last component.
func cutLast(at string) (dir, name string, found bool) {
	if i := strings.LastIndexByte(at, '/'); i >= 0 {
		return at[:i], at[i+1:], true
	}
	return "", at, false
}

// node is a file of the tree as the writers of file systems see it.
type node struct {
	*Inode
	number   uint32 // from 1, in the order of the first path
	paths    uint32 // how many lead to it
	path     string // the first of them
	parent   *node  // of a directory; the root's is itself
	children []child
	subdirs  uint32
}

// child is a directory's entry.
type child struct {
	name string
	*node
}

// nodes gives each inode once, in the order of their numbers; the first is the root.
func (t *Tree) nodes() []*node {
	byInode, byPath := map[*Inode]*node{}, map[string]*node{}
	var all []*node
	for _, e := range t.Entries() {
		n := byInode[e.Inode]
		if n == nil {
			n = &node{Inode: e.Inode, number: uint32(len(all) + 1), path: e.Path}
			byInode[e.Inode] = n
			all = append(all, n)
		}
		n.paths++
		byPath[e.Path] = n
		if e.Path == "" {
			n.parent = n
			continue
		}
		dir, name, _ := cutLast(e.Path)
		up := byPath[dir]
		up.children = append(up.children, child{name, n})
		if e.Kind() == KindDir {
			n.parent = up
			up.subdirs++
		}
	}
	return all
}

// device is a device's number in the form that Linux keeps on disk (new_encode_dev).
func (n *Inode) device() uint32 { return n.Minor&0xff | n.Major<<8 | n.Minor&^0xff<<12 }

// check refuses what no format can hold.
func (t *Tree) check() error {
	for p, n := range t.inodes {
		_, name, _ := cutLast(p)
		switch {
		case len(name) > 255:
			return fmt.Errorf("the name of /%s is longer than 255 bytes", p)
		case n.Major > 0xfff || n.Minor > 0xfffff:
			return fmt.Errorf("/%s is the device %d:%d, and the numbers go to 4095:1048575", p, n.Major, n.Minor)
		case n.Kind() == KindLink && (len(n.Target) == 0 || len(n.Target) > 4095):
			return fmt.Errorf("/%s is a link with a target of %d bytes, and it can have 1 to 4095", p, len(n.Target))
		case n.Size < 0 || (n.Size > 0 && n.Kind() != KindRegular):
			return fmt.Errorf("/%s cannot have %d bytes", p, n.Size)
		}
	}
	return nil
}
