package emergency

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"berth/supervisor/terminal"

	"golang.org/x/sys/unix"
)

// shells are tried in this order: sulogin asks for root's password first. Each is
// looked for in the directories of PATH.
var shells = [...][]string{{"sulogin"}, {"sh"}, {"busybox", "sh"}}

// findShell gives the arguments of the first there is, the first of them its path.
func findShell() []string {
	for _, argv := range shells {
		for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
			path := dir + "/" + argv[0]
			if strings.HasPrefix(path, "/") && unix.Access(path, unix.X_OK) == nil {
				return append([]string{path}, argv[1:]...)
			}
		}
	}
	return nil
}

// ended tells that a console's shell has.
type ended struct {
	console *console
	status  syscall.WaitStatus
	lived   time.Duration
}

// serve runs the program on each console and returns when one of them has ended,
// after it has ended the others. One that fails at once cannot run on that console
// and does not count while another can.
func serve(consoles []*console, program []string) error {
	defer closeAll(consoles)
	over := make(chan ended, len(consoles))
	running := 0
	var failed error
	for _, c := range consoles {
		if err := c.start(program, over); err != nil {
			failed = err
			continue
		}
		running++
	}
	if running == 0 {
		return failed
	}
	for running > 0 {
		e := <-over
		e.console.gone()
		running--
		if e.lived > atOnce || e.status.ExitStatus() == 0 {
			break
		}
		failed = errors.New(program[0] + " cannot run on " + e.console.name)
	}
	if running == 0 {
		return failed
	}
	for _, c := range consoles {
		if c.running {
			terminal.HangUp(c.fd)
		}
	}
	for late := time.After(hangUpTime); running > 0; {
		select {
		case e := <-over:
			e.console.gone()
			running--
		case <-late:
			for _, c := range consoles {
				if c.running {
					_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0) // ended just now
				}
			}
		}
	}
	return nil
}

const (
	// atOnce is how soon a program that cannot run has ended.
	atOnce = time.Second
	// hangUpTime is how long a shell may take to end when its terminal is gone.
	hangUpTime = 2 * time.Second
)

// start runs the program with the console as its controlling terminal.
func (c *console) start(program []string, over chan<- ended) error {
	began := time.Now()
	dir := "/root"
	if unix.Access(dir, unix.X_OK) != nil {
		dir = "/"
	}
	fd, pidfd := uintptr(c.fd), -1
	pid, err := syscall.ForkExec(program[0], program, &syscall.ProcAttr{
		Dir: dir, Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TERM=" + terminal.Type(c.name), "USER=root", "LOGNAME=root"},
		Files: []uintptr{fd, fd, fd},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0, PidFD: &pidfd},
	})
	if err != nil {
		return &os.PathError{Op: "execute", Path: program[0], Err: err}
	}
	c.pidfd, c.running = pidfd, true
	go func() {
		e := ended{console: c}
		for {
			_, err := syscall.Wait4(pid, &e.status, 0, nil)
			if !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		e.lived = time.Since(began)
		over <- e
	}()
	return nil
}

// gone is called when the shell was waited for.
func (c *console) gone() {
	c.running = false
	if c.pidfd >= 0 { // a kernel may refuse one
		unix.Close(c.pidfd)
		c.pidfd = -1
	}
}
