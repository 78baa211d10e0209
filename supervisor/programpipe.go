package supervisor

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// programPipe makes a pipe between the supervisor, near, and a program, far, which
// reads from it if reads says so. The program's end blocks, as programs expect of
// their standard streams; os.Pipe's would not.
func programPipe(reads bool) (near, far *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	ours, theirs := fds[0], fds[1]
	if reads {
		ours, theirs = fds[1], fds[0]
	}
	far = os.NewFile(uintptr(theirs), "pipe")
	if err := unix.SetNonblock(ours, true); err != nil { // before NewFile, which looks
		unix.Close(ours)
		far.Close()
		return nil, nil, fmt.Errorf("cannot set up a pipe: %w", err)
	}
	return os.NewFile(uintptr(ours), "pipe"), far, nil
}
