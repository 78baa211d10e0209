package supervisor

import (
	"context"
	"os"
	"sync"
	"time"

	"berth/reaper/launcher"

	"go.uber.org/zap"
)

// launcherSlot holds the connection to the launcher of the moment. A request
// that the old one left unanswered fails, and its child, if there is one, ends
// at its gate.
type launcherSlot struct {
	mu      sync.Mutex
	client  *launcher.Client
	changed chan struct{} // closed when client changes
}

func (l *launcherSlot) set(conn *os.File) {
	l.mu.Lock()
	old := l.client
	l.client = launcher.NewClient(conn)
	if l.changed != nil {
		close(l.changed)
	}
	l.changed = make(chan struct{})
	l.mu.Unlock()
	if old != nil {
		old.Close()
	}
}

// lost takes away a client whose launcher is gone, so that the next start waits
// for the new one. It reports whether it was there.
func (l *launcherSlot) lost(c *launcher.Client) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != c {
		return false
	}
	l.client = nil
	c.Close()
	return true
}

// ahead tells the launcher, if there is one, of a fork that follows soon.
func (l *launcherSlot) ahead(flags uint64) {
	l.mu.Lock()
	c := l.client
	l.mu.Unlock()
	if c != nil {
		c.Ahead(flags)
	}
}

// sealed tells whether the launcher of the moment says that nobody can write its
// executable. Another one that cannot say so refuses what was compiled for this.
func (l *launcherSlot) sealed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client != nil && l.client.Sealed()
}

// launcherSilence is how long a launcher may owe an answer and give none before
// it is taken for hung. A fork takes milliseconds; one that has to wait for memory
// may take seconds.
const launcherSilence = 15 * time.Second

// guardLauncher looks after a request whether the launcher hangs. The timer may
// be stopped when the answer has come.
func (s *Supervisor) guardLauncher(c *launcher.Client) *time.Timer {
	return time.AfterFunc(launcherSilence, func() { s.lookAtLauncher(c) })
}

// lookAtLauncher replaces a launcher that hangs. What it was asked for is then
// lost as with its end, and the starts are made again.
func (s *Supervisor) lookAtLauncher(c *launcher.Client) {
	silent := c.Silent()
	if silent == 0 {
		return
	}
	if left := launcherSilence - silent; left > 0 {
		time.AfterFunc(left, func() { s.lookAtLauncher(c) })
		return
	}
	if !s.launcher.lost(c) {
		return // it is replaced already
	}
	s.log.Error("the launcher hangs: it is replaced, and what it was to start is started again", zap.Duration("silent", silent))
	if err := s.reaper.ReplaceLauncher(); err != nil {
		s.log.Error("cannot have the launcher replaced", zap.Error(err))
	}
}

// get waits for a launcher.
func (l *launcherSlot) get(ctx context.Context) (*launcher.Client, error) {
	for {
		l.mu.Lock()
		c, changed := l.client, l.changed
		if changed == nil {
			l.changed = make(chan struct{})
			changed = l.changed
		}
		l.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
