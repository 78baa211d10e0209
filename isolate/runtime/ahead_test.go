package runtime

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Jobs are done in one thread, in their order, also those that are given while it
// waits and those that it has not begun when it is closed; and each can be waited
// for as often as is wanted.
func TestAhead(t *testing.T) {
	for round := range 50 {
		a := newAhead()
		if round%2 == 0 { // it waits already
			if _, err := doAhead(a, func() (int, error) { return 0, nil }).wait(); err != nil {
				t.Fatal(err)
			}
		}
		var order []int
		failed := errors.New("failed")
		first := doAhead(a, func() (int, error) {
			order = append(order, 1)
			return unix.Gettid(), nil
		})
		second := doAhead(a, func() (int, error) {
			order = append(order, 2)
			return unix.Gettid(), failed
		})
		ended := make(chan struct{})
		doAhead(a, func() (any, error) {
			close(ended)
			return nil, nil
		})
		a.close()
		thread, err := first.wait()
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := second.wait(); got != thread || err != failed {
				t.Fatalf("thread %d, %v; want %d, %v", got, err, thread, failed)
			}
		}
		if len(order) != 2 || order[0] != 1 || order[1] != 2 {
			t.Fatalf("they were done in the order %v", order)
		}
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatal("what was given before the end was not done")
		}
	}
	var none *ahead
	none.close()
	if _, err := (*async[int])(nil).wait(); err != nil {
		t.Fatal(err)
	}
}
