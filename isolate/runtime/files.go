package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

func closeFD(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

// pidFile is a file that gets the pid of a process. It is opened beside its
// place before anything of the container runs, and put there when the pid is in it.
type pidFile struct {
	file *os.File
	path string
}

// newPIDFile begins one; path "" is none.
func newPIDFile(path string) (*pidFile, error) {
	if path == "" {
		return nil, nil
	}
	next := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), os.Getpid()))
	file, err := os.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot make the pid file: %w", err)
	}
	return &pidFile{file, path}, nil
}

// write puts the file with the pid in its place.
func (p *pidFile) write(pid int) error {
	if p == nil {
		return nil
	}
	_, err := p.file.WriteString(strconv.Itoa(pid))
	if err == nil {
		err = os.Rename(p.file.Name(), p.path)
	}
	if err != nil {
		return fmt.Errorf("cannot write the pid file: %w", err)
	}
	return nil
}

// close removes what was begun, if it is not in its place. Whoever owns p calls it.
func (p *pidFile) close() {
	if p == nil {
		return
	}
	p.file.Close()
	_ = os.Remove(p.file.Name())
}

// Inherited counts the descriptors from 3 on that this process was started with,
// up to the first one that is not open, and has none of any number go on to
// programs that it executes. It is called before anything is opened.
func Inherited() (n int, err error) {
	for n < maxPassed {
		flags, err := unix.FcntlInt(uintptr(3+n), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 { // Go's own are close-on-exec
			break
		}
		n++
	}
	if err := unix.CloseRange(3, ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 0, fmt.Errorf("cannot keep inherited descriptors from being passed on: close_range: %w", err)
	}
	return n, nil
}

// passedFiles are the descriptors beyond 0–2 that a container gets: those of
// socket activation (LISTEN_FDS of sd_listen_fds(3)), and n more. env is what
// the process is told about the former.
func (rt *Runtime) passedFiles(n int) (files []*os.File, env []string, err error) {
	if n < 0 {
		return nil, nil, fmt.Errorf("cannot pass %d descriptors on", n)
	}
	listen := 0
	if v := os.Getenv("LISTEN_FDS"); v != "" {
		if listen, err = strconv.Atoi(v); err != nil || listen < 0 {
			return nil, nil, fmt.Errorf("cannot pass LISTEN_FDS on: %q is not a number of descriptors", v)
		}
		env = []string{"LISTEN_FDS=" + v, "LISTEN_PID=1"}
		if names := os.Getenv("LISTEN_FDNAMES"); names != "" {
			env = append(env, "LISTEN_FDNAMES="+names)
		}
	}
	if n > maxPassed || listen > maxPassed-n {
		return nil, nil, fmt.Errorf("cannot pass more than %d descriptors on", maxPassed)
	}
	if listen+n > rt.inherited {
		return nil, nil, fmt.Errorf("cannot pass descriptor %d on: it was not open when this command was started", 3+rt.inherited)
	}
	for fd := 3; fd < 3+listen+n; fd++ {
		files = append(files, os.NewFile(uintptr(fd), "passed"+strconv.Itoa(fd)))
	}
	return files, env, nil
}

// maxPassed is how many descriptors a Spec may pass on.
const maxPassed = 200
