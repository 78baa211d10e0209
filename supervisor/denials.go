package supervisor

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/isolate/seccomp"

	"golang.org/x/sys/unix"
)

// denialLine is what the kernel writes to its log when a seccomp filter kills,
// or logs a call (kernel/auditsc.c, audit_seccomp; type 1326 is AUDIT_SECCOMP of
// linux/audit.h).
var denialLine = regexp.MustCompile(`type=1326 audit\((\d+)\.(\d{3}):\d+\):.* pid=(\d+) comm=.* arch=([0-9a-f]+) syscall=(\d+) `)

// maxKernelLog bounds how much of the kernel's log is read: it is a ring, and may
// be written faster than it is read.
const maxKernelLog = 100_000

// denied is a system call that a process's seccomp filter refused or logged.
type denied struct {
	pid  int
	at   time.Time
	call string
}

// denials gives what the kernel's log has of them, oldest first. It is a ring of
// limited size, and goes to auditd alone where that runs.
func denials() []denied {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var all []denied
	buf := make([]byte, 8192) // one record; kernel: PRINTKRB_RECORD_MAX is 2048
	for range maxKernelLog {
		n, err := unix.Read(fd, buf)
		if err == unix.EPIPE || err == unix.EINTR { // overwritten meanwhile: go on with the next
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		if d, ok := denial(string(buf[:n])); ok {
			all = append(all, d)
		}
	}
	return all
}

// denial reads a line of the kernel's log; not ok: it is about something else.
func denial(line string) (d denied, ok bool) {
	if !strings.Contains(line, "type=1326 ") {
		return d, false
	}
	m := denialLine.FindStringSubmatch(line)
	if m == nil {
		return d, false
	}
	seconds, _ := strconv.ParseInt(m[1], 10, 64) // digits, by the pattern
	millis, _ := strconv.ParseInt(m[2], 10, 64)
	d.at = time.Unix(seconds, millis*int64(time.Millisecond))
	d.pid, _ = strconv.Atoi(m[3])
	arch, err := strconv.ParseUint(m[4], 16, 32)
	if err != nil {
		return d, false
	}
	number, err := strconv.ParseUint(m[5], 10, 32)
	if err != nil {
		return d, false
	}
	if d.call = seccomp.CallName(uint32(arch), uint32(number)); d.call == "" {
		d.call = fmt.Sprintf("system call %d", number)
	}
	return d, true
}

// callsDenied gives the calls among them of one process since a moment, each once.
func callsDenied(all []denied, pid int, since time.Time) []string {
	var calls []string
	since = since.Truncate(time.Millisecond) // as the log has it
	for _, d := range all {
		if d.pid == pid && !d.at.Before(since) && !slices.Contains(calls, d.call) {
			calls = append(calls, d.call)
		}
	}
	return calls
}
