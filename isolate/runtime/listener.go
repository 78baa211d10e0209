package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/isolate"
	"berth/isolate/oci"
)

// listener hands the seccomp listener of a process on to the agent that decides
// on its system calls. The process sends it here, since it does not know what
// the agent is to be told with it. A nil listener is none.
type listener struct {
	agent    *os.File // connected
	near     *os.File
	child    *os.File // the process sends over this
	metadata string
}

// newListener connects to the agent, before anything of the container runs.
func newListener(to *oci.Listener) (*listener, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket for the seccomp agent: %w", err)
	}
	if err := connect(fd, to.Path); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot connect to the seccomp agent: dial unix %s: %w", to.Path, err)
	}
	l := &listener{agent: os.NewFile(uintptr(fd), to.Path), metadata: to.Metadata}
	if l.near, l.child, err = isolate.ListenerPair(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *listener) far() *os.File {
	if l == nil {
		return nil
	}
	return l.child
}

// receive takes the filter's listener from the process, which has been forked.
// An error means that the process has failed: its reports say why. The file is
// the caller's; nil where there is no listener.
func (l *listener) receive(deadline time.Time) (*os.File, error) {
	if l == nil {
		return nil, nil
	}
	l.child.Close() // else the end of the process' own would not be noticed
	l.child = nil
	return isolate.ReceiveListener(l.near, deadline)
}

// hand sends the filter's listener to the agent, in the form of the
// runtime-spec's ContainerProcessState, and closes it: from then on the agent
// answers. pid is the process', state the container's.
func (l *listener) hand(filter *os.File, pid int, state specs.State) error {
	if filter == nil {
		return nil
	}
	defer filter.Close()
	text, err := json.Marshal(specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: l.metadata, State: state,
	})
	if err == nil {
		err = unix.Sendmsg(int(l.agent.Fd()), text, unix.UnixRights(int(filter.Fd())), nil, unix.MSG_NOSIGNAL)
	}
	if err == nil {
		err = l.agent.Close() // there is one message on each connection
		l.agent = nil
	}
	if err != nil {
		return fmt.Errorf("cannot hand the seccomp listener to its agent: %w", err)
	}
	return nil
}

func (l *listener) close() {
	if l == nil {
		return
	}
	for _, f := range []*os.File{l.agent, l.near, l.child} {
		if f != nil {
			f.Close()
		}
	}
}

// socketPair gives two connected stream sockets.
func socketPair(name string) (near, far *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make sockets for the %s: %w", name, err)
	}
	return os.NewFile(uintptr(pair[0]), name), os.NewFile(uintptr(pair[1]), name), nil
}

// receiveDescriptor takes one descriptor that has been sent already; the caller owns it.
func receiveDescriptor(from *os.File) (int, error) {
	data, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(from.Fd()), data, control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	for i := range messages {
		var fds []int
		if fds, err = unix.ParseUnixRights(&messages[i]); err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return -1, errors.Join(errors.New("no descriptor came"), err)
}
