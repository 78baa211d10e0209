package fstab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"berth/isolate/octal"

	"golang.org/x/sys/unix"
)

// Flags of swapon(2).
const (
	swapPrefer       = 0x8000
	swapPriorityMask = 0x7fff
	swapDiscard      = 0x10000
	swapDiscardOnce  = 0x20000
	swapDiscardPages = 0x40000
)

// flags gives the flags for swapon(2).
func (o SwapOptions) flags() (uintptr, error) {
	f := uintptr(0)
	if o.Priority >= 0 {
		f = swapPrefer | uintptr(o.Priority&swapPriorityMask)
	}
	switch o.Discard {
	case "":
	case "all":
		f |= swapDiscard
	case "once":
		f |= swapDiscard | swapDiscardOnce
	case "pages":
		f |= swapDiscard | swapDiscardPages
	default:
		return 0, fmt.Errorf("discard=%s: it is once or pages", o.Discard)
	}
	return f, nil
}

// swapOn switches swap space on, a device or a file. What is on is fine.
func (j *Job) swapOn(s *Step, source string) error {
	flags, err := s.Swap.flags()
	if err != nil {
		return err
	}
	if !s.Device {
		source = j.path(source)
	}
	path, err := unix.BytePtrFromString(source)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), flags, 0)
	runtime.KeepAlive(path)
	switch {
	case errno == 0, errno == unix.EBUSY && swapping(source):
		return nil
	case errno == unix.EINVAL:
		return errors.New("there is no swap space on it: run mkswap")
	}
	return errno
}

// swapping tells whether a path is in use for swapping (proc(5), /proc/swaps).
func swapping(path string) bool {
	table, err := os.ReadFile("/proc/swaps")
	if err != nil {
		return false
	}
	var want, have unix.Stat_t
	if unix.Stat(path, &want) != nil {
		return false
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) == 0 || unix.Stat(octal.Unescape(f[0]), &have) != nil {
			continue
		}
		if have.Dev == want.Dev && have.Ino == want.Ino || want.Rdev != 0 && have.Rdev == want.Rdev {
			return true
		}
	}
	return false
}
