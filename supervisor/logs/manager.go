package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Options are what a Manager needs.
type Options struct {
	// Dir is where log files lie, as <Dir>/<unit>/current.log. Made if missing.
	Dir string
	// Log is for the manager's own messages; nil: none.
	Log *zap.Logger
	// Console is where the target "console" writes; the descriptor stays the
	// caller's and is used until Close. nil: os.Stderr.
	Console *os.File
	// JournalSocket and StreamSocket are journald's datagram and stream sockets;
	// empty: those below /run/systemd/journal.
	JournalSocket, StreamSocket string
}

// Manager pumps the logs of all units. Its methods are safe for concurrent use.
type Manager struct {
	dir          string
	log          *zap.Logger
	journal      *journal
	console      *console
	streamSocket string
	null         int // /dev/null
	scratches    *pool

	epoll   *os.File
	epollFD int
	stopped chan struct{} // the watching goroutine has ended

	mu      sync.Mutex
	streams map[int32]*Streams
	nextID  int32
	files   map[string]*logFile
}

// journalID is the journald socket in the epoll set; streams count up from 2.
const journalID = 0

// NewManager makes a Manager; it owns descriptors and a goroutine until Close.
func NewManager(o Options) (*Manager, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Console == nil {
		o.Console = os.Stderr
	}
	if o.JournalSocket == "" {
		o.JournalSocket = "/run/systemd/journal/socket"
	}
	if o.StreamSocket == "" {
		o.StreamSocket = "/run/systemd/journal/stdout"
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot use the log directory %s: %w", o.Dir, err)
	}
	m := &Manager{
		dir: dir, log: o.Log, streamSocket: o.StreamSocket, null: -1,
		stopped: make(chan struct{}), streams: map[int32]*Streams{}, nextID: 2, files: map[string]*logFile{},
	}
	m.console = &console{fd: int(o.Console.Fd()), file: o.Console}
	m.journal = &journal{m: m, path: o.JournalSocket, fd: -1, waiting: map[*Streams]struct{}{}}
	if m.scratches, err = newPool(max(2, min(runtime.GOMAXPROCS(0), 4))); err != nil {
		return nil, err
	}
	if err := m.open(); err != nil {
		m.scratches.close()
		return nil, err
	}
	go m.watch()
	return m, nil
}

func (m *Manager) open() error {
	null, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open /dev/null: %w", err)
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(fd, true) // so that Go's own poller waits for it
	}
	if err != nil {
		_ = unix.Close(null)
		return fmt.Errorf("cannot make an epoll set: %w", err)
	}
	m.null = null
	m.epoll, m.epollFD = os.NewFile(uintptr(fd), "epoll"), fd
	return nil
}

// Close stops all pumps and frees everything. Lines not delivered stay in the
// pipes that the reaper keeps.
func (m *Manager) Close() {
	m.mu.Lock()
	seen := map[*Streams]struct{}{}
	for _, s := range m.streams {
		seen[s] = struct{}{}
	}
	m.mu.Unlock()
	for s := range seen {
		s.Close()
	}
	_ = m.epoll.SetDeadline(past)
	<-m.stopped
	_ = m.epoll.Close()
	m.journal.close()
	m.scratches.close()
	_ = unix.Close(m.null)
}

// add puts the streams into the epoll set, edge-triggered: the pump itself looks
// until there is nothing.
func (m *Manager) add(s *Streams) error {
	m.mu.Lock()
	s.id = m.nextID
	m.nextID += 2
	m.streams[s.id], m.streams[s.id+1] = s, s
	m.mu.Unlock()
	for i := range s.pipes {
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: s.id + int32(i)}
		if err := unix.EpollCtl(m.epollFD, unix.EPOLL_CTL_ADD, s.pipes[i].fd(), &ev); err != nil {
			m.remove(s)
			return fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	return nil
}

// remove takes them out. That must come before closing: the reaper's duplicates
// would keep the registration alive.
func (m *Manager) remove(s *Streams) {
	for i := range s.pipes {
		_ = unix.EpollCtl(m.epollFD, unix.EPOLL_CTL_DEL, s.pipes[i].fd(), nil)
	}
	m.mu.Lock()
	delete(m.streams, s.id)
	delete(m.streams, s.id+1)
	m.mu.Unlock()
	m.journal.forget(s)
}

// watch kicks the pumps whose pipes have something new.
func (m *Manager) watch() {
	defer close(m.stopped)
	raw, err := m.epoll.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		var waitErr error
		err := raw.Read(func(fd uintptr) bool {
			n, waitErr = unix.EpollWait(int(fd), events, 0)
			return n > 0 || waitErr != nil && !errors.Is(waitErr, unix.EINTR)
		})
		if err != nil {
			return // closed
		}
		if waitErr != nil {
			m.log.Error("cannot wait for log lines", zap.Error(waitErr))
			return
		}
		for _, ev := range events[:n] {
			m.event(ev.Fd)
		}
	}
}

func (m *Manager) event(id int32) {
	if id == journalID {
		m.journal.writable()
		return
	}
	m.mu.Lock()
	s := m.streams[id]
	m.mu.Unlock()
	if s != nil {
		s.kick(false)
	}
}

// resolve decides what a target of the unit file means now.
func (m *Manager) resolve(target string) Target {
	switch target {
	case "null":
		return TargetNull
	case "console":
		return TargetConsole
	case "journald":
		return TargetJournald
	case "file":
		return TargetFile
	}
	if m.journal.reachable() {
		return TargetJournald
	}
	return TargetFile
}

// logFile gives the unit's log file, shared by all streams of the unit.
func (m *Manager) logFile(unit string) *logFile {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.files[unit]
	if f == nil {
		f = &logFile{base: m.dir, unit: unit, dir: -1, fd: -1}
		m.files[unit] = f
	}
	f.users++
	return f
}

func (m *Manager) dropFile(f *logFile) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.users--; f.users == 0 {
		f.close()
		delete(m.files, f.unit)
	}
}

// pool lends scratches; as many pumps work at the same time as it has.
type pool struct {
	free chan *scratch
}

func newPool(n int) (*pool, error) {
	p := &pool{free: make(chan *scratch, n)}
	for range n {
		s, err := newScratch()
		if err != nil {
			p.close()
			return nil, err
		}
		p.free <- s
	}
	return p, nil
}

func (p *pool) get() *scratch  { return <-p.free }
func (p *pool) put(s *scratch) { p.free <- s }

// close frees all scratches; none is lent.
func (p *pool) close() {
	for {
		select {
		case s := <-p.free:
			s.close()
		default:
			return
		}
	}
}
