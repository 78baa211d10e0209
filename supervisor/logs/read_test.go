package logs

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/units"
)

func TestReadFiles(t *testing.T) {
	m := newManager(t, t.TempDir())
	cfg := units.Log{Target: "file", MaxSize: 4 << 10, Keep: 100}
	web, w := newStreams(t, m, "web", cfg)
	db, d := newStreams(t, m, "db", cfg)
	long := strings.Repeat("long ", 5000)
	var want []string
	for i := range 300 {
		stream, f, s := "stdout", w.Stdout, web
		if i%3 == 0 {
			stream, f, s = "stderr", d.Stderr, db
		}
		text := fmt.Sprint("line ", i)
		if i%50 == 0 {
			text = "<2>" + long + text
		}
		write(t, f, text+"\n")
		eventually(t, "the line is written", func() bool {
			n, err := pending(s.pipes[0].fd())
			k, err2 := pending(s.pipes[1].fd())
			return err == nil && err2 == nil && n+k == 0
		})
		want = append(want, stream+" "+strings.TrimPrefix(text, "<2>"))
	}
	both := []string{"web", "db"}
	all := read(t, m, Query{Units: both, Lines: -1})
	if diff := cmp.Diff(want, texts(all)); diff != "" {
		t.Fatal(diff)
	}
	if all[0].Priority != 2 || all[1].Priority != 6 || all[0].Unit != "db" || all[1].Unit != "web" {
		t.Errorf("got %.200v", all[:2])
	}
	for _, n := range []int{0, 1, 120, 5000} {
		if diff := cmp.Diff(want[max(0, len(want)-n):], texts(read(t, m, Query{Units: both, Lines: n})), cmpEmpty); diff != "" {
			t.Errorf("last %d: %s", n, diff)
		}
	}
	if diff := cmp.Diff(want[200:], texts(read(t, m, Query{Units: both, Lines: -1, Since: all[200].Time}))); diff != "" {
		t.Error(diff)
	}
	if got := read(t, m, Query{Units: []string{"never-ran"}, Lines: -1}); len(got) != 0 {
		t.Errorf("a unit without log: %v", got)
	}
	for _, bad := range []string{"", "../etc", "a/b", "-f", "*"} {
		for _, err := range m.Read(context.Background(), Query{Units: []string{bad}}) {
			if err == nil {
				t.Errorf("unit name %q was taken", bad)
			}
		}
	}
}

var cmpEmpty = cmp.Transformer("empty", func(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
})

// follow reads n entries of a query that does not end.
func follow(t *testing.T, m *Manager, q Query, n int, got func(Entry)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	q.Follow = true
	for e, err := range m.Read(ctx, q) {
		if err != nil {
			t.Fatal(err)
		}
		got(e)
		if n--; n == 0 {
			return
		}
	}
	t.Fatalf("%d entries did not come", n)
}

func TestFollowFile(t *testing.T) {
	m := newManager(t, t.TempDir())
	cfg := units.Log{Target: "file", MaxSize: 4 << 10, Keep: 100}
	testFollow(t, m, cfg, 50)
}

func TestFollowJournald(t *testing.T) {
	startJournald(t)
	testFollow(t, newManager(t, t.TempDir()), journaldLog, 3) // journald tells its readers with a delay
}

// testFollow writes lines while they are followed: some before, each further one
// when the one before was seen, then many at once.
func testFollow(t *testing.T, m *Manager, cfg units.Log, each int) {
	const before, burst = 10, 2000
	s, w := newStreams(t, m, "web", cfg)
	line := func(i int) string { return fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", 100)) }
	for i := range before {
		write(t, w.Stdout, line(i))
	}
	eventually(t, "the first lines are there", func() bool {
		return len(read(t, m, Query{Units: []string{"web"}, Lines: -1})) == before
	})
	next := before - 5
	follow(t, m, Query{Units: []string{"web"}, Lines: 5}, 5+each+burst, func(e Entry) {
		if e.Text+"\n" != line(next) {
			t.Fatalf("expected line %d, got %.40q", next, e.Text)
		}
		next++
		switch {
		case next >= before && next < before+each:
			write(t, w.Stdout, line(next))
		case next == before+each:
			first := next
			go func() {
				for i := range burst {
					_, _ = w.Stdout.WriteString(line(first + i))
				}
			}()
		}
	})
	finish(t, s)
}

// TestFollowNew: the unit's first line comes after following has begun.
func TestFollowNew(t *testing.T) {
	m := newManager(t, t.TempDir())
	s, w := newStreams(t, m, "web", units.Log{Target: "file"})
	_, o := newStreams(t, m, "other", units.Log{Target: "file"})
	write(t, o.Stdout, "first\n")
	n := 0
	follow(t, m, Query{Units: []string{"web", "other"}, Lines: -1}, 2, func(e Entry) {
		if n++; n == 1 {
			write(t, w.Stdout, "second\n")
		} else if e.Unit != "web" || e.Text != "second" {
			t.Errorf("got %+v", e)
		}
	})
	finish(t, s)
}
