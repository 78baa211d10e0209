package vmtest

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"berth/isolate/fsimage"
)

// File is one file of the machine's root file system. A directory comes before
// what lies in it.
type File struct {
	Name         string // relative to the root
	Mode         uint32 // st_mode: kind and permissions
	Major, Minor uint32 // of a device
	Data         []byte // contents, or a symbolic link's target
	From         string // a path on the host that has the contents instead
}

// Kinds of files.
const (
	regular   = fsimage.KindRegular
	directory = fsimage.KindDir
	device    = fsimage.KindChar
	link      = fsimage.KindLink
)

// Directory is an empty directory.
func Directory(name string, mode uint32) File { return File{Name: name, Mode: directory | mode} }

// Link is a symbolic link.
func Link(name, target string) File {
	return File{Name: name, Mode: link | 0o777, Data: []byte(target)}
}

// Text is a file with a text.
func Text(name, text string, mode uint32) File {
	return File{Name: name, Mode: regular | mode, Data: []byte(text)}
}

// Device is a character device.
func Device(name string, mode, major, minor uint32) File {
	return File{Name: name, Mode: device | mode, Major: major, Minor: minor}
}

// Copy is a program of the host.
func Copy(name, from string) File { return File{Name: name, Mode: regular | 0o755, From: from} }

// BusyBox gives the files of a small Unix in usr/bin, which has to be there: a
// static busybox (Debian's busybox-static) and a link for each of its programs.
func BusyBox() ([]File, error) {
	const hint = "install the package busybox-static"
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, hint)
	}
	program, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, errors.New(path + " is not static: " + hint)
		}
	}
	list, err := exec.Command(path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot list the programs in %s: %w", path, err)
	}
	files := []File{Copy("usr/bin/busybox", path)}
	for _, name := range strings.Fields(string(list)) {
		if name != "busybox" {
			files = append(files, Link("usr/bin/"+name, "busybox"))
		}
	}
	return files, nil
}

// SmallUnix gives the usual directories, users and groups, and BusyBox, which
// has to be on the host. /bin, /sbin and /lib are links into /usr.
func SmallUnix() ([]File, error) {
	var files []File
	for _, name := range []string{"usr", "usr/bin", "usr/sbin", "usr/lib", "var", "var/lib", "srv", "home", "boot", "mnt"} {
		files = append(files, Directory(name, 0o755))
	}
	files = append(files,
		Link("bin", "usr/bin"), Link("sbin", "usr/sbin"), Link("lib", "usr/lib"),
		Directory("var/tmp", 0o1777), Directory("root", 0o700),
		Text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n", 0o644),
		Text("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n", 0o644),
		Text("etc/shadow", "root:secret:1::::::\n", 0o600),
		Text("etc/hostname", "vm\n", 0o644),
	)
	busybox, err := BusyBox()
	return append(files, busybox...), err
}

// writeInitramfs writes the machine's files as an initramfs.
func writeInitramfs(path string, files []File) error {
	tree, err := treeOf(files)
	if err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := tree.WriteCpio(out); err != nil {
		return err
	}
	return out.Close()
}

// treeOf makes of files what an image is written of.
func treeOf(files []File) (*fsimage.Tree, error) {
	tree := fsimage.New()
	for _, f := range files {
		n := &fsimage.Inode{Mode: f.Mode, Major: f.Major, Minor: f.Minor}
		switch {
		case f.From != "":
			info, err := os.Stat(f.From)
			if err != nil {
				return nil, err
			}
			n.Size, n.Open = info.Size(), func() (io.ReadCloser, error) { return os.Open(f.From) }
		case f.Mode&fsimage.KindMask == fsimage.KindLink:
			n.Target = string(f.Data)
		case len(f.Data) > 0:
			n.Size, n.Open = int64(len(f.Data)), fsimage.Bytes(f.Data, 0).Open
		}
		if err := tree.Add(f.Name, n); err != nil {
			return nil, err
		}
	}
	return tree, nil
}
