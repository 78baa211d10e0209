package supervisor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns: as many starts as there are turns are prepared at a time; one that
// hangs keeps the others waiting for maxTurn only, and a turn ends once.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		began := time.Now()
		var done []func()
		for range cap(turns) {
			done = append(done, turns.take(t.Context()))
		}
		if time.Since(began) != 0 {
			t.Error("a free turn had to be waited for")
		}
		done[0]()
		done[0]()
		done[0] = turns.take(t.Context())
		if time.Since(began) != 0 {
			t.Error("a turn that was given back had to be waited for")
		}
		last := turns.take(t.Context()) // all others hang
		if waited := time.Since(began); waited != maxTurn {
			t.Errorf("waited %v for starts that hang", waited)
		}
		last()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		for range cap(turns) {
			turns.take(ctx)
		}
		cancel()
		turns.take(ctx)() // must not wait, nor give back what it has not taken
		for _, d := range done {
			d()
		}
		time.Sleep(2 * maxTurn)
		synctest.Wait()
		if len(turns) != 0 {
			t.Errorf("%d turns are still taken", len(turns))
		}
	})
}
