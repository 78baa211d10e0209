package program

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The flags of OpMake.
const (
	MakeFile = 1 << iota // the last component is made as a file, not as a directory
	NoLinks              // a symbolic link on the way is ELOOP
)

// maxLinks is how many links are followed, as the kernel has it; maxSteps how
// many components are looked at, with those that links bring.
const (
	maxLinks = 40
	maxSteps = 4096
)

// walk is the memory of OpMake. It lies on the heap, beside the run.
type walk struct {
	rest     [2 * unix.PathMax]byte // what is still to go, from at to end
	link     [2 * unix.PathMax]byte
	done     [unix.PathMax]byte // how cur is reached from the root, without links
	name     [256]byte
	statx    [256]byte
	how      [3]uint64
	at, end  int
	doneLen  int
	cur      int32
	root     int32
	emptyStr byte
}

// make makes what is missing of a path (up to a NUL) inside a root: directories with mode
// 0755, and the last component as the flags say. Links are followed as if the
// root were "/", also those that lead to what is not there: that is made. Every
// component is opened by its name in a directory that is held open, so that
// changes meanwhile lead to errors or to other places of the root, never out of it.
//
// It runs between clone and execve: like fork it allocates nothing and calls
// nothing that may grow the stack.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (w *walk) make(root int32, path []byte, flags uint64) (e syscall.Errno) {
	var (
		fd, n    uintptr
		i        int
		links    int
		last     bool
		typ      uint16
		absolute bool
	)
	w.root, w.cur, w.at, w.end, w.doneLen = root, root, 0, 0, 0
	for w.end < len(path) && w.end < unix.PathMax-1 && path[w.end] != 0 {
		w.rest[w.end] = path[w.end]
		w.end++
	}
	for steps := 0; steps < maxSteps; steps++ {
		if !w.next() {
			w.leave()
			if w.name[255] != 0 {
				return syscall.ENAMETOOLONG
			}
			return 0
		}
		if w.name[0] == '.' && w.name[1] == 0 {
			continue
		}
		if w.name[0] == '.' && w.name[1] == '.' && w.name[2] == 0 {
			if e = w.up(); e != 0 {
				return e
			}
			continue
		}
		for i = w.at; i < w.end && w.rest[i] == '/'; i++ {
		}
		last = i == w.end

		w.how[0], w.how[2] = unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS
		fd, _, e = syscall.RawSyscall6(unix.SYS_OPENAT2, uintptr(w.cur), uintptr(unsafe.Pointer(&w.name)), uintptr(unsafe.Pointer(&w.how)), 24, 0, 0)
		if e == syscall.ENOENT {
			if last && flags&MakeFile != 0 {
				_, _, e = syscall.RawSyscall6(unix.SYS_MKNODAT, uintptr(w.cur), uintptr(unsafe.Pointer(&w.name)), unix.S_IFREG|0o644, 0, 0, 0)
			} else {
				_, _, e = syscall.RawSyscall(unix.SYS_MKDIRAT, uintptr(w.cur), uintptr(unsafe.Pointer(&w.name)), 0o755)
			}
			if e != 0 && e != syscall.EEXIST {
				w.leave()
				return e
			}
			w.at -= w.nameLen() // once more: it is opened now
			continue
		}
		if e == syscall.EINTR || e == syscall.EAGAIN {
			w.at -= w.nameLen()
			continue
		}
		if e != 0 {
			w.leave()
			return e
		}
		_, _, e = syscall.RawSyscall6(unix.SYS_STATX, fd, uintptr(unsafe.Pointer(&w.emptyStr)), unix.AT_EMPTY_PATH, unix.STATX_TYPE, uintptr(unsafe.Pointer(&w.statx)), 0)
		typ = *(*uint16)(unsafe.Pointer(&w.statx[28])) & unix.S_IFMT // stx_mode
		if e == 0 && typ != unix.S_IFLNK {
			if e = w.enter(int32(fd)); e != 0 {
				return e
			}
			continue
		}
		if e == 0 {
			if links++; links > maxLinks || flags&NoLinks != 0 {
				e = syscall.ELOOP
			}
		}
		if e == 0 {
			n, _, e = syscall.RawSyscall6(unix.SYS_READLINKAT, fd, uintptr(unsafe.Pointer(&w.emptyStr)), uintptr(unsafe.Pointer(&w.link)), unix.PathMax, 0, 0)
		}
		syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
		if e == 0 && (n == 0 || n >= unix.PathMax || int(n)+w.end-w.at > len(w.rest)) {
			e = syscall.ENAMETOOLONG
		}
		if e != 0 {
			w.leave()
			return e
		}
		absolute = w.link[0] == '/'
		for i = w.at; i < w.end; i++ {
			w.link[int(n)+i-w.at] = w.rest[i]
		}
		w.end = int(n) + w.end - w.at
		w.at = 0
		for i = 0; i < w.end; i++ {
			w.rest[i] = w.link[i]
		}
		if absolute {
			w.leave()
			w.cur, w.doneLen = w.root, 0
		}
	}
	w.leave()
	return syscall.ELOOP
}

// next puts the next component into name; false at the end, and, with the last
// byte of name set, when it is too long.
//
//go:nosplit
//go:norace
func (w *walk) next() bool {
	w.name[255] = 0
	for w.at < w.end && w.rest[w.at] == '/' {
		w.at++
	}
	n := 0
	for w.at < w.end && w.rest[w.at] != '/' {
		if n == 255 {
			w.name[255] = 1
			return false
		}
		w.name[n] = w.rest[w.at]
		n++
		w.at++
	}
	w.name[n] = 0
	return n > 0
}

//go:nosplit
//go:norace
func (w *walk) nameLen() int {
	n := 0
	for n < len(w.name) && w.name[n] != 0 {
		n++
	}
	return n
}

// leave closes the directory that the walk is in.
//
//go:nosplit
//go:norace
func (w *walk) leave() {
	if w.cur != w.root {
		syscall.RawSyscall(unix.SYS_CLOSE, uintptr(w.cur), 0, 0)
	}
}

// enter goes on in what name has been opened as.
//
//go:nosplit
//go:norace
func (w *walk) enter(fd int32) syscall.Errno {
	w.leave()
	w.cur = fd
	n := w.nameLen()
	if w.doneLen+1+n >= len(w.done) {
		w.leave()
		return syscall.ENAMETOOLONG
	}
	if w.doneLen > 0 {
		w.done[w.doneLen] = '/'
		w.doneLen++
	}
	for i := 0; i < n; i++ {
		w.done[w.doneLen] = w.name[i]
		w.doneLen++
	}
	return 0
}

// up goes to the directory above, which for the root is the root.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (w *walk) up() syscall.Errno {
	for w.doneLen > 0 && w.done[w.doneLen-1] != '/' {
		w.doneLen--
	}
	if w.doneLen > 0 {
		w.doneLen--
	}
	w.leave()
	w.cur = w.root
	if w.doneLen == 0 {
		return 0
	}
	w.done[w.doneLen] = 0
	w.how[0] = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	w.how[2] = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS
	fd, _, e := syscall.RawSyscall6(unix.SYS_OPENAT2, uintptr(w.root), uintptr(unsafe.Pointer(&w.done)), uintptr(unsafe.Pointer(&w.how)), 24, 0, 0)
	if e == 0 {
		w.cur = int32(fd)
	}
	return e
}
