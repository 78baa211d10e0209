package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// fileSource reads one unit's log files. Between past and follow it remembers
// the file it was in and where.
type fileSource struct {
	base, unit string

	current *os.File // the newest file read; nil: none yet
	pos     int64    // behind the last whole line of it
	join    joiner
	since   time.Time
}

func (f *fileSource) dir() string { return filepath.Join(f.base, f.unit) }

// listTries bounds how often a listing is begun again because of a rotation.
const listTries = 100

// files opens the unit's files, oldest first. Names shift when the log is
// rotated meanwhile; then it looks again.
func (f *fileSource) files() ([]*os.File, error) {
	for try := 1; ; try++ {
		files, stable, err := f.list()
		if err != nil || stable || try == listTries {
			return files, err
		}
		closeAll(files)
	}
}

// list opens the files from the newest name to the oldest. A rotation renames in
// the other direction, so that one under way shows a file twice, or one name
// missing, but hides none. stable: none came to its end meanwhile.
func (f *fileSource) list() (files []*os.File, stable bool, err error) {
	var known []os.FileInfo
	var newest os.FileInfo
	missing := 0
	for i := 0; i <= maxKeep && missing < 2; i++ {
		file, info, err := f.openNamed(i)
		if errors.Is(err, os.ErrNotExist) {
			if i > 0 {
				missing++
			}
			continue
		}
		if err != nil {
			closeAll(files)
			return nil, false, err
		}
		missing = 0
		if i == 0 {
			newest = info
		}
		if !info.Mode().IsRegular() || slices.ContainsFunc(known, func(k os.FileInfo) bool { return os.SameFile(k, info) }) {
			_ = file.Close()
			continue
		}
		known = append(known, info)
		files = append(files, file)
	}
	slices.Reverse(files)
	now, err := os.Lstat(filepath.Join(f.dir(), currentLog))
	switch {
	case err == nil:
		stable = newest != nil && os.SameFile(now, newest)
	case errors.Is(err, os.ErrNotExist):
		stable = newest == nil
	default:
		closeAll(files)
		return nil, false, err
	}
	return files, stable, nil
}

// openNamed opens the i-th file, 0 being the one that is written to.
func (f *fileSource) openNamed(i int) (*os.File, os.FileInfo, error) {
	name := currentLog
	if i > 0 {
		name += "." + strconv.Itoa(i)
	}
	file, err := os.OpenFile(filepath.Join(f.dir(), name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func (f *fileSource) past(ctx context.Context, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		f.since = q.Since
		files, err := f.files()
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer func() { closeAll(files) }()
		var last ring
		if q.Lines >= 0 {
			older := len(files)
			for n := 0; older > 0 && n < q.Lines; {
				older--
				k, err := countLines(files[older])
				if err != nil {
					yield(Entry{}, err)
					return
				}
				n += k
			}
			if older < len(files) || !q.Follow {
				closeAll(files[:older])
				files = files[older:]
			} else { // nothing old is wanted: begin at the end of the newest
				closeAll(files[:max(0, len(files)-1)])
				files = files[max(0, len(files)-1):]
			}
		}
		for len(files) > 0 {
			f.enter(files[0], 0)
			files = files[1:]
			goOn, err := f.read(func(e Entry) bool {
				if q.Lines >= 0 {
					last.add(e, q.Lines)
					return ctx.Err() == nil
				}
				return ctx.Err() == nil && yield(e, nil)
			})
			if err != nil {
				yield(Entry{}, err)
			}
			if err != nil || !goOn {
				f.leave()
				return
			}
		}
		for _, e := range last.all() {
			if !yield(e, nil) {
				f.leave()
				return
			}
		}
		if !q.Follow {
			f.leave()
		}
	}
}

func (f *fileSource) enter(file *os.File, pos int64) {
	f.leave()
	f.current, f.pos = file, pos
}

func (f *fileSource) leave() {
	if f.current != nil {
		_ = f.current.Close()
		f.current = nil
	}
}

// read gives the whole lines from pos to the end of the current file. It
// reports false when take has had enough.
func (f *fileSource) read(take func(Entry) bool) (bool, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(f.current, f.pos, 1<<62), 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return true, nil // a line not yet whole is read again next time
		}
		if err != nil {
			return true, fmt.Errorf("cannot read %s: %w", f.current.Name(), err)
		}
		f.pos += int64(len(line))
		if e, ok := f.entry(line[:len(line)-1]); ok && !e.Time.Before(f.since) && !take(e) {
			return false, nil
		}
	}
}

// entry decodes a line in the CRI format. What is not one is not ours.
func (f *fileSource) entry(line []byte) (Entry, bool) {
	stamp, rest, _ := bytes.Cut(line, []byte{' '})
	stream, rest, _ := bytes.Cut(rest, []byte{' '})
	tag, text, ok := bytes.Cut(rest, []byte{' '})
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if !ok || err != nil || string(stream) != streamNames[0] && string(stream) != streamNames[1] {
		return Entry{}, false
	}
	e := Entry{Time: t, Unit: f.unit, Stream: string(stream)}
	partial := bytes.HasPrefix(tag, []byte{'P'}) // a tag may have more parts, divided by colons
	if e.Text, ok = f.join.add(e.Stream, text, partial); !ok {
		return e, false
	}
	priority, prefix := priorityPrefix([]byte(e.Text[:min(3, len(e.Text))]))
	e.Priority, e.Text = int(priority), e.Text[prefix:]
	return e, true
}

// countLines counts the lines that end in a file.
func countLines(file *os.File) (int, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(file, 0, 1<<62), 64<<10)
	n := 0
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return n, nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return 0, fmt.Errorf("cannot read %s: %w", file.Name(), err)
		}
		// A continued line has its P at a fixed place, before the text.
		if at := len(timeLayout) + len(" stdout "); len(line) <= at || line[at] != 'P' {
			n++
		}
	}
}

func (f *fileSource) follow(ctx context.Context, out chan<- Entry) error {
	defer f.leave()
	if err := os.MkdirAll(f.base, dirMode); err != nil {
		return err
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot watch %s: %w", f.base, err)
	}
	defer w.Close()
	if err := w.Add(f.base); err != nil {
		return fmt.Errorf("cannot watch %s: %w", f.base, err)
	}
	watch := func() error {
		if err := w.Add(f.dir()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot watch %s: %w", f.dir(), err)
		}
		return nil
	}
	send := func(e Entry) bool {
		select {
		case out <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	if err := watch(); err != nil {
		return err
	}
	for {
		if goOn, err := f.advance(send); err != nil || !goOn {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case ev := <-w.Events:
			if ev.Has(fsnotify.Create) && ev.Name == f.dir() {
				if err := watch(); err != nil {
					return err
				}
			}
		case <-w.Errors: // events were lost: look at all
		}
	}
}

// advance reads what is new: the rest of the file it is in, and all newer ones.
func (f *fileSource) advance(take func(Entry) bool) (bool, error) {
	if f.current != nil {
		if named, err := os.Lstat(filepath.Join(f.dir(), currentLog)); err == nil {
			if info, err := f.current.Stat(); err == nil && os.SameFile(named, info) {
				if info.Size() < f.pos { // someone has emptied it
					f.pos = 0
				}
				return f.read(take)
			}
		}
	}
	files, err := f.files()
	if err != nil {
		return true, err
	}
	if len(files) == 0 {
		return true, nil
	}
	if f.current != nil {
		if goOn, err := f.read(take); err != nil || !goOn {
			closeAll(files)
			return goOn, err
		}
		info, err := f.current.Stat()
		for i := len(files) - 1; err == nil && i >= 0; i-- {
			if here, statErr := files[i].Stat(); statErr == nil && os.SameFile(info, here) {
				closeAll(files[:i+1])
				files = files[i+1:]
				break
			}
		}
	}
	for len(files) > 0 {
		f.enter(files[0], 0)
		files = files[1:]
		if goOn, err := f.read(take); err != nil || !goOn {
			closeAll(files)
			return goOn, err
		}
	}
	return true, nil
}
