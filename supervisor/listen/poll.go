package listen

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Poller tells of the first traffic on descriptors, any number of them with one
// thread. It is safe for concurrent use.
type Poller struct {
	epoll int
	wake  int // an eventfd: the poller is to end
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
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN})
	}
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("cannot watch sockets: %w", err)
	}
	p := &Poller{epoll: epoll, wake: wake, ended: make(chan struct{}), tells: map[uint64]func(){}, ids: map[int]uint64{}}
	go p.run()
	return p, nil
}

// Add calls tell once, from a goroutine of the poller's, as soon as there is
// something to read or accept. Remove must come before the file is closed.
func (p *Poller) Add(f *os.File, tell func()) error {
	p.Remove(f)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++ // 0 is the eventfd
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

func (p *Poller) run() {
	defer close(p.ended)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(p.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return // closed, or a fault of ours
		}
		for _, ev := range events[:max(n, 0)] {
			id := uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32
			if id == 0 {
				return
			}
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
	_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-p.ended
	unix.Close(p.epoll)
	unix.Close(p.wake)
}
