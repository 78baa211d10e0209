package vmtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// agentEnv tells the agent that it is outside of its unit.
const agentEnv = "BERTH_VM_AGENT"

// Agent is the program that Boot puts into the machine. As PID 1 it makes the
// machine ready and executes berthd. As a unit's program it starts itself again
// outside of the unit and ends. There it serves the test. It does not return.
func Agent() {
	var err error
	switch {
	case os.Getpid() == 1:
		if err = prepare(); err == nil {
			err = unix.Exec("/"+Berthd, append([]string{"/" + Berthd}, os.Args[1:]...), os.Environ())
		}
	case os.Getenv(agentEnv) == "":
		err = leaveUnit()
	default:
		err = serve()
	}
	if err != nil {
		text := fmt.Sprintf("vm-agent: %v\n", err)
		_, _ = os.Stderr.WriteString(text)
		_ = os.WriteFile("/dev/kmsg", []byte("<3>"+text), 0) // outside of the unit nobody reads standard error
		os.Exit(1)
	}
	os.Exit(0)
}

// leaveUnit starts this program again in PID 1's mount namespace and in the root
// group, with a session of its own. The unit's process has
// every namespace but that one in common with PID 1.
func leaveUnit() error {
	runtime.LockOSThread()
	mounts, err := os.Open("/proc/1/ns/mnt")
	if err != nil {
		return err
	}
	// Threads share their root and working directory, and setns(2) refuses then.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Setns(int(mounts.Fd()), unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("setns", err)
	}
	group, err := os.Open(cgroupRoot)
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = syscall.ForkExec("/"+agentPath, []string{"vm-agent"}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{agentEnv + "=1", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"},
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())},
	})
	return os.NewSyscallError("clone3", err)
}

// openPort opens the virtio port to the test, which is there some time after its
// driver was loaded.
func openPort() (*os.File, error) {
	for range 1000 {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, path := range names {
			if name, err := os.ReadFile(path); err != nil || strings.TrimSpace(string(name)) != portName {
				continue
			}
			if fd, err := unix.Open("/dev/"+filepath.Base(filepath.Dir(path)), unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
				return os.NewFile(uintptr(fd), portName), nil
			}
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
	return nil, errors.New("the machine has no virtio port " + portName)
}

// serve does what the test asks, several things at a time.
func serve() error {
	// None are left where prepare has loaded them.
	if err := loadModules(); err != nil {
		return err
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	hello := strings.TrimSpace(string(boot)) + "/" + strconv.Itoa(os.Getpid())
	var mu sync.Mutex
	say := func(r reply) {
		line, err := json.Marshal(r)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = port.Write(append(line, '\n')) // the next read fails too
	}
	_, _ = port.Write([]byte("\n")) // ends what a reset has cut
	say(reply{Hello: hello})
	lines := bufio.NewReader(port)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		var r request
		if json.Unmarshal(line, &r) != nil || r.To != hello {
			continue
		}
		go func() {
			a, err := r.do()
			if err != nil {
				a.Error = err.Error()
			}
			a.ID = r.ID
			say(a)
		}()
	}
}

func (r request) do() (a reply, err error) {
	switch r.Op {
	case "run":
		cmd := exec.Command(r.Args[0], r.Args[1:]...)
		var out bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(r.Data), &out, &out
		err = cmd.Run()
		a.Out = out.Bytes()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			a.Status, err = exit.ExitCode(), nil
			if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
				a.Status = 128 + int(status.Signal())
			}
		}
		return a, err
	case "read":
		a.Out, err = os.ReadFile(r.Path)
		return a, err
	case "write":
		tmp := r.Path + ".new~"
		if err := os.WriteFile(tmp, r.Data, 0o644); err != nil {
			return a, err
		}
		return a, os.Rename(tmp, r.Path)
	case "kill":
		return a, unix.Kill(r.PID, syscall.Signal(r.Sig))
	}
	return a, errors.New("unknown request " + r.Op)
}
