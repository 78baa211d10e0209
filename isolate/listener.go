package isolate

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ListenerPair makes the two ends of the socket over which a seccomp listener
// comes from a child: child is for Files.Listener, and must be closed here once
// the child has been forked, so that its end is noticed; own is for
// ReceiveListener. Both are the caller's, and close-on-exec.
func ListenerPair() (own, child *os.File, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a socket for the seccomp listener: %w", err)
	}
	return os.NewFile(uintptr(p[0]), "seccomp listener"), os.NewFile(uintptr(p[1]), "seccomp listener of the child"), nil
}

// ReceiveListener waits for the listener of a child with
// Process.SeccompListener, which sends it before it waits at the gate. sock is
// the other end of what was given as Files.Listener; it stays the caller's. The
// zero deadline waits for ever. The file is the caller's, close-on-exec, and what
// seccomp_unotify(2) describes: ioctl(SECCOMP_IOCTL_NOTIF_RECV) takes the calls
// that the filter hands over, poll tells of them. When the last such file is
// closed, these calls fail with ENOSYS.
//
// After an error the start is to be given up: os.ErrDeadlineExceeded after the
// deadline; another when the child has ended, for which Prepared.Wait has the reason.
func ReceiveListener(sock *os.File, deadline time.Time) (*os.File, error) {
	conn, err := sock.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot receive the seccomp listener: %w", err)
	}
	var listener *os.File
	err = errors.Join(conn.Control(func(fd uintptr) { listener, err = receiveListener(int(fd), deadline) }), err)
	if err != nil {
		return nil, fmt.Errorf("cannot receive the seccomp listener: %w", err)
	}
	return listener, nil
}

func receiveListener(sock int, deadline time.Time) (*os.File, error) {
	for {
		wait := -1
		if !deadline.IsZero() {
			wait = max(0, int(time.Until(deadline).Milliseconds()))
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(sock), Events: unix.POLLIN}}, wait)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return nil, os.ErrDeadlineExceeded
		}
		break
	}
	control := make([]byte, unix.CmsgSpace(4))
	n, controlLen, _, _, err := unix.Recvmsg(sock, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, errors.New("the child has ended, or has failed before it installed its filter")
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlLen])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("it did not come with the message")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("it did not come with the message")
	}
	return os.NewFile(uintptr(fds[0]), "seccomp listener"), nil
}
