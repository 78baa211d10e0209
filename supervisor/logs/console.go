package logs

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// consolePatience is how long, in milliseconds, one batch waits for a console
// that takes nothing.
const consolePatience = 1000

// console writes "unit | line" to the supervisor's own standard error. It has
// no witness outside this process: after a SIGKILL a batch under way is written
// again.
type console struct {
	file *os.File // keeps fd open
	fd   int
	mu   sync.Mutex // one batch at a time
}

func (c *console) prepare(s *Streams, sc *scratch, stream int, data []byte, now int64) error {
	s.consoleSent = 0
	sc.lines(data, s.page.rate(), func(b []byte, m *message) []byte {
		return append(append(b, s.unit...), " | "...)
	})
	for j := range sc.batch.msgs[:sc.batch.n] { // the prefix means nothing to people
		skipBytes(&sc.iovs[3*j+1], int(sc.batch.msgs[j].prefix))
	}
	return nil
}

func (c *console) deliver(s *Streams, sc *scratch) error {
	// A terminal that is stopped holds up one pump and not all of them.
	if !c.mu.TryLock() {
		return errWait
	}
	defer c.mu.Unlock()
	for j := range sc.batch.n {
		if err := c.write(sc.iovs[3*j : 3*j+3]); err != nil {
			return err
		}
		s.consoleSent++
	}
	return nil
}

// write writes one line. It waits for room before it, so that it does not block
// for long even if the descriptor is in blocking mode.
func (c *console) write(iovs []unix.Iovec) error {
	for len(iovs) > 0 {
		poll := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(poll, consolePatience)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot wait for the console: %w", err)
		}
		if n == 0 {
			return errWait
		}
		n, err = writev(c.fd, iovs)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return errWait
		case err != nil:
			return fmt.Errorf("cannot write to the console: %w", err)
		default:
			iovs = advance(iovs, n)
		}
	}
	return nil
}

func (c *console) delivered(s *Streams) (int, error) { return s.consoleSent, nil }
