package cgroup

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/isolate/rawfile"
)

// Control files are read and written relative to a descriptor of a directory,
// with plain system calls: the os package would register each of them with the
// poller, which costs more than the write.

// writeAt writes value to an existing control file in a single write, as the
// kernel wants it. It never makes a file.
func writeAt(dir *dirFD, name, value string) error {
	fd, err := openAt(dir, name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := writeFD(fd, value); err != nil {
		return &fs.PathError{Op: "write", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

func writeFD(fd int, value string) error {
	for {
		if _, err := unix.Write(fd, []byte(value)); err != unix.EINTR {
			return err
		}
	}
}

// readAt gives the whole of a control file without the final newline.
func readAt(dir *dirFD, name string) (string, error) {
	fd, err := openAt(dir, name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	text, err := rawfile.ReadFD(fd, 0, math.MaxInt)
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: dir.Name() + "/" + name, Err: err}
	}
	return string(bytes.TrimSuffix(text, []byte{'\n'})), nil
}

func openAt(dir *dirFD, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, &fs.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: err}
		}
		return fd, nil
	}
}

// dirFD is an open directory: what os.File is, without what that is for files that
// others may close, which takes as long as to make a group. One goroutine closes it,
// when nobody uses it any more.
type dirFD struct {
	fd   int
	path string
}

func (d *dirFD) Fd() uintptr  { return uintptr(d.fd) }
func (d *dirFD) Name() string { return d.path }

// Close may be called on nil, and again.
func (d *dirFD) Close() {
	if d != nil && d.fd >= 0 {
		unix.Close(d.fd)
		d.fd = -1
	}
}

// openDirAt opens a directory below dir. The caller closes it.
func openDirAt(dir *dirFD, name string) (*dirFD, error) {
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &dirFD{fd, dir.path + "/" + name}, nil
}

// openFileAt opens what lies below dir. The caller closes it.
func openFileAt(dir *dirFD, name string, flags int) (*os.File, error) {
	fd, err := openAt(dir, name, flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), dir.path+"/"+name), nil
}

// openDir opens a directory, by a path that is relative to dir.
func openDir(dir int, path string) (*dirFD, error) {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &dirFD{fd, path}, nil
}

func mkdirAt(dir *dirFD, name string) error {
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o755); err != nil {
		return &fs.PathError{Op: "mkdir", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

func rmdirAt(dir *dirFD, name string) error {
	if err := unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR); err != nil {
		return &fs.PathError{Op: "rmdir", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

func existsAt(dir *dirFD, name string) bool {
	return unix.Faccessat(int(dir.Fd()), name, unix.F_OK, 0) == nil
}

// subdirs gives the names of the groups directly below dir.
func subdirs(dir *dirFD) ([]string, error) { return namesIn(dir, true) }

// controlFiles gives the names of the control files of dir.
func controlFiles(dir *dirFD) ([]string, error) { return namesIn(dir, false) }

func namesIn(dir *dirFD, dirs bool) ([]string, error) {
	again, err := openFileAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY) // a reading position of its own
	if err != nil {
		return nil, err
	}
	defer again.Close()
	entries, err := again.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() == dirs {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// isGone tells that a group has been removed, before or while it was read.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

func readUintAt(dir *dirFD, name string) (uint64, error) {
	text, err := readAt(dir, name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

// readKeyedAt reads a file of "key value" lines. Lines of another form are
// passed over.
func readKeyedAt(dir *dirFD, name string) (map[string]uint64, error) {
	text, err := readAt(dir, name)
	if err != nil {
		return nil, err
	}
	return parseKeyed(text), nil
}

func parseKeyed(text string) map[string]uint64 {
	values := make(map[string]uint64)
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			values[key] = n
		}
	}
	return values
}
