package api

import (
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// How many connections there may be at a time. Everybody on the machine can
// connect, and each connection costs a descriptor, of which starting services
// needs some too.
const (
	maxConnections        = 1024
	maxConnectionsPerUser = 64 // of each user but root
	maxConnectionsUsers   = 256
)

// limitedListener closes at once what is more than that.
type limitedListener struct {
	net.Listener

	mu    sync.Mutex
	total int
	users int         // of all users but root
	uids  map[int]int // of each of these
}

func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, ok := uidOf(conn)
		if !ok || !l.take(uid) {
			conn.Close()
			continue
		}
		return &countedConn{UnixConn: conn.(*net.UnixConn), release: func() { l.release(uid) }}, nil
	}
}

// uidOf gives the peer's user.
func uidOf(conn net.Conn) (int, bool) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, false
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, false
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}) != nil || err != nil {
		return 0, false
	}
	return int(cred.Uid), true
}

func (l *limitedListener) take(uid int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= maxConnections || uid != 0 && (l.users >= maxConnectionsUsers || l.uids[uid] >= maxConnectionsPerUser) {
		return false
	}
	l.total++
	if uid != 0 {
		l.users++
		l.uids[uid]++
	}
	return true
}

func (l *limitedListener) release(uid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if uid == 0 {
		return
	}
	l.users--
	if l.uids[uid]--; l.uids[uid] == 0 {
		delete(l.uids, uid)
	}
}

// countedConn counts as long as it is open.
type countedConn struct {
	*net.UnixConn
	once    sync.Once
	release func()
}

func (c *countedConn) Close() error {
	c.once.Do(c.release)
	return c.UnixConn.Close()
}
