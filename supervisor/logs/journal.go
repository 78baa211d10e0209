package logs

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// journalBuffer is the send buffer asked for, as journald's own clients do.
const journalBuffer = 8 << 20

// journal sends entries to journald by its native protocol: one datagram for an
// entry, fields as "NAME=value" lines, values never containing a newline. An
// entry that is too long for a datagram goes as a sealed memfd instead
// (systemd, "Native Journal Protocol").
//
// The witness is the array of struct mmsghdr in the page: inside sendmmsg(2) the
// kernel writes to each msg_len when that message is sent.
type journal struct {
	m    *Manager
	path string

	mu sync.RWMutex // for reading: fd is in use
	fd int          // -1: not connected

	waitMu  sync.Mutex
	waiting map[*Streams]struct{} // for room in journald's queue
}

// connect opens a socket if there is none. j.mu is held for writing.
func (j *journal) connect() error {
	if j.fd >= 0 {
		return nil
	}
	fd, err := dialJournal(j.path)
	if err != nil {
		return err
	}
	ev := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLET&0xffffffff, Fd: journalID}
	if err := unix.EpollCtl(j.m.epollFD, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("cannot watch journald's socket: %w", err)
	}
	j.fd = fd
	return nil
}

// dialJournal connects to journald's datagram socket, for sending without waiting.
func dialJournal(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot make a socket for journald: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, journalBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, journalBuffer)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("cannot connect to journald at %s: %w", path, err)
	}
	return fd, nil
}

// reachable tells whether journald's socket can be connected to.
func (j *journal) reachable() bool {
	fd, err := dialJournal(j.path)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fd >= 0 {
		_ = unix.Close(j.fd)
		j.fd = -1
	}
}

// reconnect replaces the socket, if it still is the one that failed.
func (j *journal) reconnect(failed int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fd == failed && j.fd >= 0 {
		_ = unix.Close(j.fd)
		j.fd = -1
	}
	return j.connect()
}

// writable lets those go on that wait for room.
func (j *journal) writable() {
	j.waitMu.Lock()
	list := make([]*Streams, 0, len(j.waiting))
	for s := range j.waiting {
		list = append(list, s)
	}
	clear(j.waiting)
	j.waitMu.Unlock()
	for _, s := range list {
		s.kick(true)
	}
}

func (j *journal) forget(s *Streams) {
	j.waitMu.Lock()
	delete(j.waiting, s)
	j.waitMu.Unlock()
}

// prepare lays out the datagrams.
func (j *journal) prepare(s *Streams, sc *scratch, stream int, data []byte, now int64) error {
	p := s.page
	sc.prefix = sc.prefix[:0]
	fields := sc.keep(func(b []byte) []byte { return appendFields(b, s.unit, stream, p.incarnation, int(p.pid)) })
	partial := sc.keep(func(b []byte) []byte { return append(b, "BERTH_PARTIAL=1\n"...) })
	nl := sc.keep(func(b []byte) []byte { return append(b, '\n') })
	for i := range sc.batch.msgs[:sc.batch.n] {
		m := &sc.batch.msgs[i]
		iovs := sc.iovs[iovsOf*i : iovsOf*(i+1)]
		if vector(&iovs[0], fields); m.partial {
			// Lies behind fields in the same memory.
			vector(&iovs[0], fields[:len(fields)+len(partial)])
		}
		vector(&iovs[1], sc.keep(func(b []byte) []byte {
			return append(strconv.AppendUint(append(b, "PRIORITY="...), uint64(m.priority), 10), "\nMESSAGE="...)
		}))
		vector(&iovs[2], sc.text(m, data, p.rate())[m.prefix:])
		vector(&iovs[3], nl)
		h := &p.msgs[i]
		h.hdr = unix.Msghdr{Iov: &iovs[0]}
		h.hdr.SetIovlen(iovsOf)
		h.len = notSent
	}
	return nil
}

// appendFields writes what is the same for all entries of a stream.
func appendFields(b []byte, unit string, stream int, incarnation uint64, pid int) []byte {
	b = fmt.Appendf(b, "SYSLOG_IDENTIFIER=%s\nOBJECT_SYSTEMD_UNIT=%s.service\nBERTH_UNIT=%s\nBERTH_STREAM=%s\nBERTH_INCARNATION=%d\n",
		unit, unit, unit, streamNames[stream], incarnation)
	if pid > 0 {
		b = fmt.Appendf(b, "OBJECT_PID=%d\n", pid)
	}
	return b
}

// deliver sends without waiting. Datagrams that journald had received but not
// read when it died are lost with its socket, unless someone (systemd, or who
// else started it) keeps that socket for the next one.
func (j *journal) deliver(s *Streams, sc *scratch) error {
	registered := false
	reconnected := false
	for {
		fd, err := j.send(s.page, int(s.page.count))
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if registered {
				return errWait
			}
			// Once more after registering: room made in between gives no event.
			j.waitMu.Lock()
			j.waiting[s] = struct{}{}
			j.waitMu.Unlock()
			registered = true
		case errors.Is(err, unix.EMSGSIZE):
			if err := j.sendLong(s.page); err != nil {
				return err
			}
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			return errWait
		default: // not connected, or that journald is gone
			if reconnected {
				return fmt.Errorf("cannot send to journald: %w", err)
			}
			if err := j.reconnect(fd); err != nil {
				return err
			}
			reconnected = true
		}
	}
}

// send sends what has not been sent of the first count messages, as far as goes.
func (j *journal) send(p *page, count int) (fd int, err error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.fd < 0 {
		return j.fd, unix.ENOTCONN
	}
	for {
		k := sent(p)
		if k >= count {
			return j.fd, nil
		}
		if err := sendmmsg(j.fd, p.msgs[k:count]); err != nil {
			return j.fd, err
		}
	}
}

// sendLong sends the next message as a sealed memfd.
func (j *journal) sendLong(p *page) error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	h := &p.msgs[sent(p)]
	fd, err := unix.MemfdCreate("journal-entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("cannot make a memfd for a long line: %w", err)
	}
	defer unix.Close(fd)
	for iovs := unsafe.Slice(h.hdr.Iov, int(h.hdr.Iovlen)); len(iovs) > 0; {
		n, err := writev(fd, iovs)
		if err != nil {
			return fmt.Errorf("cannot fill a memfd for a long line: %w", err)
		}
		iovs = advance(iovs, n)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		return fmt.Errorf("cannot seal a long line: %w", err)
	}
	rights := unix.UnixRights(fd)
	h.hdr = unix.Msghdr{Control: unsafe.SliceData(rights)}
	h.hdr.SetControllen(len(rights))
	err = sendmmsg(j.fd, unsafe.Slice(h, 1))
	runtime.KeepAlive(rights) // the page's memory does not keep it
	if err != nil {
		return errWait // sent from the start again by the next batch
	}
	return nil
}

// sent counts the leading messages that the kernel noted as sent.
func sent(p *page) int {
	k := 0
	for k < int(p.count) && p.msgs[k].len != notSent {
		k++
	}
	return k
}

func (j *journal) delivered(s *Streams) (int, error) { return sent(s.page), nil }

// sendmmsg is sendmmsg(2) without waiting. The kernel stops at the first message
// that fails, and reports its error only if it is the first of all.
func sendmmsg(fd int, msgs []mmsghdr) error {
	_, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

var past = time.Unix(1, 0)
