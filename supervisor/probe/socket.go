package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"berth/isolate/netns"
)

// entering bounds the threads that are in other network namespaces at a time.
var entering = make(chan struct{}, 4)

// TCP connects to the address, an IP address or localhost with a port, in the
// container's network namespace, and closes the connection again. ctx bounds it.
func TCP(ctx context.Context, t Target, address string) error {
	conn, err := dial(ctx, t, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// dial connects in the container's network namespace. localhost is 127.0.0.1,
// and ::1 where nothing answers there: no name is looked up, for the container's
// files and servers are not to be trusted with that, nor the host's to know it.
func dial(ctx context.Context, t Target, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: it is no address with a port", address)
	}
	hosts := []string{host}
	if host == "localhost" {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var first error
	for _, h := range hosts {
		to, err := netip.ParseAddrPort(net.JoinHostPort(h, port))
		if err != nil {
			return nil, fmt.Errorf("cannot connect to %s: it is no IP address with a port", address)
		}
		conn, err := connect(ctx, t, to)
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = fmt.Errorf("cannot connect to %s: %w", address, plain(err))
		}
	}
	return nil, first
}

// errTimeout says what the deadline of a context means here.
var errTimeout = errors.New("timed out")

// plain makes the errors of a deadline readable.
func plain(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return errTimeout
	}
	return err
}

// connect makes a socket in the container's network namespace and connects it
// from here: where a socket belongs is decided when it is made
// (network_namespaces(7)).
func connect(ctx context.Context, t Target, to netip.AddrPort) (net.Conn, error) {
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if a := to.Addr().Unmap(); a.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: a.As4()}
	}
	fd, err := socketIn(ctx, t, family)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "probe")
	conn, err := net.FileConn(file) // has a descriptor of its own
	file.Close()
	if err != nil {
		return nil, err
	}
	release := bound(ctx, conn)
	err = finishConnect(conn, sa)
	release()
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// bound has everything on the connection end with ctx, until release is called.
func bound(ctx context.Context, conn net.Conn) (release func()) {
	if d, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(d) // fails only once it is closed
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// finishConnect connects a non-blocking socket. connect(2) called again says how
// far it is: EALREADY, an error, or done.
func finishConnect(conn net.Conn, sa unix.Sockaddr) error {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		result = unix.Connect(int(fd), sa)
		switch result {
		case unix.EINPROGRESS, unix.EALREADY, unix.EINTR:
			return false
		case unix.EISCONN:
			result = nil
		}
		return true
	})
	if err != nil {
		return err
	}
	return result
}

// socketIn makes a TCP socket in the container's network namespace. None of its
// system calls waits for anybody.
func socketIn(ctx context.Context, t Target, family int) (fd int, err error) {
	if !t.Network {
		return newSocket(family)
	}
	select {
	case entering <- struct{}{}:
		defer func() { <-entering }()
	case <-ctx.Done():
		return -1, ctx.Err()
	}
	fd = -1
	err = netns.In(func() error {
		return t.Use(func(pidfd int) error { return unix.Setns(pidfd, unix.CLONE_NEWNET) }) // a pidfd since Linux 5.8
	}, func() (err error) {
		fd, err = newSocket(family)
		return err
	})
	return fd, err
}

func newSocket(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return fd, os.NewSyscallError("socket", err)
}
