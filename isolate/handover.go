package isolate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// makeHandover makes the socket over which the child hands the program's process
// over, and gives the child's end.
//
// A process of the container may get hold of that end for a moment (see tail),
// and must not make us believe in another process. So the kernel tells with each
// message who has sent it (SCM_CREDENTIALS, unix(7)): nobody inside can give
// itself the child's pid, which is none of theirs.
func (pr *Prepared) makeHandover() (int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socketpair", err)
	}
	if err := errors.Join(unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1), unix.SetNonblock(fds[0], true)); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return -1, fmt.Errorf("cannot make a socket: %w", err)
	}
	pr.handover = os.NewFile(uintptr(fds[0]), regHandover)
	return fds[1], nil
}

// ErrSetupEnded is the end of a set-up without a process of the program; the
// status tells why.
var ErrSetupEnded = errors.New("the set-up has ended")

// HandsOver tells whether the program gets a process of its own at the end of
// the set-up, because it enters a PID namespace: the one that was forked is then
// no more than the means, and ends.
func (pr *Prepared) HandsOver() bool { return pr.program.Tail != nil && pr.program.Tail.BornLast }

// Final waits for the process in which the program is executed, of a Prepared
// that HandsOver and that was forked as forked, which is not reaped yet. It waits
// at the gate and is a child of the same parent. The caller owns the pidfd, which
// is close-on-exec.
//
// A set-up that fails gives the *StepError that Wait would give, or, where the
// caller reads the status itself (Files.Status), ErrSetupEnded;
// os.ErrDeadlineExceeded comes when it takes too long. It may then still go on:
// the caller ends the forked process. A program's process that was forked but not
// handed over ends at the gate.
//
// The descriptors that the child has are closed here as by Launched.
func (pr *Prepared) Final(forked int, deadline time.Time) (pid, pidfd int, err error) {
	pr.Launched()
	pr.mu.Lock()
	handover := pr.handover
	pr.mu.Unlock()
	if handover == nil {
		return 0, -1, errors.New("cannot wait for the program's process: the start was closed")
	}
	if err := handover.SetReadDeadline(deadline); err != nil {
		return 0, -1, fmt.Errorf("cannot wait for the program's process: %w", err)
	}
	pidfd, err = receiveProcess(handover, forked)
	if err == io.EOF {
		if pr.Status() != nil {
			if err := pr.Wait(deadline); err != nil {
				return 0, -1, err
			}
		}
		err = ErrSetupEnded
	}
	if err == nil {
		pid, err = pidOf(pidfd)
	}
	if err != nil {
		if pidfd >= 0 {
			unix.Close(pidfd)
		}
		return 0, -1, fmt.Errorf("cannot get at the program's process: %w", err)
	}
	return pid, pidfd, nil
}

// receiveProcess receives a pidfd that the process from has sent; io.EOF when
// nobody is there any more who could send one.
func receiveProcess(handover *os.File, from int) (pidfd int, err error) {
	conn, err := handover.SyscallConn()
	if err != nil {
		return -1, err
	}
	data, control := make([]byte, 8), make([]byte, unix.CmsgSpace(4)+unix.CmsgSpace(unix.SizeofUcred))
	n, cn, flags := 0, 0, 0
	var recvErr error
	err = conn.Read(func(fd uintptr) bool {
		n, cn, flags, _, recvErr = unix.Recvmsg(int(fd), data, control, unix.MSG_CMSG_CLOEXEC)
		return recvErr != unix.EAGAIN && recvErr != unix.EINTR
	})
	if err == nil {
		err = os.NewSyscallError("recvmsg", recvErr)
	}
	if err != nil {
		return -1, err
	}
	if n == 0 && cn == 0 {
		return -1, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	if err != nil {
		return -1, err
	}
	var fds []int
	var sender *unix.Ucred
	for i := range messages {
		if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, got...)
		}
		if got, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			sender = got
		}
	}
	if flags&unix.MSG_CTRUNC != 0 || len(fds) != 1 || sender == nil || int(sender.Pid) != from {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return -1, errors.New("what came over the handover socket does not come from the process that sets it up")
	}
	return fds[0], nil
}

// pidOf gives the pid of a pidfd's process, also of one that has ended, as long
// as it was not reaped; then it is ESRCH.
func pidOf(pidfd int) (int, error) {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(info)) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			if pid, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && pid > 0 {
				return pid, nil
			}
		}
	}
	return 0, unix.ESRCH
}
