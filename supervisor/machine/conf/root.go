package conf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is that a path names something else than a regular file.
var ErrNotRegular = errors.New("it is not a regular file")

// Root is a directory that is the root of all paths, as after chroot(2): links
// inside it lead to places inside it, ".." stays in it. It holds one descriptor
// until Close. Its methods may be called from any goroutine.
type Root struct {
	dir *os.File
}

// OpenRoot opens a root directory, "/" for the machine's own.
func OpenRoot(path string) (*Root, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the root directory %s: %w", path, err)
	}
	return &Root{dir: os.NewFile(uintptr(fd), path)}, nil
}

// Close closes the descriptor.
func (r *Root) Close() error { return r.dir.Close() }

// FD is the root's descriptor (O_PATH), which stays the Root's.
func (r *Root) FD() int { return int(r.dir.Fd()) }

// maxTries is how often a look-up is tried that others' renames disturb.
const maxTries = 100

// Open opens a path inside the root with flags of open(2); O_CLOEXEC is added.
// The caller closes the file.
func (r *Root) Open(path string, flags int) (*os.File, error) {
	name := strings.TrimLeft(path, "/")
	if name == "" {
		name = "."
	}
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(r.FD(), name, &how)
		if err == unix.EINTR || err == unix.EAGAIN && tries < maxTries {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// ReadFile reads a regular file of at most max bytes. Anything else that the path
// names is not opened, as that could block or have effects: ErrNotRegular.
func (r *Root) ReadFile(path string, max int64) (string, error) {
	at, err := r.Open(path, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer at.Close()
	info, err := at.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", ErrNotRegular
	}
	f, err := r.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return "", err
	}
	if int64(len(data)) > max {
		return "", fmt.Errorf("it is larger than %d KiB", max>>10)
	}
	return string(data), nil
}

// ReadDir lists the names in a directory, in no particular order.
func (r *Root) ReadDir(path string) ([]string, error) {
	d, err := r.Open(path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
