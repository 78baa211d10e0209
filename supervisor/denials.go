package supervisor

import (
	"fmt"
	"regexp"
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

// denials gives the system calls of a process that the kernel's log says were
// refused or logged by its seccomp filter, since a moment, by name, each once.
// The log is a ring of limited size, and goes to auditd alone where that runs.
func denials(pid int, since time.Time) []string {
	if pid == 0 {
		return nil
	}
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var calls []string
	seen := map[string]bool{}
	buf := make([]byte, 8192) // one record; kernel: PRINTKRB_RECORD_MAX is 2048
	for range maxKernelLog {
		n, err := unix.Read(fd, buf)
		if err == unix.EPIPE || err == unix.EINTR { // overwritten meanwhile: go on with the next
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		if call := denial(string(buf[:n]), pid, since); call != "" && !seen[call] {
			seen[call] = true
			calls = append(calls, call)
		}
	}
	return calls
}

// denial gives the call of a line of the kernel's log, "" if it is not about
// that process or from before.
func denial(line string, pid int, since time.Time) string {
	if !strings.Contains(line, "type=1326 ") {
		return ""
	}
	m := denialLine.FindStringSubmatch(line)
	if m == nil || m[3] != strconv.Itoa(pid) {
		return ""
	}
	seconds, _ := strconv.ParseInt(m[1], 10, 64) // digits, by the pattern
	millis, _ := strconv.ParseInt(m[2], 10, 64)
	if time.Unix(seconds, millis*int64(time.Millisecond)).Before(since.Truncate(time.Millisecond)) {
		return ""
	}
	arch, err := strconv.ParseUint(m[4], 16, 32)
	if err != nil {
		return ""
	}
	number, err := strconv.ParseUint(m[5], 10, 32)
	if err != nil {
		return ""
	}
	if name := seccomp.CallName(uint32(arch), uint32(number)); name != "" {
		return name
	}
	return fmt.Sprintf("system call %d", number)
}
