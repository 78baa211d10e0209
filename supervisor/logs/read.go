package logs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"time"
)

// Entry is one line of a unit's log.
type Entry struct {
	Time        time.Time
	Unit        string
	Stream      string // stdout | stderr; empty where journald does not know
	Priority    int    // 0 to 7, as syslog(3)
	Incarnation uint64 // 0: not known (files do not tell)
	Text        string // without newline and "<N>"; any bytes
}

// Query selects entries.
type Query struct {
	Units []string
	// Lines is how many of the last entries are wanted, over all units together;
	// negative: all.
	Lines int
	// Since leaves out what is older; zero: nothing.
	Since time.Time
	// Follow goes on with new entries until the context ends.
	Follow bool
}

// maxJoined is the longest text that is put together of the parts of a line.
const maxJoined = 1 << 20

// source is somewhere entries come from.
type source interface {
	// past gives what is there now, in order of time, at most the last q.Lines.
	past(ctx context.Context, q Query) iter.Seq2[Entry, error]
	// follow sends what comes after that, until ctx ends; called after past.
	follow(ctx context.Context, out chan<- Entry) error
}

// Read gives the entries of a query in order of time, from log files and, where
// there is one, the journal (by running journalctl); then, with Follow, new ones
// as they come, until ctx ends. An error is the last thing given; the end of ctx
// is not one.
func (m *Manager) Read(ctx context.Context, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		sources, err := m.sources(q)
		if err == nil {
			var goOn bool
			if goOn, err = readPast(ctx, sources, q, yield); !goOn {
				return
			}
		}
		if err == nil && q.Follow {
			var goOn bool
			if goOn, err = readFollow(ctx, sources, yield); !goOn {
				return
			}
		}
		if err != nil && ctx.Err() == nil {
			yield(Entry{}, fmt.Errorf("cannot read logs: %w", err))
		}
	}
}

func (m *Manager) sources(q Query) ([]source, error) {
	var sources []source
	for _, unit := range q.Units {
		if unit == "" || strings.ContainsAny(unit, "/\x00*?[") || unit[0] == '.' || unit[0] == '-' {
			return nil, fmt.Errorf("%q is not a unit name", unit)
		}
	}
	if len(q.Units) == 0 {
		return nil, errors.New("no unit was named")
	}
	if journalExists() {
		sources = append(sources, &journalSource{units: q.Units})
	}
	for _, unit := range q.Units {
		sources = append(sources, &fileSource{base: m.dir, unit: unit})
	}
	return sources, nil
}

// readPast merges what the sources have. It reports false when the reader has
// had enough.
func readPast(ctx context.Context, sources []source, q Query, yield func(Entry, error) bool) (bool, error) {
	var pulls []*pulled
	defer func() {
		for _, p := range pulls {
			p.stop()
		}
	}()
	for _, s := range sources {
		p := &pulled{}
		p.next, p.stop = iter.Pull2(s.past(ctx, q))
		pulls = append(pulls, p)
		if err := p.advance(); err != nil {
			return true, err
		}
	}
	var last ring
	for {
		var first *pulled
		for _, p := range pulls {
			if p.ok && (first == nil || p.entry.Time.Before(first.entry.Time)) {
				first = p
			}
		}
		if first == nil {
			break
		}
		if q.Lines >= 0 {
			last.add(first.entry, q.Lines)
		} else if !yield(first.entry, nil) {
			return false, nil
		}
		if err := first.advance(); err != nil {
			return true, err
		}
	}
	for _, e := range last.all() {
		if !yield(e, nil) {
			return false, nil
		}
	}
	return true, nil
}

// pulled is a source's past and its first entry not yet used.
type pulled struct {
	next  func() (Entry, error, bool)
	stop  func()
	entry Entry
	ok    bool
}

func (p *pulled) advance() (err error) {
	p.entry, err, p.ok = p.next()
	return err
}

// readFollow gives new entries until ctx ends, in the order in which they come.
func readFollow(ctx context.Context, sources []source, yield func(Entry, error) bool) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan Entry)
	failed := make(chan error, len(sources))
	for _, s := range sources {
		go func() { failed <- s.follow(ctx, out) }()
	}
	left := len(sources)
	defer func() {
		cancel()
		for ; left > 0; left-- {
			<-failed
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return true, nil
		case err := <-failed:
			left--
			if err != nil {
				return true, err
			}
			if left == 0 {
				return true, nil
			}
		case e := <-out:
			if !yield(e, nil) {
				return false, nil
			}
		}
	}
}

// ring holds the last entries.
type ring struct {
	entries []Entry
	start   int
}

func (r *ring) add(e Entry, limit int) {
	switch {
	case limit <= 0:
	case len(r.entries) < limit:
		r.entries = append(r.entries, e)
	default:
		r.entries[r.start] = e
		r.start = (r.start + 1) % limit
	}
}

func (r *ring) all() []Entry {
	return slices.Concat(r.entries[r.start:], r.entries[:r.start])
}

// joiner puts the parts of long lines together.
type joiner struct{ parts map[string][]byte }

// add takes one piece; ok: it ends a line, of which text is all.
func (j *joiner) add(key string, piece []byte, partial bool) (text string, ok bool) {
	before, open := j.parts[key]
	if partial && len(before)+len(piece) < maxJoined {
		if j.parts == nil {
			j.parts = map[string][]byte{}
		}
		j.parts[key] = append(before, piece...)
		return "", false
	}
	if !open {
		return string(piece), true
	}
	delete(j.parts, key)
	return string(append(before, piece...)), true
}

// journalExists tells whether there is a journal to read.
func journalExists() bool {
	for _, dir := range []string{"/run/log/journal", "/var/log/journal"} {
		if names, err := os.ReadDir(dir); err == nil && len(names) > 0 {
			return true
		}
	}
	return false
}
