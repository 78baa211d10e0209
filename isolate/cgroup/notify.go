package cgroup

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// notice waits for the kernel's word that a control file has new content. It
// is an epoll descriptor in the runtime's poller: waiting holds a goroutine and
// no thread, and uses no inotify instance, of which a user has only 128.
type notice struct{ epoll *os.File }

// newNotice watches fd for events (EPOLLPRI for control files). fd stays the
// caller's, and must stay open until Close.
func newNotice(fd int, events uint32) (*notice, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events}); err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	if err := unix.SetNonblock(epoll, true); err != nil { // so that os.NewFile hands it to the poller
		unix.Close(epoll)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &notice{os.NewFile(uintptr(epoll), "epoll")}, nil
}

// wait returns when there is word, when the time is over (both nil), or with
// the context's error.
func (n *notice) wait(ctx context.Context, limit time.Duration) error {
	if err := n.epoll.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = n.epoll.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := n.epoll.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Read(func(fd uintptr) bool {
		var events [1]unix.EpollEvent
		for {
			count, err := unix.EpollWait(int(fd), events[:], 0)
			if err == unix.EINTR {
				continue
			}
			failed = err
			return err != nil || count > 0
		}
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return errors.Join(err, failed)
}

func (n *notice) close() { n.epoll.Close() }

// pause is the wait between two looks at something that gives no notice. It
// grows from one look to the next.
type pause struct{ next, most time.Duration }

func (p *pause) wait(ctx context.Context) error {
	timer := time.NewTimer(p.next)
	defer timer.Stop()
	p.next = min(2*p.next, p.most)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
