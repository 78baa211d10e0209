package logs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	currentLog  = "current.log"
	dirMode     = 0o750
	fileMode    = 0o640
	maxKeep     = 1000
	minFileSize = 4 << 10
)

// logFile is the log file of a unit: lines in the CRI format, "TIME STREAM TAG
// TEXT", where the tag F ends a line and P does not. It is appended to by one
// batch at a time, and its size is the witness: a batch begins at page.offset.
type logFile struct {
	base, unit string
	users      int // under Manager.mu

	mu  sync.Mutex // held over a batch, see Streams.lockFile
	dir int        // -1: not open
	fd  int
}

// open opens the unit's directory and current file, making them if needed.
func (f *logFile) open() error {
	if f.dir < 0 {
		if err := os.MkdirAll(f.base, dirMode); err != nil {
			return fmt.Errorf("cannot make the log directory: %w", err)
		}
		base, err := unix.Open(f.base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot open the log directory %s: %w", f.base, err)
		}
		defer unix.Close(base)
		if err := unix.Mkdirat(base, f.unit, dirMode); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("cannot make the log directory %s/%s: %w", f.base, f.unit, err)
		}
		dir, err := unix.Openat(base, f.unit, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot open the log directory %s/%s: %w", f.base, f.unit, err)
		}
		f.dir = dir
	}
	if f.fd < 0 {
		fd, err := unix.Openat(f.dir, currentLog, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, fileMode)
		if err != nil {
			return fmt.Errorf("cannot open %s/%s/%s: %w", f.base, f.unit, currentLog, err)
		}
		f.fd = fd
		if err := mend(fd); err != nil {
			f.close()
			return fmt.Errorf("cannot cut an unfinished line off %s/%s/%s: %w", f.base, f.unit, currentLog, err)
		}
	}
	return nil
}

// mend cuts off the begin of a line that a file ends with after the machine was
// reset: the next line would be taken for its rest. What a batch that is not
// settled has written of a line does not count either, see delivered.
func mend(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return err
	}
	tail := make([]byte, min(st.Size, fileLineMax+prefixSize))
	n, err := unix.Pread(fd, tail, st.Size-int64(len(tail)))
	if err != nil || n < len(tail) {
		return err
	}
	torn := len(tail) - 1 - bytes.LastIndexByte(tail, '\n')
	if torn == 0 || torn == len(tail) && st.Size > int64(len(tail)) {
		return nil // whole, or none of our files
	}
	return unix.Ftruncate(fd, st.Size-int64(torn))
}

func (f *logFile) close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd)
		f.fd = -1
	}
	if f.dir >= 0 {
		_ = unix.Close(f.dir)
		f.dir = -1
	}
}

// stat opens the file if needed, and again if someone has renamed or removed
// what we had open.
func (f *logFile) stat() (unix.Stat_t, error) {
	var named, st unix.Stat_t
	if f.dir >= 0 && f.fd >= 0 {
		err := unix.Fstatat(f.dir, currentLog, &named, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil {
			err = unix.Fstat(f.fd, &st)
		}
		var dir unix.Stat_t
		if err == nil {
			err = unix.Fstat(f.dir, &dir)
		}
		if err == nil && dir.Nlink > 0 && named.Ino == st.Ino && named.Dev == st.Dev {
			return st, nil
		}
		f.close()
	}
	if err := f.open(); err != nil {
		return st, err
	}
	if err := unix.Fstat(f.fd, &st); err != nil {
		return st, fmt.Errorf("cannot stat %s: %w", f.unit, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		f.close()
		return st, fmt.Errorf("cannot write %s/%s/%s: it is not a regular file", f.base, f.unit, currentLog)
	}
	return st, nil
}

func (f *logFile) prepare(s *Streams, sc *scratch, stream int, data []byte, now int64) error {
	p := s.page
	st, err := f.stat()
	if err != nil {
		return err
	}
	if p.maxSize > 0 && st.Size >= max(p.maxSize, minFileSize) {
		if err := f.rotate(int(min(max(p.keep, 0), maxKeep))); err != nil {
			return err
		}
		if st, err = f.stat(); err != nil {
			return err
		}
	}
	sc.lines(data, p.rate(), func(b []byte, m *message) []byte {
		b = appendTime(b, now)
		tag := " F "
		if m.partial {
			tag = " P "
		}
		name := streamNames[stream]
		if m.notice {
			name = streamNames[stderr]
		}
		b = append(append(append(b, ' '), name...), tag...)
		if m.notice {
			b = fmt.Appendf(b, "<%d>", m.priority)
		}
		return b
	})
	p.dev, p.ino, p.offset = uint64(st.Dev), st.Ino, st.Size
	return nil
}

// deliver writes the batch with one system call where the disk allows.
func (f *logFile) deliver(s *Streams, sc *scratch) error {
	iovs := sc.iovs[:sc.batch.n*3]
	for len(iovs) > 0 {
		n, err := writev(f.fd, iovs)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot write %s/%s/%s: %w", f.base, f.unit, currentLog, err)
		}
		iovs = advance(iovs, n)
	}
	return nil
}

// delivered reads the outcome off the file's size, and cuts off what does not
// make a whole message.
func (f *logFile) delivered(s *Streams) (int, error) {
	p := s.page
	st, err := f.stat()
	if err != nil {
		return 0, err
	}
	if uint64(st.Dev) != p.dev || st.Ino != p.ino || st.Size < p.offset {
		// Someone else has replaced or emptied the file meanwhile; what was
		// written of the batch is not known, so it is written again.
		return 0, nil
	}
	written := st.Size - p.offset
	k := 0
	for k < int(p.count) && int64(p.states[k+1].out) <= written {
		k++
	}
	end := int64(0)
	if k > 0 {
		end = int64(p.states[k].out)
	}
	if written > end {
		if err := unix.Ftruncate(f.fd, p.offset+end); err != nil {
			return 0, fmt.Errorf("cannot cut an unfinished line off %s/%s/%s: %w", f.base, f.unit, currentLog, err)
		}
	}
	return k, nil
}

// rotate renames current.log to current.log.1 and so on, and keeps so many. It
// shifts only as far as the first free name, so that one which was interrupted
// can be done again without losing an old file.
func (f *logFile) rotate(keep int) error {
	name := func(i int) string {
		if i == 0 {
			return currentLog
		}
		return currentLog + "." + strconv.Itoa(i)
	}
	exists := func(i int) bool {
		var st unix.Stat_t
		return unix.Fstatat(f.dir, name(i), &st, unix.AT_SYMLINK_NOFOLLOW) == nil
	}
	for i := keep + 1; exists(i); i++ { // fewer are kept than before
		if err := unix.Unlinkat(f.dir, name(i), 0); err != nil {
			return fmt.Errorf("cannot remove %s/%s/%s: %w", f.base, f.unit, name(i), err)
		}
	}
	last := min(1, keep)
	for last < keep && exists(last) {
		last++
	}
	if keep == 0 {
		if err := unix.Unlinkat(f.dir, currentLog, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot remove %s/%s/%s: %w", f.base, f.unit, currentLog, err)
		}
	}
	for i := last; i > 0; i-- {
		if err := unix.Renameat(f.dir, name(i-1), f.dir, name(i)); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot rotate %s/%s/%s: %w", f.base, f.unit, name(i-1), err)
		}
	}
	_ = unix.Close(f.fd)
	f.fd = -1
	return nil
}
