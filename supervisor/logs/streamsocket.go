package logs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// streamSockets connects stdout and stderr to journald directly.
func (m *Manager) streamSockets(unit string) (Writers, error) {
	var w Writers
	var err error
	if w.Stdout, err = dialStream(m.streamSocket, unit, "stdout"); err != nil {
		return Writers{}, err
	}
	if w.Stderr, err = dialStream(m.streamSocket, unit, "stderr"); err != nil {
		_ = w.Stdout.Close()
		return Writers{}, err
	}
	return w, nil
}

// dialStream opens a stream of journald's stdout protocol: the header has one
// line each for identifier, unit, priority, whether "<N>" prefixes count, and
// whether to forward to syslog, kmsg and console. The service's lines follow.
func dialStream(path, unit, name string) (*os.File, error) {
	fail := func(err error) (*os.File, error) {
		return nil, fmt.Errorf("cannot open a journald stream for unit %s at %s (log.stream = \"pipe\" needs none): %w", unit, path, err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	f := os.NewFile(uintptr(fd), name)
	// A journald that hangs must not hang the start: a connection that does not
	// fit into its queue is refused after this.
	timeout := unix.Timeval{Sec: 5}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout)
	if err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		err = unix.Shutdown(fd, unix.SHUT_RD)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%s\n%s.service\n%d\n1\n0\n0\n0\n", unit, unit, defaultPriority)
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{})
	}
	if err != nil {
		_ = f.Close()
		return fail(err)
	}
	return f, nil
}
