package listen

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Poller tells of the first traffic on descriptors, any number of them without a
// thread. It is safe for concurrent use.
type Poller struct {
	epoll int
	file  *os.File // owns epoll
	ended chan struct{}

	mu    sync.Mutex
	next  uint64
	tells map[uint64]func()
	ids   map[int]uint64 // by descriptor
}

// NewPoller starts one. Close ends it.
func NewPoller() (*Poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot watch sockets: %w", os.NewSyscallError("epoll_create1", err))
	}
	// It waits in the runtime's own poller: a thread in epoll_wait would have a
	// processor of the runtime's wait with it, for up to 10 ms at a time.
	_ = unix.SetNonblock(epoll, true) // cannot fail for a descriptor that is open
	p := &Poller{epoll: epoll, file: os.NewFile(uintptr(epoll), "epoll"), ended: make(chan struct{}), tells: map[uint64]func(){}, ids: map[int]uint64{}}
	raw, err := p.file.SyscallConn()
	if err != nil {
		p.file.Close()
		return nil, fmt.Errorf("cannot watch sockets: %w", err)
	}
	go p.run(raw)
	return p, nil
}

// Add calls tell once, from a goroutine of the poller's, as soon as there is
// something to read or accept. Remove must come before the file is closed.
func (p *Poller) Add(f *os.File, tell func()) error {
	p.Remove(f)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	fd := int(f.Fd())
	ev := &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(p.next), Pad: int32(p.next >> 32)}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, ev); err != nil {
		return fmt.Errorf("cannot watch a socket: %w", os.NewSyscallError("epoll_ctl", err))
	}
	p.tells[p.next], p.ids[fd] = tell, p.next
	return nil
}

// Remove forgets a file, if it is known. A tell that is on its way may still come.
func (p *Poller) Remove(f *os.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fd := int(f.Fd())
	if id, ok := p.ids[fd]; ok {
		_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, nil) // it is there
		delete(p.tells, id)
		delete(p.ids, fd)
	}
}

func (p *Poller) run(raw syscall.RawConn) {
	defer close(p.ended)
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		var fault error
		err := raw.Read(func(fd uintptr) bool {
			n, fault = unix.EpollWait(int(fd), events, 0)
			return n > 0 || fault != nil && !errors.Is(fault, unix.EINTR)
		})
		if err != nil || fault != nil {
			return // closed, or a fault of ours
		}
		for _, ev := range events[:n] {
			id := uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32
			p.mu.Lock()
			tell := p.tells[id]
			delete(p.tells, id)
			p.mu.Unlock()
			if tell != nil {
				tell()
			}
		}
	}
}

// Close ends the poller and waits for a tell that runs.
func (p *Poller) Close() {
	p.file.Close()
	<-p.ended
}
