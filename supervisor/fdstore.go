package supervisor

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"berth/supervisor/core"
	"berth/supervisor/notify"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// fdStore holds what the programs of a unit have handed over to be kept while it
// restarts (FDSTORE=1 of sd_notify(3)). It belongs to the loop. The reaper keeps
// the same descriptors; those here are closed later, and by nobody who waits: what
// happens at the last close of a socket is its owner's to decide (SO_LINGER).
type fdStore struct{ entries []storedFD }

type storedFD struct {
	Name string `json:"name"`
	Poll bool   `json:"poll"` // it goes when it is hung up
	file *os.File
}

// storedName names what the reaper keeps for a unit.
func storedName(unit string) string { return "fdstore:" + unit }

// storeTold does what a message says about kept descriptors.
func (s *Supervisor) storeTold(r *run, m *notify.Message) {
	var files []*os.File
	if m.FDStore {
		for _, f := range m.Files {
			if err := keepable(f); err != nil {
				s.log.Warn("a descriptor is not kept", zap.String("unit", r.unit), zap.String("name", m.FDName), zap.Error(err))
				f.Close()
				continue
			}
			files = append(files, f)
		}
		m.Files = nil
	}
	err := s.ask(r.alive, func() {
		if m.FDStoreRemove && m.FDName != "" {
			s.unstore(r.unit, func(e storedFD) bool { return e.Name == m.FDName })
		}
		if len(files) > 0 {
			s.storeFDs(r, files, m.FDName, !m.FDNoPoll)
		}
	})
	if err != nil {
		closeLater(files)
	}
}

// keepable refuses descriptors whose close could hold up the reaper, or that mean
// nothing to the next start: those of file systems that a program may answer for
// (FUSE, network), and devices.
func keepable(f *os.File) error {
	var st unix.Stat_t
	var fs unix.Statfs_t
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if e := conn.Control(func(fd uintptr) {
		if err = unix.Fstat(int(fd), &st); err == nil {
			err = unix.Fstatfs(int(fd), &fs)
		}
	}); e != nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("cannot look at it: %w", err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK, 0: // 0: signalfd, eventfd, bpf objects and other anonymous inodes
		return nil
	case unix.S_IFIFO, unix.S_IFREG:
		switch fs.Type {
		case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.HUGETLBFS_MAGIC, unix.PIPEFS_MAGIC, unix.NSFS_MAGIC, unix.PID_FS_MAGIC, unix.ANON_INODE_FS_MAGIC:
			return nil
		}
		return fmt.Errorf("a file that is not in memory (file system type %#x)", fs.Type)
	}
	return fmt.Errorf("neither a socket, a pipe nor a file in memory")
}

// storeFDs keeps descriptors, which it takes over, as far as the unit may have them.
func (s *Supervisor) storeFDs(r *run, files []*os.File, name string, poll bool) {
	if name == "" {
		name = "stored"
	}
	st := s.fds[r.unit]
	if st == nil {
		st = &fdStore{}
		s.fds[r.unit] = st
	}
	var drop []*os.File
	drop = append(drop, st.prune()...)
	full := false
	for _, f := range files {
		switch {
		case st.has(f):
			drop = append(drop, f)
		case len(st.entries) >= r.cfg.Service.FDStoreMax:
			full = true
			drop = append(drop, f)
		default:
			st.entries = append(st.entries, storedFD{name, poll, f})
		}
	}
	if full {
		s.log.Warn("not all descriptors are kept", zap.String("unit", r.unit), zap.String("name", name), zap.Int("fd-store-max", r.cfg.Service.FDStoreMax))
	}
	s.keepFDs(r.unit)
	closeLater(drop)
}

// unstore lets go of the unit's descriptors that f says.
func (s *Supervisor) unstore(unit string, f func(storedFD) bool) {
	st := s.fds[unit]
	if st == nil {
		return
	}
	var drop []*os.File
	st.entries = slices.DeleteFunc(st.entries, func(e storedFD) bool {
		if f(e) {
			drop = append(drop, e.file)
			return true
		}
		return false
	})
	if len(drop) > 0 {
		s.keepFDs(unit)
	}
	closeLater(drop)
}

// keepFDs has the reaper keep what the store holds: first their names, in a
// memfd, then they themselves.
func (s *Supervisor) keepFDs(unit string) {
	st := s.fds[unit]
	if len(st.entries) == 0 {
		delete(s.fds, unit)
		if err := s.reaper.Drop(storedName(unit)); err != nil {
			s.log.Error("cannot drop kept descriptors", zap.String("unit", unit), zap.Error(err))
		}
		return
	}
	if err := st.keep(func(files ...*os.File) error { return s.reaper.Store(storedName(unit), files...) }); err != nil {
		s.log.Error("kept descriptors will not survive this supervisor", zap.String("unit", unit), zap.Error(err))
	}
}

func (st *fdStore) keep(store func(...*os.File) error) error {
	names, err := json.Marshal(st.entries)
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("berth-fdstore", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	table := os.NewFile(uintptr(fd), "names")
	defer table.Close()
	if _, err := table.WriteAt(names, 0); err != nil {
		return err
	}
	files := []*os.File{table}
	for _, e := range st.entries {
		files = append(files, e.file)
	}
	return store(files...)
}

// adoptFDs takes up what an earlier supervisor has kept for the unit.
func (s *Supervisor) adoptFDs(u *core.Unit, stored map[string][]*os.File) {
	unit := u.Name
	files := stored[storedName(unit)]
	if len(files) == 0 || over(u.Phase) {
		return // what is left is dropped
	}
	delete(stored, storedName(unit))
	st := &fdStore{}
	info, err := files[0].Stat()
	if err == nil {
		text := make([]byte, info.Size())
		if _, err = files[0].ReadAt(text, 0); err == nil {
			err = json.Unmarshal(text, &st.entries)
		}
	}
	files[0].Close()
	if err == nil && len(st.entries) != len(files)-1 {
		err = fmt.Errorf("%d names for %d descriptors", len(st.entries), len(files)-1)
	}
	if err != nil {
		s.log.Error("cannot take over kept descriptors", zap.String("unit", unit), zap.Error(err))
		closeLater(files[1:])
		return
	}
	for i := range st.entries {
		st.entries[i].file = files[i+1]
	}
	s.fds[unit] = st
}

// dropFDs ends the store of a unit that does not restart.
func (s *Supervisor) dropFDs(e core.Transition) {
	if over(e.To) {
		s.unstore(e.Unit, func(storedFD) bool { return true })
	}
}

// over tells the phases in which a unit neither runs nor is about to.
func over(p core.Phase) bool {
	return p == core.Inactive || p == core.Failed || p == core.Completed
}

// storedFDs gives duplicates of what the unit has stored, for a start, with their
// names. The caller closes them. Called by the loop.
func (s *Supervisor) storedFDs(unit string) (files []*os.File, names []string) {
	st := s.fds[unit]
	if st == nil {
		return nil, nil
	}
	if drop := st.prune(); len(drop) > 0 {
		s.keepFDs(unit)
		closeLater(drop)
	}
	for _, e := range st.entries {
		if f, err := duplicate(e.file); err == nil {
			files, names = append(files, f), append(names, e.Name)
		}
	}
	return files, names
}

func duplicate(f *os.File) (*os.File, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	if e := conn.Control(func(n uintptr) { fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 3) }); e != nil {
		err = e
	}
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// prune takes out what is hung up, for the caller to close.
func (st *fdStore) prune() (drop []*os.File) {
	st.entries = slices.DeleteFunc(st.entries, func(e storedFD) bool {
		if !e.Poll || !hungUp(e.file) {
			return false
		}
		drop = append(drop, e.file)
		return true
	})
	return drop
}

func hungUp(f *os.File) bool {
	gone := false
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) {
			p := []unix.PollFd{{Fd: int32(fd)}}
			n, err := unix.Poll(p, 0)
			gone = err == nil && n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		})
	}
	return gone
}

// has tells whether the store holds this very open file already (kcmp(2)).
func (st *fdStore) has(f *os.File) bool {
	const kcmpFile = 0 // KCMP_FILE of linux/kcmp.h
	same := false
	for _, e := range st.entries {
		a, err1 := f.SyscallConn()
		b, err2 := e.file.SyscallConn()
		if err1 != nil || err2 != nil {
			continue
		}
		_ = a.Control(func(x uintptr) {
			_ = b.Control(func(y uintptr) {
				pid := uintptr(os.Getpid())
				r, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpFile, x, y, 0)
				same = same || errno == 0 && r == 0
			})
		})
	}
	return same
}

// closeLater closes what programs gave us where nobody waits for it.
func closeLater(files []*os.File) {
	if len(files) == 0 {
		return
	}
	go func() {
		for _, f := range files {
			f.Close()
		}
	}()
}
