// Package wire moves messages with descriptors over SOCK_SEQPACKET pairs, and
// encodes their bodies. It is what the reaper, the supervisor and the launcher
// have in common; the messages themselves belong to packages reaper and
// launcher. It imports neither net nor fmt, since the two small processes load
// nothing that they do not need.
package wire

import (
	"errors"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// MaxFDs is how many descriptors one message may carry. The kernel's limit
	// is 253 (SCM_MAX_FD, unix(7)).
	MaxFDs = 250
	// MaxMessage is the size of the largest message in bytes.
	MaxMessage = 64<<10 + 1024
	// oobSize holds the control message of MaxFDs descriptors, and a little
	// more: the kernel truncates a longer one, which Recv then tells.
	oobSize = 1040
)

// ErrTooLong is Recv's answer to a message of more than MaxMessage bytes, and
// Send's when it is given one.
var ErrTooLong = errors.New("message is longer than " + strconv.Itoa(MaxMessage) + " bytes")

// ErrTooManyFDs is Send's answer to more than MaxFDs descriptors.
var ErrTooManyFDs = errors.New("message has more than " + strconv.Itoa(MaxFDs) + " descriptors")

// Pair gives the two ends of a new connection, both close-on-exec and blocking.
// The caller owns them.
func Pair() (a, b int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, os.NewSyscallError("socketpair", err)
	}
	return fds[0], fds[1], nil
}

// Send sends one message without blocking and without SIGPIPE. The descriptors
// stay the caller's. The error is a plain errno: EAGAIN when the buffer is full.
func Send(fd int, msg []byte, fds []int) error {
	if len(msg) > MaxMessage {
		return ErrTooLong
	}
	if len(fds) > MaxFDs {
		return ErrTooManyFDs
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		_, err := unix.SendmsgN(fd, msg, oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return err
		}
	}
}

// Received is one message. The descriptors, close-on-exec, belong to whoever
// called Recv.
type Received struct {
	Data []byte // within Buffers, until the next Recv
	FDs  []int
	// Lost: the sender passed more descriptors than arrived, because this
	// process can open no more (EMFILE) or they were more than MaxFDs.
	Lost bool
}

// Buffers are what Recv reads into. They are allocated on first use and reused.
type Buffers struct{ data, oob []byte }

// Recv takes one message. flags are those of recvmsg(2), such as MSG_DONTWAIT.
// The error is io.EOF when the other end is closed, ErrTooLong (the message is
// gone and its descriptors are closed), or a plain errno: EAGAIN when there is
// nothing.
func Recv(fd int, b *Buffers, flags int) (Received, error) {
	if b.data == nil {
		b.data, b.oob = make([]byte, MaxMessage), make([]byte, oobSize)
	}
	var n, oobn, got int
	for {
		var err error
		n, oobn, got, _, err = unix.Recvmsg(fd, b.data, b.oob, flags|unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Received{}, err
		}
		break
	}
	r := Received{Data: b.data[:n], Lost: got&unix.MSG_CTRUNC != 0, FDs: rights(b.oob[:oobn])}
	if got&unix.MSG_TRUNC != 0 {
		CloseAll(r.FDs)
		return Received{}, ErrTooLong
	}
	if n == 0 {
		// An empty message cannot be told from the end; nobody sends one.
		CloseAll(r.FDs)
		return Received{}, io.EOF
	}
	return r, nil
}

// rights gives all descriptors in a buffer of control messages.
func rights(oob []byte) []int {
	if len(oob) == 0 {
		return nil
	}
	// The kernel wrote it, and cuts a message off at its end, never within.
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var fds []int
	for i := range messages {
		if more, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, more...)
		}
	}
	return fds
}

// CloseAll closes descriptors.
func CloseAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
