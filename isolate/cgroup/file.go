package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Control files are read and written relative to a descriptor of a directory,
// with plain system calls: the os package would register each of them with the
// poller, which costs more than the write.

// writeAt writes value to an existing control file in a single write, as the
// kernel wants it. It never makes a file.
func writeAt(dir *os.File, name, value string) error {
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
func readAt(dir *os.File, name string) (string, error) {
	fd, err := openAt(dir, name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	text, err := readFD(fd)
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: dir.Name() + "/" + name, Err: err}
	}
	return strings.TrimSuffix(text, "\n"), nil
}

// readProc gives the whole of a file of /proc.
func readProc(file string) (string, error) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: file, Err: err}
	}
	defer unix.Close(fd)
	text, err := readFD(fd)
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: file, Err: err}
	}
	return text, nil
}

func readFD(fd int) (string, error) {
	var text []byte
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", err
		}
		if n == 0 {
			return string(text), nil
		}
		text = append(text, buf[:n]...)
	}
}

func openAt(dir *os.File, name string, flags int) (int, error) {
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

// openDirAt opens a directory below dir. The caller closes it.
func openDirAt(dir *os.File, name string) (*os.File, error) {
	return openFileAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
}

// openFileAt opens what lies below dir. The caller closes it.
func openFileAt(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := openAt(dir, name, flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), dir.Name()+"/"+name), nil
}

// openDir opens a directory, by a path that is relative to dir.
func openDir(dir int, path string) (*os.File, error) {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func mkdirAt(dir *os.File, name string) error {
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o755); err != nil {
		return &fs.PathError{Op: "mkdir", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

func rmdirAt(dir *os.File, name string) error {
	if err := unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR); err != nil {
		return &fs.PathError{Op: "rmdir", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

func existsAt(dir *os.File, name string) bool {
	return unix.Faccessat(int(dir.Fd()), name, unix.F_OK, 0) == nil
}

// subdirs gives the names of the groups directly below dir.
func subdirs(dir *os.File) ([]string, error) { return namesIn(dir, true) }

// controlFiles gives the names of the control files of dir.
func controlFiles(dir *os.File) ([]string, error) { return namesIn(dir, false) }

func namesIn(dir *os.File, dirs bool) ([]string, error) {
	again, err := openDirAt(dir, ".") // a reading position of its own
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

func readUintAt(dir *os.File, name string) (uint64, error) {
	text, err := readAt(dir, name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

// readKeyedAt reads a file of "key value" lines. Lines of another form are
// passed over.
func readKeyedAt(dir *os.File, name string) (map[string]uint64, error) {
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
