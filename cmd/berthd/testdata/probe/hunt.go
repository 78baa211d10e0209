package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func ptr(s string) unsafe.Pointer {
	b, err := unix.BytePtrFromString(s)
	if err != nil {
		panic(err)
	}
	return unsafe.Pointer(b)
}

var buffer [64]byte

func iovec() unix.Iovec { return unix.Iovec{Base: &buffer[0], Len: 8} }

const seize = 0x4206 // PTRACE_SEIZE

// prey is one process that entered the container, as the hunter saw it.
type prey struct {
	pid     int
	refused int             // attempts that were refused
	got     map[string]bool // what succeeded, each once
}

func (p *prey) attempt(what string, err error, got string) {
	switch err {
	case nil:
		p.got[what+" "+got] = true
	case unix.EPERM, unix.EACCES:
		p.refused++
	}
}

// hunt goes for every new process of its PID namespace from the moment it is
// there, and prints what it got hold of. The arguments are addresses that are
// mapped in berthd and in nothing that the container executes, "text" and
// "data", and a mark in the environment of berthd.
func hunt(args []string) {
	runtime.LockOSThread() // a tracer is a thread
	text, _ := strconv.ParseUint(args[0], 0, 64)
	data, _ := strconv.ParseUint(args[1], 0, 64)
	mark := []byte(args[2])
	var root unix.Stat_t
	if err := unix.Stat("/", &root); err != nil {
		try("stat /", err)
	}
	say("hunts", os.Getpid())
	count := 0
	for next := ownThreads() + 1; ; {
		// Ids are given in order: the next process has the next free one.
		pid := next
		for unix.Kill(pid, 0) == unix.ESRCH {
			if newest := newestPid(); newest >= pid {
				pid = newest
			}
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", pid)); err == nil {
			next = pid + 1 // a thread of its own
			continue
		}
		p := &prey{pid: pid, got: map[string]bool{}}
		look := func() {
			p.memory(uintptr(text), uintptr(data), mark)
			p.files(&root)
			p.descriptors()
		}
		if count++; count%2 == 0 {
			p.trace(look)
		}
		for unix.Kill(pid, 0) != unix.ESRCH {
			look()
		}
		var got []string
		for g := range p.got {
			got = append(got, g)
		}
		say("prey", fmt.Sprintf("%d refused %d got %q", pid, p.refused, got))
		next = pid + 1
	}
}

// ownThreads gives the highest thread id of this process: threads take ids too.
func ownThreads() int {
	highest := 0
	for _, t := range glob("/proc/self/task/*") {
		n, _ := strconv.Atoi(t[strings.LastIndexByte(t, '/')+1:])
		highest = max(highest, n)
	}
	return highest
}

// newestPid gives the highest id of another process, 0 for none.
func newestPid() int {
	pids := processes()
	if n := pids[len(pids)-1]; n != os.Getpid() {
		return n
	}
	return 0
}

// memory reads and writes where only berthd has something.
func (p *prey) memory(text, data uintptr, mark []byte) {
	_, err := unix.ProcessVMReadv(p.pid, []unix.Iovec{iovec()}, []unix.RemoteIovec{{Base: text, Len: 8}}, 0)
	p.attempt("process_vm_readv", err, fmt.Sprintf("%q", buffer[:8]))
	_, err = unix.ProcessVMWritev(p.pid, []unix.Iovec{iovec()}, []unix.RemoteIovec{{Base: data, Len: 8}}, 0)
	p.attempt("process_vm_writev", err, "")
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/mem", p.pid), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil { // after the program was executed that is no fault
		n, readErr := unix.Pread(fd, buffer[:8], int64(text))
		unix.Close(fd)
		if readErr != nil || n < 8 {
			err = unix.EFAULT
		}
	}
	p.attempt("mem", err, fmt.Sprintf("%q", buffer[:8]))
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
	if err != nil {
		p.attempt("environ", unwrap(err), "")
	} else if bytes.Contains(env, mark) {
		p.attempt("environ", nil, "with the mark")
	}
}

// files opens what is behind the links that lead to files.
func (p *prey) files(root *unix.Stat_t) {
	var st unix.Stat_t
	exe := fmt.Sprintf("/proc/%d/exe", p.pid)
	fd, err := unix.Open(exe, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	got := ""
	if err == nil {
		_ = unix.Fstat(fd, &st)
		link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)) // of what was opened, not of what it is by now
		unix.Close(fd)
		got = fmt.Sprintf("%d:%d %s", st.Dev, st.Ino, link)
	}
	p.attempt("exe", err, got)
	for _, name := range []string{"root", "cwd"} { // both are / in a container
		err := unix.Stat(fmt.Sprintf("/proc/%d/%s/", p.pid, name), &st)
		if err == nil && st.Dev == root.Dev && st.Ino == root.Ino {
			continue
		}
		p.attempt(name, err, fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	}
}

// descriptors lists the process's, and fetches some. 0 to 2 are what it was given.
func (p *prey) descriptors() {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
	p.attempt("fd", unwrap(err), "")
	delete(p.got, "fd ")
	for _, e := range list {
		if n, _ := strconv.Atoi(e.Name()); n > 2 {
			if link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.pid, n)); err == nil {
				p.got["fd "+link] = true
			}
		}
	}
	pidfd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(pidfd)
	for n := 3; n < 12; n++ {
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		link := ""
		if err == nil {
			link, _ = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			unix.Close(fd)
		}
		p.attempt("pidfd_getfd", err, link)
	}
}

// trace attaches to the process, stops it, and looks at what it got hold of.
// The event of an execve tells nothing: it comes when the program is in place.
func (p *prey) trace(look func()) {
	for {
		_, _, errno := unix.Syscall6(unix.SYS_PTRACE, seize, uintptr(p.pid), 0, 0, 0, 0)
		if errno == unix.ESRCH {
			return
		}
		if errno == 0 {
			break
		}
		p.attempt("ptrace", errno, "")
	}
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_INTERRUPT, uintptr(p.pid), 0, 0, 0, 0); errno != 0 {
		return
	}
	for {
		var ws unix.WaitStatus
		n, err := unix.Wait4(p.pid, &ws, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == p.pid && !ws.Stopped() {
			return // it has ended
		}
		break
	}
	look()
	_ = unix.PtraceDetach(p.pid)
}

func unwrap(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = u.Unwrap()
	}
}
