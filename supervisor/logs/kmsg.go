package logs

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// kmsgMax is how much of a text goes in one record of the kernel's log, in bytes:
// one write is one record, and more than about 1000 bytes is refused with EINVAL
// (Documentation/ABI/testing/dev-kmsg, and LOG_LINE_MAX in kernel/printk).
const kmsgMax = 900

// openKmsg opens the kernel's log for writing. The caller owns the file; it is for
// the process's life.
func openKmsg() (*os.File, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot log to the kernel's log: %w", &os.PathError{Op: "open", Path: "/dev/kmsg", Err: err})
	}
	return os.NewFile(uintptr(fd), "/dev/kmsg"), nil
}

// writeKmsg writes a text, each of its lines as a record, or as several where it
// is too long for one. The kernel may drop what comes too fast
// (kernel.printk_devkmsg): it tells how much, and no error is given.
func writeKmsg(w io.Writer, level int, identifier, text string) error {
	head := "<" + strconv.Itoa(level) + ">" + identifier + ": "
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		for line != "" {
			cut := line
			if len(cut) > kmsgMax {
				cut = cut[:kmsgMax]
				for i := 0; i < utf8.UTFMax && !utf8.RuneStart(line[len(cut)]); i++ {
					cut = cut[:len(cut)-1]
				}
			}
			line = line[len(cut):]
			if _, err := io.WriteString(w, head+cut+"\n"); err != nil {
				return err
			}
		}
	}
	return nil
}
