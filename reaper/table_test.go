package reaper

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestHeldUntilTheIntentsOfItsTimeAreClosed(t *testing.T) {
	table := newTable()
	if v := table.judge(10); v != reapOrphan {
		t.Errorf("without an intent: %v", v)
	}
	table.begin(1)
	table.begin(2)
	for range 2 {
		if v := table.judge(10); v != keepZombie {
			t.Errorf("with intents: %v", v)
		}
	}
	table.begin(3)
	table.judge(11)
	table.abandon(1)
	if got := table.released(); got != nil {
		t.Errorf("released %v while intent 2 is open", got)
	}
	table.register(2, 99, -1)
	if got := table.released(); !slices.Equal(got, []int{10}) {
		t.Errorf("released %v, want 10", got)
	}
	table.abandonAll()
	if got := table.released(); !slices.Equal(got, []int{11}) {
		t.Errorf("released %v, want 11", got)
	}
	if !slices.Equal(table.abandoned, []uint64{3}) {
		t.Errorf("abandoned %v", table.abandoned)
	}
}

func TestRegisteredIsReportedOnce(t *testing.T) {
	table := newTable()
	table.register(1, 10, -1)
	if v := table.judge(10); v != reportExit {
		t.Errorf("got %v", v)
	}
	first := table.ended(Exit{PID: 10})
	if v := table.judge(10); v != keepZombie || !table.known(10) {
		t.Errorf("got %v", v)
	}
	if errno := table.registrable(2, 10); errno != syscall.EEXIST {
		t.Errorf("a pid twice: %v", errno)
	}
	if g := table.acknowledge(first.Seq); g == nil || g.pid != 10 {
		t.Errorf("acknowledged %+v", g)
	}
	if g := table.acknowledge(first.Seq); g != nil {
		t.Errorf("acknowledged twice: %+v", g)
	}
	table.register(3, 10, -1) // the pid is used again
	if second := table.ended(Exit{PID: 10}); second.Seq <= first.Seq || second.ID != 3 {
		t.Errorf("got %+v", second)
	}
}

func TestTableIsBounded(t *testing.T) {
	table := newTable()
	for id := range uint64(maxIntents) {
		if errno := table.begin(id + 1); errno != 0 {
			t.Fatal(errno)
		}
	}
	if errno := table.begin(1 << 40); errno != syscall.ENOSPC {
		t.Errorf("one intent too many: %v", errno)
	}
	table.abandonAll()
	table.begin(1 << 40)
	table.abandonAll()
	if n := len(table.abandoned); n != maxIntents || table.abandoned[0] != 2 || table.abandoned[n-1] != 1<<40 {
		t.Errorf("%d abandoned, from %d to %d", n, table.abandoned[0], table.abandoned[n-1])
	}
	if _, errno := table.put("x", make([]int, maxStored)); errno != 0 {
		t.Error(errno)
	}
	if _, errno := table.put("y", make([]int, 1)); errno != syscall.EMFILE {
		t.Errorf("one descriptor too many: %v", errno)
	}
	if old, errno := table.put("x", make([]int, 1)); errno != 0 || len(old) != maxStored || table.stored != 1 {
		t.Errorf("replacing: %v, %d old, %d stored", errno, len(old), table.stored)
	}
}

func TestBackoff(t *testing.T) {
	now := time.Unix(1000, 0)
	p := process{backoff: DefaultBackoff, started: now}
	var got []time.Duration
	for range 9 {
		got = append(got, p.ended(now))
	}
	ms := time.Millisecond
	want := []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 10 * time.Second}
	if !slices.Equal(got, want) {
		t.Errorf("delays %v", got)
	}
	if p.due != now.Add(10*time.Second) {
		t.Errorf("due at %v", p.due)
	}
	p.started = now.Add(-10 * time.Second)
	if d := p.ended(now); d != 0 {
		t.Errorf("after a healthy life: %v", d)
	}
}

func TestChildrenFilesAreRead(t *testing.T) {
	if got := appendPIDs(nil, []byte("12 345 6 ")); !slices.Equal(got, []int{12, 345, 6}) {
		t.Errorf("got %v", got)
	}
	if got := appendPIDs([]int{1}, []byte("7")); !slices.Equal(got, []int{1, 7}) {
		t.Errorf("got %v", got)
	}
	for stat, want := range map[string]int{
		"12 (a) b) (c) S 34 12 12 0": 34,
		"12 (sh) Z 1 12":             1,
		"":                           0,
		"12 (sh)":                    0,
	} {
		if got := parentIn(stat); got != want {
			t.Errorf("parent in %q: %d", stat, got)
		}
	}
}
