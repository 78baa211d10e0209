package reaper

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Harden makes this process non-dumpable (PR_SET_DUMPABLE(2const) 0) and
// verifies it: its memory, descriptors and executable are then out of reach of
// any other process without CAP_SYS_PTRACE in its user namespace, and so are
// those of its forked children until they execute a program. execve undoes it,
// so the reaper, the supervisor and the launcher each call it when they begin.
func Harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot make this process non-dumpable: %w", err)
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("cannot verify that this process is non-dumpable: %w", err)
	}
	if dumpable != 0 {
		return errors.New("cannot make this process non-dumpable: the kernel did not take it")
	}
	return nil
}

// SetName sets what ps and top show as this process's command: the reaper
// executes supervisor and launcher by descriptor, so the kernel's own choice
// would be a number. At most 15 bytes count; where /proc is missing, nothing
// happens.
func SetName(name string) {
	// PR_SET_NAME would name the calling thread only.
	if f, err := os.OpenFile("/proc/self/comm", os.O_WRONLY, 0); err == nil {
		f.WriteString(name)
		f.Close()
	}
}
