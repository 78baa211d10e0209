// Package listen opens the sockets and FIFOs of [[socket]] on the host, and tells
// when there is traffic on them.
//
// Files of sockets are made only where nobody but the users that berth trusts
// could put something else in their place: in a directory that, up to the root,
// belongs to root or to berth's own user, and in which others may write only if it
// is sticky (/tmp). What is there already is replaced only if it is a socket that
// nobody listens on, and a FIFO is taken as it is.
package listen

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"berth/units"

	"golang.org/x/sys/unix"
)

// Socket is one that is open. It belongs to one goroutine at a time.
type Socket struct {
	File *os.File // the listening descriptor: the owner's to duplicate, ours to close
	path string   // of its file; ""
	id   fileID   // of that
}

type fileID struct{ dev, ino uint64 }

// Open opens what s says. The descriptor is close-on-exec and blocking.
func Open(s units.Socket) (*Socket, error) {
	at, err := units.ParseListen(s.Listen)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", s.Listen, err)
	}
	var out *Socket
	switch {
	case s.Type == "fifo":
		out, err = openFIFO(s, at.Path)
	case at.Path != "":
		out, err = openPath(s, at.Path)
	case at.Abstract != "":
		out, err = open(s, unix.AF_UNIX, &unix.SockaddrUnix{Name: "@" + at.Abstract}, nil)
	case at.Addr.IsValid():
		out, err = open(s, family(at.Addr.Addr()), address(at.Addr), nil)
	default:
		out, err = open(s, unix.AF_INET6, address(netip.AddrPortFrom(netip.IPv6Unspecified(), at.Port)), nil)
		if errors.Is(err, unix.EAFNOSUPPORT) && !s.V6Only { // a kernel without IPv6
			out, err = open(s, unix.AF_INET, address(netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port)), nil)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w%s", s.Listen, err, hint(s, err))
	}
	return out, nil
}

func hint(s units.Socket, err error) string {
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL) && !s.FreeBind:
		return "; free-bind = true does not wait for the address"
	case errors.Is(err, unix.EADDRINUSE):
		return "; who does? ss -lnp tells"
	}
	return ""
}

// Adopt takes over what an earlier supervisor opened for s.
func Adopt(s units.Socket, file *os.File) *Socket {
	out := &Socket{File: file}
	if at, err := units.ParseListen(s.Listen); err == nil && at.Path != "" {
		out.remember(at.Path)
	}
	return out
}

// remember notes the file that is to go with the socket.
func (s *Socket) remember(path string) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) == nil {
		s.path, s.id = path, fileID{uint64(st.Dev), st.Ino}
	}
}

// Close closes the socket and removes its file, unless another one is there now.
// Programs that have the descriptor keep it.
func (s *Socket) Close() {
	s.File.Close()
	var st unix.Stat_t
	if s.path != "" && unix.Lstat(s.path, &st) == nil && (fileID{uint64(st.Dev), st.Ino}) == s.id {
		_ = unix.Unlink(s.path) // it may be gone
	}
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func address(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// open makes a socket, binds it and listens. prepare, if given, is called before bind.
func open(s units.Socket, domain int, addr unix.Sockaddr, prepare func(fd int) error) (*Socket, error) {
	kind := map[string]int{"stream": unix.SOCK_STREAM, "datagram": unix.SOCK_DGRAM, "seqpacket": unix.SOCK_SEQPACKET}[s.Type]
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	fail := func(call string, err error) (*Socket, error) {
		unix.Close(fd)
		return nil, os.NewSyscallError(call, err)
	}
	type option struct {
		level, name, value int
		set                bool
	}
	v6only := 0
	if s.V6Only {
		v6only = 1
	}
	for _, o := range []option{
		{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only, domain == unix.AF_INET6},
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1, domain != unix.AF_UNIX && kind == unix.SOCK_STREAM},
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, s.ReusePort},
		{unix.IPPROTO_IP, unix.IP_FREEBIND, 1, s.FreeBind},
	} {
		if o.set {
			if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
				return fail("setsockopt", err)
			}
		}
	}
	if prepare != nil {
		if err := prepare(fd); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	if err := unix.Bind(fd, addr); err != nil {
		return fail("bind", err)
	}
	if s.Type != "datagram" {
		if err := unix.Listen(fd, s.Backlog); err != nil {
			return fail("listen", err)
		}
	}
	return &Socket{File: os.NewFile(uintptr(fd), s.Listen)}, nil
}

// openPath makes a socket with a file. Nobody can connect before the file has its
// owner and mode.
func openPath(s units.Socket, path string) (*Socket, error) {
	sticky, err := trusted(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if err := clear(s, path, sticky); err != nil {
		return nil, err
	}
	out, err := open(s, unix.AF_UNIX, &unix.SockaddrUnix{Name: path}, func(fd int) error {
		return os.NewSyscallError("fchmod", unix.Fchmod(fd, 0))
	})
	if err != nil {
		return nil, err
	}
	out.remember(path)
	if err := give(s, path); err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

// openFIFO makes a FIFO, or takes one that is there. It is opened for reading and
// writing, so that its end is never seen.
func openFIFO(s units.Socket, path string) (*Socket, error) {
	sticky, err := trusted(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if err := unix.Mkfifo(path, 0); err != nil && err != unix.EEXIST {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, fmt.Errorf("%s is there, and is no FIFO: remove it", path)
	}
	if sticky && st.Uid != uint32(os.Geteuid()) {
		return nil, fmt.Errorf("%s is there, and is user %d's: remove it", path, st.Uid)
	}
	if err := give(s, path); err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	out := &Socket{File: os.NewFile(uintptr(fd), path)}
	out.remember(path)
	return out, nil
}

// give sets the owner and the permissions of a file that was made.
func give(s units.Socket, path string) error {
	uid, err := id(s.User, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	if err != nil {
		return err
	}
	gid, err := id(s.Group, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	if err != nil {
		return err
	}
	if uid >= 0 || gid >= 0 {
		if err := unix.Lchown(path, uid, gid); err != nil {
			return &os.PathError{Op: "chown", Path: path, Err: err}
		}
	}
	mode, err := strconv.ParseUint(s.Mode, 8, 32)
	if err != nil {
		return fmt.Errorf("the mode %q is not octal", s.Mode)
	}
	if err := unix.Chmod(path, uint32(mode)); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	return nil
}

// id gives the number of a user or group of the host; -1 for none.
func id(name string, find func(string) (string, error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	number, err := find(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(number)
}

// trusted refuses a directory in which somebody who is not trusted could replace
// what we make, and tells whether others may make files beside ours.
func trusted(dir string) (sticky bool, err error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	for first := true; ; first = false {
		var st unix.Stat_t
		if err := unix.Lstat(real, &st); err != nil {
			return false, &os.PathError{Op: "lstat", Path: real, Err: err}
		}
		open := st.Mode&0o022 != 0
		switch {
		case st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return false, fmt.Errorf("%s is no directory", real)
		case st.Uid != 0 && st.Uid != uint32(os.Geteuid()):
			return false, fmt.Errorf("the directory %s belongs to user %d, who could put something else in the socket's place", real, st.Uid)
		case open && st.Mode&unix.S_ISVTX == 0:
			return false, fmt.Errorf("others may write to the directory %s (mode %04o), and could put something else in the socket's place", real, st.Mode&0o7777)
		}
		if first {
			sticky = open
		}
		if real == "/" {
			return sticky, nil
		}
		real = filepath.Dir(real)
	}
}

// clear removes a socket that nobody listens on.
func clear(s units.Socket, path string, sticky bool) error {
	var st unix.Stat_t
	switch err := unix.Lstat(path, &st); {
	case err == unix.ENOENT:
		return nil
	case err != nil:
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return fmt.Errorf("%s is there, and is no socket: remove it", path)
	case sticky && st.Uid != uint32(os.Geteuid()):
		return fmt.Errorf("%s is there, and is user %d's: remove it", path, st.Uid)
	}
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
		fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		unix.Close(fd)
		switch err {
		case unix.EPROTOTYPE: // another kind of socket
			continue
		case unix.ECONNREFUSED, unix.ENOENT:
			if err := unix.Unlink(path); err != nil && err != unix.ENOENT {
				return &os.PathError{Op: "unlink", Path: path, Err: err}
			}
			return nil
		case nil, unix.EAGAIN:
			return os.NewSyscallError("bind", unix.EADDRINUSE)
		default:
			return os.NewSyscallError("connect", err)
		}
	}
	return fmt.Errorf("%s is there, and is a socket of an unknown kind: remove it", path)
}
