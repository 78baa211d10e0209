package logs

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"berth/units"
)

// handle is a descriptor that we own. Its number is kept beside the file because
// os.File.Fd may change the descriptor's mode.
type handle struct {
	file *os.File
	n    int
}

func newHandle(fd int, name string) handle { return handle{os.NewFile(uintptr(fd), name), fd} }

func (h handle) fd() int { return h.n }

// Streams are stdout and stderr of one incarnation of a unit. All methods are
// safe for concurrent use.
type Streams struct {
	m           *Manager
	unit        string
	incarnation uint64
	id          int32 // in the manager's epoll set: id for stdout, id+1 for stderr
	socket      bool  // journald stream sockets, nothing to pump

	// Owned by the goroutine that runs the pump (see run), and by Adopt before.
	pipes       [2]handle
	staging     handle
	memfd       handle
	mem         []byte
	page        *page
	file        *logFile
	consoleSent int
	first       int // the stream that a turn begins with
	limited     bool
	left        [2]int
	complain    time.Time
	dropping    bool // lines were dropped for want of room, and none written since

	watched atomic.Pointer[watch]

	mu        sync.Mutex
	running   bool
	again     bool // kicked while running
	againNow  bool // likewise, by kick(true)
	finishing bool
	closed    bool
	notBefore time.Time
	timer     *time.Timer
	update    *update
	idle      *sync.Cond    // running has become false
	done      chan struct{} // closed when finished
	isDone    bool
}

// update is a changed configuration that the pump takes up before its next turn.
type update struct {
	target Target
	cfg    units.Log
}

// Writers are descriptors for one program of a unit; the receiver owns and
// closes them.
type Writers struct {
	Stdout, Stderr *os.File
	// Pipe: they are write ends of pipes and want to be owned by the unit's user
	// (fchown), so that the program can open /dev/stdout again.
	Pipe bool
}

// storeName is the name under which the reaper keeps the streams of an incarnation.
func storeName(incarnation uint64) string { return "log/" + strconv.FormatUint(incarnation, 10) }

// NewStreams makes the streams of an incarnation and starts their pump. The
// target "auto" is decided here: journald if it can be connected to, else a file.
func (m *Manager) NewStreams(unit string, incarnation uint64, cfg units.Log) (*Streams, error) {
	s, err := m.newStreams(unit, incarnation, cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot make the log streams of unit %s: %w", unit, err)
	}
	return s, nil
}

func (m *Manager) newStreams(unit string, incarnation uint64, cfg units.Log) (*Streams, error) {
	if len(unit) == 0 || len(unit) > maxUnitName {
		return nil, fmt.Errorf("a name of %d bytes is not possible", len(unit))
	}
	s := &Streams{m: m, unit: unit, incarnation: incarnation, done: make(chan struct{})}
	s.idle = sync.NewCond(&s.mu)
	if cfg.Stream == "socket" {
		s.socket = true
		return s, nil
	}
	if err := s.make(); err != nil {
		s.release()
		return nil, err
	}
	s.page.unitLen = uint32(copy(s.page.unit[:], unit))
	s.page.incarnation = incarnation
	s.page.configure(m.resolve(cfg.Target), cfg)
	s.page.magic = pageMagic
	if err := s.start(); err != nil {
		return nil, err
	}
	return s, nil
}

// make opens the pipes and the page.
func (s *Streams) make() error {
	for i, name := range streamNames {
		r, w, err := pipe()
		if err != nil {
			return err
		}
		_ = unix.Close(w) // Writers opens others
		s.pipes[i] = newHandle(r, name)
	}
	r, w, err := pipe()
	if err != nil {
		return err
	}
	fd, err := reopen(r, unix.O_RDWR)
	_ = unix.Close(r)
	_ = unix.Close(w)
	if err != nil {
		return err
	}
	s.staging = newHandle(fd, "staging")
	f, mem, err := newPage()
	if err != nil {
		return err
	}
	s.memfd = handle{f, int(f.Fd())}
	s.mem, s.page = mem, pageOf(mem)
	return nil
}

func pipe() (r, w int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("pipe: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize); err != nil {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
		return 0, 0, fmt.Errorf("cannot give a pipe %d bytes: %w", pipeSize, err)
	}
	return fds[0], fds[1], nil
}

// reopen makes a new open file of the pipe that fd belongs to.
func reopen(fd, flags int) (int, error) {
	path := "/proc/self/fd/" + strconv.Itoa(fd)
	n, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open a pipe again as %s: %w", path, err)
	}
	return n, nil
}

// Adopt goes on with streams whose descriptors the reaper kept: those that
// Descriptors gave. It owns files from now on, also on failure. What an earlier
// process had under way is brought to its end before Adopt returns.
//
// Nothing more is read before Begin. A unit's file is shared by the streams of
// its instances, and what was under way is told by the file's size: so all of a
// unit's streams are adopted before the first of them begins.
func (m *Manager) Adopt(unit string, incarnation uint64, files []*os.File) (*Streams, error) {
	s := &Streams{m: m, unit: unit, incarnation: incarnation, done: make(chan struct{})}
	s.idle = sync.NewCond(&s.mu)
	if err := s.adopt(files); err != nil {
		return nil, fmt.Errorf("cannot take over the log streams of unit %s: %w", unit, err)
	}
	return s, nil
}

// Begin starts the pump of adopted streams. On failure they are closed.
func (s *Streams) Begin(cfg units.Log) error {
	if err := s.start(); err != nil {
		return err
	}
	return s.Update(cfg)
}

func (s *Streams) adopt(files []*os.File) error {
	if len(files) != 4 {
		for _, f := range files {
			_ = f.Close()
		}
		return fmt.Errorf("%d descriptors were kept, not 4", len(files))
	}
	own := func(f *os.File) handle { return handle{f, int(f.Fd())} }
	s.pipes = [2]handle{own(files[0]), own(files[1])}
	s.staging, s.memfd = own(files[2]), own(files[3])
	mem, err := mapPage(s.memfd.file)
	if err != nil {
		s.release()
		return err
	}
	s.mem, s.page = mem, pageOf(mem)
	if err = s.page.check(); err == nil && (s.page.unitName() != s.unit || s.page.incarnation != s.incarnation) {
		err = fmt.Errorf("they are those of unit %s, start %d", s.page.unitName(), s.page.incarnation)
	}
	if err != nil {
		s.release()
		return err
	}
	s.file = s.m.logFile(s.unit)
	if err := s.recover(); err != nil {
		_ = s.trouble(err) // said in the log; the pump tries again
	}
	return nil
}

// start registers the streams with the manager.
func (s *Streams) start() error {
	if s.file == nil {
		s.file = s.m.logFile(s.unit)
	}
	if err := s.m.add(s); err != nil {
		s.release()
		return fmt.Errorf("cannot watch the log streams of unit %s: %w", s.unit, err)
	}
	s.kick(false)
	return nil
}

// Incarnation is the start that the streams belong to.
func (s *Streams) Incarnation() uint64 { return s.incarnation }

// Writers opens write ends for one program of the unit: its main process or a
// hook. Streams with stream = "socket" connect to journald instead.
func (s *Streams) Writers() (Writers, error) {
	var w Writers
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.isDone {
		return w, fmt.Errorf("cannot give log streams of unit %s: its log has ended", s.unit)
	}
	if s.socket {
		return s.m.streamSockets(s.unit)
	}
	for i, f := range []**os.File{&w.Stdout, &w.Stderr} {
		fd, err := reopen(s.pipes[i].fd(), unix.O_WRONLY)
		if err != nil {
			if w.Stdout != nil {
				_ = w.Stdout.Close()
			}
			return Writers{}, fmt.Errorf("cannot give log streams of unit %s: %w", s.unit, err)
		}
		*f = os.NewFile(uintptr(fd), streamNames[i])
	}
	w.Pipe = true
	return w, nil
}

// Descriptors gives what the reaper shall keep, by store name ("log/" and the
// incarnation). The files stay the Streams'. Empty for stream = "socket".
func (s *Streams) Descriptors() map[string][]*os.File {
	if s.socket {
		return nil
	}
	return map[string][]*os.File{
		storeName(s.incarnation): {s.pipes[0].file, s.pipes[1].file, s.staging.file, s.memfd.file},
	}
}

// SetMainPID tells the main process, for journald's OBJECT_PID. 0: none.
func (s *Streams) SetMainPID(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.page != nil && !s.closed {
		s.page.pid = int64(pid)
	}
}

// Update changes target, rotation and rate of running streams, for lines that
// are not yet delivered. "auto" is left as it was decided while its target
// works. The kind of stream cannot change while the unit runs.
func (s *Streams) Update(cfg units.Log) error {
	if s.socket {
		return nil
	}
	u := &update{cfg: cfg}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		u.target = Target(s.page.target)
	}
	s.mu.Unlock()
	if closed {
		return fmt.Errorf("cannot change the log of unit %s: %w", s.unit, os.ErrClosed)
	}
	if cfg.Target != "auto" || u.target != TargetJournald && u.target != TargetFile {
		u.target = s.m.resolve(cfg.Target)
	}
	s.mu.Lock()
	s.update = u
	s.mu.Unlock()
	s.kick(true)
	return nil
}

// Finish ends the log: the unit's group is empty, so what lies in the pipes now
// is all there is; a last line without newline counts as a line. Finish returns
// when all of it is delivered, or with ctx's error while the pump goes on
// trying. What others write who still hold a write end is not waited for.
// Afterwards the caller lets the reaper drop the descriptors, and calls Close.
func (s *Streams) Finish(ctx context.Context) error {
	if s.socket {
		return nil
	}
	s.mu.Lock()
	s.finishing = true
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return fmt.Errorf("cannot finish the log of unit %s: %w", s.unit, os.ErrClosed)
	}
	s.kick(true)
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot finish the log of unit %s: its lines are not all taken yet: %w", s.unit, ctx.Err())
	}
}

// Close stops the pump and closes our descriptors. Lines that are not delivered
// stay in the pipes, which live on if the reaper keeps them. It is idempotent.
func (s *Streams) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	for s.running {
		s.idle.Wait()
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	if s.socket {
		return
	}
	s.m.remove(s)
	s.release()
}

// release frees everything; no pump runs.
func (s *Streams) release() {
	if s.file != nil {
		s.m.dropFile(s.file)
		s.file = nil
	}
	for _, h := range []handle{s.pipes[0], s.pipes[1], s.staging, s.memfd} {
		if h.file != nil {
			_ = h.file.Close()
		}
	}
	if s.mem != nil {
		s.page = nil
		_ = unix.Munmap(s.mem)
		s.mem = nil
	}
}

// kick makes the pump look. now: even if it is to wait after a failure.
func (s *Streams) kick(now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || s.isDone || s.socket:
	case s.running:
		s.again = true
		s.againNow = s.againNow || now
	case !now && time.Now().Before(s.notBefore): // the timer comes
	default:
		s.running, s.again, s.againNow = true, false, false
		s.notBefore = time.Time{}
		go s.run()
	}
}

// run is the pump: turns until there is nothing to do. At most one runs.
func (s *Streams) run() {
	for {
		s.takeUpdate()
		sc := s.m.scratches.get()
		v := s.turn(sc)
		s.m.scratches.put(sc)
		if s.turned(v) {
			return
		}
	}
}

func (s *Streams) takeUpdate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.update; u != nil {
		s.page.configure(u.target, u.cfg)
		s.update = nil
	}
}

// turned settles what follows a turn, and reports whether the pump rests.
func (s *Streams) turned(v verdict) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case v.done:
		s.isDone = true
		close(s.done)
	case v.more:
		return false
	case s.update != nil:
		return false
	case v.retry > 0:
		if s.againNow { // the sink may have got room meanwhile
			s.again, s.againNow = false, false
			return false
		}
		s.notBefore = time.Now().Add(v.retry)
		if s.timer == nil {
			s.timer = time.AfterFunc(v.retry, func() { s.kick(true) })
		} else {
			s.timer.Reset(v.retry)
		}
	case s.again:
		s.again, s.againNow = false, false
		return false
	}
	s.running = false
	s.idle.Broadcast()
	return true
}
