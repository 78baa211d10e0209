package supervisor

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"berth/supervisor/api"
)

// TestQueue adds jobs from many sides: each is done once, those of one side in
// order, no two at a time; drain waits for all before it.
func TestQueue(t *testing.T) {
	const sides, jobs = 8, 200
	var q queue
	var busy sync.Mutex
	last := make([]int, sides)
	done := 0
	var wait sync.WaitGroup
	for side := range sides {
		wait.Go(func() {
			for i := range jobs {
				q.add(func() {
					if !busy.TryLock() {
						t.Error("two jobs at a time")
						return
					}
					defer busy.Unlock()
					if last[side] != i {
						t.Errorf("side %d: job %d after %d jobs", side, i, last[side])
					}
					last[side]++
					done++
				})
			}
		})
	}
	wait.Wait()
	q.drain()
	if done != sides*jobs {
		t.Errorf("%d jobs done, want %d", done, sides*jobs)
	}
	q.drain() // of a queue that rests
}

// TestBroadcaster has a reader that reads nothing: the sender does not wait, and
// the reader loses the oldest only.
func TestBroadcaster(t *testing.T) {
	var b broadcaster
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow := b.subscribe(ctx)
	for i := range backlog + 10 {
		b.send(api.Event{Unit: fmt.Sprint(i)})
	}
	next := 10
	for e := range slow {
		if e.Unit != fmt.Sprint(next) {
			t.Fatalf("event %s, want %d", e.Unit, next)
		}
		if next++; next == backlog+10 {
			break
		}
	}
	if len(b.subs) != 0 {
		t.Error("a reader that has gone is still sent to")
	}
	other := b.subscribe(ctx)
	time.AfterFunc(10*time.Millisecond, cancel)
	for range other {
		t.Error("an event of before the subscription")
	}
	if len(b.subs) != 0 {
		t.Error("a reader whose context has ended is still sent to")
	}
}
