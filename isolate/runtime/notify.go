package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The socket of sd_notify(3) that a container has where whoever calls the runtime
// has one (NOTIFY_SOCKET). It is not the caller's: of what a container says only
// READY=1 is passed on, since a caller takes other words for those of its own
// service. The directory is mounted in the container, and the socket is in it
// from the start until the word has come.
const (
	notifyEnv    = "NOTIFY_SOCKET"
	notifyDir    = "notify" // below the container's directory
	notifyName   = "notify.sock"
	notifyInside = "/run/notify"
)

// notifySocket is where the caller wants to be told: a path, or with @ before it
// an abstract name; "" is nowhere.
func notifySocket() string {
	to := os.Getenv(notifyEnv)
	if !strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "@") {
		return ""
	}
	return to
}

// withNotify adds the directory and the variable to the configuration.
func (c *creation) withNotify() {
	p := *c.spec.Process
	p.Env = append(slices.DeleteFunc(slices.Clone(p.Env), func(e string) bool { return strings.HasPrefix(e, notifyEnv+"=") }),
		notifyEnv+"="+notifyInside+"/"+notifyName)
	c.spec.Process = &p
	c.spec.Mounts = append(slices.Clone(c.spec.Mounts), specs.Mount{
		Destination: notifyInside, Type: "bind", Source: filepath.Join(c.rt.store.dir(c.id), notifyDir),
		Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"},
	})
}

// makeNotifyDir makes the directory, for users of any id.
func (l *locked) makeNotifyDir() error {
	dir := l.file(notifyDir)
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		return fmt.Errorf("cannot make the directory of the notify socket: %w", err)
	}
	return nil
}

// notifier waits for a container's word. A nil notifier is none.
type notifier struct {
	fd int
	to string // the caller's socket
}

// newNotifier makes the socket in a container's directory, for users of any id.
// There is none where the caller or the container has none.
func (l *locked) newNotifier() (*notifier, error) {
	to := notifySocket()
	if to == "" {
		return nil, nil
	}
	dir, err := unix.Open(l.file(notifyDir), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, nil
	}
	n := &notifier{-1, to}
	if err == nil {
		defer unix.Close(dir)
		n.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	}
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir, notifyName) // the real one may be longer than an address can be
	if err == nil {
		err = unix.Bind(n.fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Chmod(path, 0o777)
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("cannot make the container's notify socket: %w", err)
	}
	return n, nil
}

func (n *notifier) close() {
	if n != nil {
		closeFD(n.fd)
		n.fd = -1
	}
}

// wait waits until the container says that it is ready, and passes that on, or
// until its process, of that pid, has ended.
func (n *notifier) wait(pid, pidfd int) error {
	if n == nil {
		return nil
	}
	message := make([]byte, 4096)
	for {
		size, err := unix.Read(n.fd, message)
		switch {
		case err == unix.EAGAIN:
			p := []unix.PollFd{{Fd: int32(n.fd), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
			if _, err := unix.Poll(p, -1); err != nil && err != unix.EINTR {
				return fmt.Errorf("cannot wait until the container is ready: poll: %w", err)
			}
			if p[0].Revents == 0 && p[1].Revents != 0 {
				return nil
			}
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("cannot wait until the container is ready: %w", err)
		case slices.Contains(strings.Split(string(message[:size]), "\n"), "READY=1"):
			return n.tell(fmt.Sprintf("READY=1\nMAINPID=%d\n", pid))
		}
	}
}

// begin is wait in the background. The channel gives its outcome.
func (n *notifier) begin(pid, pidfd int) <-chan error {
	told := make(chan error, 1)
	if n == nil {
		told <- nil
		return told
	}
	go func() { told <- n.wait(pid, pidfd) }()
	return told
}

// tell notifies the caller.
func (n *notifier) tell(message string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		if err = connect(fd, n.to); err == nil {
			_, err = unix.Write(fd, []byte(message))
		}
	}
	if err != nil {
		return fmt.Errorf("cannot tell %s that the container is ready: %w", n.to, err)
	}
	return nil
}
