// Package uevent listens to what the kernel tells of devices that come and go
// (NETLINK_KOBJECT_UEVENT, lib/kobject_uevent.c), for machines without udev.
package uevent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Event is one message of the kernel.
type Event struct {
	Action string // "add", "change", "remove", "bind", …; "" if messages were lost
	Path   string // below /sys
	Env    map[string]string
}

// Lost is told instead of messages for which there was no room: whoever counts on
// having seen all looks at /sys again.
func (e *Event) Lost() bool { return e.Action == "" }

// parse reads a message: "add@/devices/…", then KEY=value, each with a NUL after it.
func parse(message []byte) (Event, bool) {
	head, rest, _ := strings.Cut(string(message), "\x00")
	action, path, ok := strings.Cut(head, "@")
	if !ok || action == "" || !strings.HasPrefix(path, "/") {
		return Event{}, false
	}
	e := Event{Action: action, Path: path, Env: map[string]string{}}
	for field := range strings.SplitSeq(rest, "\x00") {
		if key, value, ok := strings.Cut(field, "="); ok {
			e.Env[key] = value
		}
	}
	return e, true
}

// Socket receives events from when it was made. Close it after use; Next is for
// one goroutine at a time.
type Socket struct {
	file *os.File
	buf  []byte
}

// kernelGroup is the multicast group of the kernel's own messages; 2 is udev's.
const kernelGroup = 1

// receiveBuffer is room for the messages of a machine that starts, in bytes.
const receiveBuffer = 4 << 20

// Listen opens a socket. It hears the devices of the machine in the initial
// network namespace only.
func Listen() (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for devices: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // less room only loses sooner
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot listen for devices: %w", err)
	}
	return &Socket{file: os.NewFile(uintptr(fd), "uevents"), buf: make([]byte, 16<<10)}, nil // UEVENT_BUFFER_SIZE is 2048
}

// Close closes the socket; a Next under way ends with an error.
func (s *Socket) Close() error { return s.file.Close() }

// Next waits for an event, or until ctx ends, which it then returns the error of.
func (s *Socket) Next(ctx context.Context) (Event, error) {
	// A deadline is the way to end a read; it is taken back before the next.
	if err := s.file.SetReadDeadline(time.Time{}); err != nil {
		return Event{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := s.file.SyscallConn()
	if err != nil {
		return Event{}, err
	}
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), s.buf, 0)
			return failed != unix.EAGAIN
		})
		if ctx.Err() != nil {
			return Event{}, ctx.Err()
		}
		if err == nil {
			err = failed
		}
		switch {
		case err == unix.EINTR:
			continue
		case errors.Is(err, unix.ENOBUFS):
			return Event{}, nil
		case err != nil:
			return Event{}, fmt.Errorf("cannot listen for devices: %w", err)
		}
		sender, ok := from.(*unix.SockaddrNetlink)
		if !ok || sender.Pid != 0 { // not the kernel
			continue
		}
		if e, ok := parse(s.buf[:n]); ok {
			return e, nil
		}
	}
}
