package supervisor

import (
	"context"
	"os"
	"sync"

	"berth/reaper/launcher"
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
// for the new one.
func (l *launcherSlot) lost(c *launcher.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == c {
		l.client = nil
		c.Close()
	}
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
