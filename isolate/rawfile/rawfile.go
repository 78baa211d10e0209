// Package rawfile reads and writes small files by plain system calls. Package os
// has each file that it opens registered with the runtime's poller, or tries to,
// which takes several times as long as the file.
package rawfile

import (
	"io/fs"
	"math"

	"golang.org/x/sys/unix"
)

// Read gives the whole of a file, as os.ReadFile does.
func Read(path string) ([]byte, error) {
	fd, err := Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t // of /proc the size is 0
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	text, err := ReadFD(fd, int(min(st.Size, maxSize)), math.MaxInt)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return text, nil
}

// maxSize is how much memory is taken for a file before it has been read.
const maxSize = 16 << 20

// ReadFD gives what can still be read of a descriptor, which is borrowed: about
// size bytes, and little more than most.
func ReadFD(fd, size, most int) ([]byte, error) {
	text := make([]byte, 0, size+1) // so that the end is seen
	var buf [4 << 10]byte
	for len(text) <= most {
		to := text[len(text):cap(text)]
		if len(to) <= 1 {
			to = buf[:]
		}
		n, err := unix.Read(fd, to)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case n == 0:
			return text, nil
		default:
			text = append(text, to[:n]...)
		}
	}
	return text, nil
}

// Write makes a file or overwrites it, as os.WriteFile does.
func Write(path string, data []byte, mode uint32) error {
	fd, err := Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil && err != unix.EINTR {
			return &fs.PathError{Op: "write", Path: path, Err: err}
		}
		data = data[max(n, 0):]
	}
	return nil
}

// Open opens a file, close-on-exec; see open(2). The caller closes it.
func Open(path string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		return fd, nil
	}
}
