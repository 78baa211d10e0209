// Command meter is the first program of the benchmark's machine. It leaves a
// process behind that measures, and becomes the init under test, whose arguments
// are the lines of /bench/argv.
//
// The process that measures sleeps until all services have said that they are
// up, and for BENCH_REST more; reads what memory the init's processes have, and
// writes one line of JSON to the serial line. Then it powers the machine off.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	services = 10
	limit    = 60 * time.Second // by then all services are up, or never
	pipeName = "/bench/up"
)

// Result is what is measured; times are of CLOCK_BOOTTIME, in nanoseconds.
type Result struct {
	Exec      int64         // the init's execve
	Up        map[int]int64 // of each service, by its number
	Processes []Process     // the init's own, without services
	Failure   string        `json:",omitempty"`
}

// Process is a process of the init; memory in KiB.
type Process struct {
	PID       int
	Name      string
	PSS       int
	Anonymous int // the part of PSS that no file backs
}

func main() {
	var err error
	if os.Getpid() == 1 {
		err = becomeInit()
	} else {
		err = measure()
	}
	fmt.Fprintln(os.Stderr, "meter:", err)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func now() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return t.Nano()
}

func becomeInit() error {
	text, err := os.ReadFile("/bench/argv")
	if err != nil {
		return err
	}
	argv := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err := unix.Mkfifo(pipeName, 0o666); err != nil {
		return err
	}
	if err := unix.Chmod(pipeName, 0o666); err != nil {
		return err
	}
	ready, readyEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	begin, beginEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	_, err = os.StartProcess("/init", []string{"meter"}, &os.ProcAttr{
		Files: []*os.File{begin, os.Stdout, os.Stderr, readyEnd},
		Sys:   &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Setsid: true},
	})
	if err != nil {
		return err
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(beginEnd, now()); err != nil {
		return err
	}
	return unix.Exec(argv[0], argv, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TERM=linux"})
}

func measure() error {
	if err := unix.Mount("proc", "/bench/proc", "proc", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount("devtmpfs", "/bench/dev", "devtmpfs", 0, ""); err != nil {
		return err
	}
	// Blocking, and never at its end, as this process can write it too.
	fd, err := unix.Open(pipeName, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	pipe := bufio.NewReader(os.NewFile(uintptr(fd), pipeName))
	readyEnd := os.NewFile(3, "ready")
	if _, err := readyEnd.Write([]byte{0}); err != nil {
		return err
	}
	readyEnd.Close()
	result := Result{Up: map[int]int64{}}
	if _, err := fmt.Fscan(os.Stdin, &result.Exec); err != nil {
		return err
	}
	timeout := time.AfterFunc(limit, func() { report(Result{Up: result.Up, Failure: "not all services came up\n" + processes()}) })
	for len(result.Up) < services {
		line, err := pipe.ReadString('\n')
		if err != nil {
			return err
		}
		var number int
		var at int64
		if _, err := fmt.Sscan(line, &number, &at); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		result.Up[number] = at
	}
	timeout.Stop()
	// The kernel hands words of its command line on as environment.
	rest, err := time.ParseDuration(os.Getenv("BENCH_REST"))
	if err != nil {
		return err
	}
	time.Sleep(rest)
	result.Processes, err = owned()
	if err != nil {
		return err
	}
	report(result)
	return nil
}

// owned gives the init's own processes: those in user space that are neither a
// service nor the meter.
func owned() ([]Process, error) {
	dirs, err := filepath.Glob("/bench/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var list []Process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		program, err := os.Readlink(dir + "/exe")
		if err != nil || program == "/bench/service" || pid == os.Getpid() {
			continue // a kernel thread has no program
		}
		rollup, err := os.ReadFile(dir + "/smaps_rollup")
		if err != nil {
			return nil, err
		}
		p := Process{PID: pid, Name: first(dir + "/comm")}
		for line := range strings.Lines(string(rollup)) {
			key, rest, _ := strings.Cut(line, ":")
			value, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			switch key {
			case "Pss":
				p.PSS = value
			case "Pss_Anon":
				p.Anonymous = value
			}
		}
		list = append(list, p)
	}
	return list, nil
}

func first(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

// processes tells which processes there are, for a failure.
func processes() string {
	var text strings.Builder
	list, _ := filepath.Glob("/bench/proc/[0-9]*/cmdline")
	for _, path := range list {
		if line := strings.ReplaceAll(first(path), "\x00", " "); line != "" {
			fmt.Fprintln(&text, filepath.Base(filepath.Dir(path)), line)
		}
	}
	return text.String()
}

func report(r Result) {
	tty, err := os.OpenFile("/bench/dev/ttyS0", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err == nil {
		text, _ := json.Marshal(r)
		fmt.Fprintf(tty, "\nmeter: %s\n", text)
		_, _ = unix.IoctlRetInt(int(tty.Fd()), unix.TCSBRK) // tcdrain: TCSBRK with 1
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
