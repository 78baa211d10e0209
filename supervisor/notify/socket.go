package notify

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// maxMessage is the longest datagram that is taken; the specification asks
	// for 4096 bytes.
	maxMessage = 16 << 10
	maxFiles   = 253 // SCM_MAX_FD, the most that a message can carry
)

// Socket receives the messages of one incarnation. Receive is called by one
// goroutine at a time; everything else is safe for concurrent use.
type Socket struct {
	file *os.File
	data []byte
	oob  []byte
}

// Listen makes a socket, and its file name in the directory dir, to which anyone
// may write who gets there: the directory's mode, and who has the file bound into
// a container, decide that. An older file of that name is replaced.
func Listen(dir *os.File, name string) (*Socket, error) {
	fail := func(op string, err error) (*Socket, error) {
		return nil, fmt.Errorf("cannot make the notification socket %s: %s: %w", name, op, err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail("socket", err)
	}
	s := newSocket(os.NewFile(uintptr(fd), "notify "+name))
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		s.Close()
		return fail("SO_PASSCRED", err)
	}
	// From Linux 6.5 on.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1); err != nil && err != unix.ENOPROTOOPT {
		s.Close()
		return fail("SO_PASSPIDFD", err)
	}
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil && err != unix.ENOENT {
		s.Close()
		return fail("unlink", err)
	}
	// A path through the descriptor is never too long for a socket's address.
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + name}); err != nil {
		s.Close()
		return fail("bind", err)
	}
	if err := unix.Fchmodat(int(dir.Fd()), name, 0o666, 0); err != nil {
		s.Close()
		return fail("chmod", err)
	}
	return s, nil
}

// Adopt goes on with the socket of an earlier process. It owns file from now on.
func Adopt(file *os.File) *Socket { return newSocket(file) }

func newSocket(file *os.File) *Socket {
	return &Socket{
		file: file, data: make([]byte, maxMessage+1),
		oob: make([]byte, unix.CmsgSpace(maxFiles*4)+unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4)),
	}
}

// File is the socket's descriptor, which stays the Socket's.
func (s *Socket) File() *os.File { return s.file }

// Close ends the socket, and Wait and Receive with an error.
func (s *Socket) Close() { s.file.Close() }

// Waiting tells whether there is something that Receive has not taken yet.
func (s *Socket) Waiting() bool {
	waiting := false
	conn, err := s.file.SyscallConn()
	if err == nil {
		_ = conn.Control(func(fd uintptr) {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(p, 0)
			waiting = err == nil && n > 0 && p[0].Revents&unix.POLLIN != 0
		})
	}
	return waiting // closed: nothing
}

// Wait returns when there is something to receive, or an error when nothing will
// come any more.
func (s *Socket) Wait() error {
	conn, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
}

// ErrMalformed is a datagram that is too long, carries too many descriptors, or
// does not say who sent it. It was taken and dropped; the next may be received.
var ErrMalformed = errors.New("a malformed message")

// Receive waits for the next message. The caller closes it (Message.Close). After
// an error other than ErrMalformed nothing will come any more.
func (s *Socket) Receive() (*Message, error) {
	conn, err := s.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n, oobn, flags int
	var failed error
	err = conn.Read(func(fd uintptr) bool {
		for {
			n, oobn, flags, _, failed = unix.Recvmsg(int(fd), s.data, s.oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
			if failed != unix.EINTR {
				return failed != unix.EAGAIN
			}
		}
	})
	if err == nil && failed != nil {
		err = fmt.Errorf("cannot receive notifications: %w", failed)
	}
	if err != nil {
		return nil, err
	}
	files, sender, err := control(s.oob[:oobn])
	if err == nil && (flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || n > maxMessage || sender.PID == 0) {
		err = ErrMalformed
	}
	if err != nil {
		(&Message{Files: files, Sender: sender}).Close()
		return nil, err
	}
	m := parse(string(s.data[:n]))
	m.Files, m.Sender = files, sender
	return &m, nil
}

// control reads what the kernel tells beside a message.
func control(oob []byte) (files []*os.File, sender Sender, err error) {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, sender, ErrMalformed
	}
	for i := range all {
		c := &all[i]
		if c.Header.Level != unix.SOL_SOCKET {
			continue
		}
		switch c.Header.Type {
		case unix.SCM_RIGHTS:
			fds, err := unix.ParseUnixRights(c)
			if err != nil {
				return files, sender, ErrMalformed
			}
			for _, fd := range fds {
				files = append(files, os.NewFile(uintptr(fd), "passed"))
			}
		case unix.SCM_CREDENTIALS:
			cred, err := unix.ParseUnixCredentials(c)
			if err != nil {
				return files, sender, ErrMalformed
			}
			sender.PID, sender.UID = int(cred.Pid), cred.Uid
		case unix.SCM_PIDFD:
			fds, err := unix.ParseUnixRights(&unix.SocketControlMessage{
				Header: unix.Cmsghdr{Level: unix.SOL_SOCKET, Type: unix.SCM_RIGHTS, Len: c.Header.Len}, Data: c.Data,
			})
			if err == nil && len(fds) == 1 && fds[0] >= 0 {
				sender.pidfd = os.NewFile(uintptr(fds[0]), "pidfd of the sender")
			}
		}
	}
	return files, sender, nil
}
