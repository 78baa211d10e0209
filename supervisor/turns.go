package supervisor

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// maxTurn is how long a start may keep others waiting: one that hangs, on a dead
// file system say, is not counted any longer after it.
const maxTurn = 2 * time.Second

// turns bounds how many starts are prepared at a time. A start is prepared by
// processors and memory, some 100 KB of it, so that hundreds at once would be no
// faster and take far more of it. What follows the fork, pre-start commands
// above all, is not counted.
type turns chan struct{}

func newTurns() turns { return make(turns, 2*runtime.GOMAXPROCS(0)+2) }

// take waits for a turn, or for the end of ctx; then the start may as well
// proceed, and fail for that. The result ends the turn; it may be called twice.
func (t turns) take(ctx context.Context) (done func()) {
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return func() {}
	}
	end := sync.OnceFunc(func() { <-t })
	late := time.AfterFunc(maxTurn, end)
	return func() {
		late.Stop()
		end()
	}
}
