package supervisor

import (
	"context"
	"iter"
	"sync"

	"berth/supervisor/api"
)

// backlog is how many events a slow reader may lag behind before it loses the oldest.
const backlog = 1024

// broadcaster gives every event to every reader. The sender never waits.
type broadcaster struct {
	mu   sync.Mutex
	subs map[chan api.Event]struct{}
}

func (b *broadcaster) send(e api.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch := range b.subs {
		for {
			select {
			case ch <- e:
			default:
				select {
				case <-ch: // drop the oldest, then try again
				default:
				}
				continue
			}
			break
		}
	}
}

// subscribe is in force when it returns, so that nothing between it and the
// first read is missed.
func (b *broadcaster) subscribe(ctx context.Context) iter.Seq[api.Event] {
	ch := make(chan api.Event, backlog)
	b.mu.Lock()
	if b.subs == nil {
		b.subs = map[chan api.Event]struct{}{}
	}
	b.subs[ch] = struct{}{}
	b.mu.Unlock()
	return func(yield func(api.Event) bool) {
		defer func() {
			b.mu.Lock()
			delete(b.subs, ch)
			b.mu.Unlock()
		}()
		for {
			select {
			case e := <-ch:
				if !yield(e) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
