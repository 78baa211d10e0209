// Package idrange gives units with a user namespace the ids that their
// containers have outside: Size of them for each unit, no two units the same,
// and the same ones after every restart of the unit, the daemon and the machine.
//
// What was given stands in the file ids of the state directory, a line
// "FIRST UNIT" each. It is written anew as a whole and renamed into place while
// the file's lock is held, so daemons and commands may do it at the same time,
// and a crash leaves the old file or the new one. Nothing is ever taken back:
// ids that a process may still have, or a file, are not given to another unit.
package idrange

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"berth/supervisor/durable"

	"golang.org/x/sys/unix"
)

// Size is how many user and group ids a unit is given.
const Size = 65536

// Without lines of a user Owner in subuid(5) and subgid(5), ranges are taken from
// here on upwards: above the ids of people and of dynamic users, below those
// that programs take for negative. systemd takes its containers' from the same.
const (
	first = 0x80000
	end   = 0x70000000
)

// Owner is the user whose subordinate ids are given to units, if it has any.
const Owner = "berth"

const (
	file = "ids"
	lock = "ids.lock"
)

// Ranges gives ranges. Its methods are safe for concurrent use, also by several processes.
type Ranges struct {
	// Dir is the state directory.
	Dir string
	// SubUID and SubGID are the files of subuid(5) and subgid(5).
	SubUID, SubGID string
}

// New gives those of a state directory on this machine.
func New(stateDir string) *Ranges {
	return &Ranges{Dir: stateDir, SubUID: "/etc/subuid", SubGID: "/etc/subgid"}
}

// For gives the first of a unit's ids, which are the same numbers for users and
// groups, and gives it a range if it has none yet.
func (r *Ranges) For(unit string) (uint32, error) {
	given, err := r.read()
	if err != nil {
		return 0, err
	}
	if id, ok := given.of(unit); ok {
		return id, nil
	}
	unlock, err := r.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	if given, err = r.read(); err != nil { // another may have been faster
		return 0, err
	}
	id, ok := given.of(unit)
	if ok {
		return id, nil
	}
	if id, err = r.free(given); err != nil {
		return 0, err
	}
	return id, r.write(append(given, entry{id, unit}))
}

// Look gives what For would, and writes nothing.
func (r *Ranges) Look(unit string) (uint32, error) {
	given, err := r.read()
	if err != nil {
		return 0, err
	}
	if id, ok := given.of(unit); ok {
		return id, nil
	}
	return r.free(given)
}

type entry struct {
	first uint32
	unit  string
}

type entries []entry

func (e entries) of(unit string) (uint32, bool) {
	for _, g := range e {
		if g.unit == unit {
			return g.first, true
		}
	}
	return 0, false
}

func (r *Ranges) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(r.Dir, lock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the ranges of ids: %w", err)
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock the ranges of ids: %w", err)
	}
	return func() { f.Close() }, nil
}

// read gives what was given. A file that makes no sense is an error: to pass
// over it could give a unit's ids to another.
func (r *Ranges) read() (entries, error) {
	name := filepath.Join(r.Dir, file)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the ranges of ids: %w", err)
	}
	var out entries
	n := 0
	for line := range bytes.Lines(text) {
		n++
		id, unit, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		v, err := strconv.ParseUint(id, 10, 32)
		if !ok || err != nil || unit == "" || v+Size > 1<<32-1 {
			return nil, fmt.Errorf("cannot read the ranges of ids: %s:%d: want FIRST UNIT; mend the line, or remove it and the unit gets new ids", name, n)
		}
		out = append(out, entry{uint32(v), unit})
	}
	return out, nil
}

func (r *Ranges) write(all entries) error {
	var text bytes.Buffer
	for _, e := range all {
		fmt.Fprintf(&text, "%d %s\n", e.first, e.unit)
	}
	temp := filepath.Join(r.Dir, "."+file+".new") // one at a time: the lock is held
	if err := durable.Replace(filepath.Join(r.Dir, file), temp, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("cannot keep the ranges of ids: %w", err)
	}
	return nil
}

// span is a range of ids, end not included.
type span struct{ first, end uint64 }

func (s span) meets(o span) bool { return s.first < o.end && o.first < s.end }

// free finds a range that nobody has: among Owner's subordinate ids if it has
// any, otherwise where nobody's are.
func (r *Ranges) free(given entries) (uint32, error) {
	uids, err := subordinate(r.SubUID)
	if err != nil {
		return 0, err
	}
	gids, err := subordinate(r.SubGID)
	if err != nil {
		return 0, err
	}
	var taken []span
	for _, g := range given {
		taken = append(taken, span{uint64(g.first), uint64(g.first) + Size})
	}
	within := common(uids[Owner], gids[Owner])
	what := "the subordinate ids that /etc/subuid and /etc/subgid give user " + Owner
	if len(uids[Owner]) == 0 && len(gids[Owner]) == 0 {
		within, what = []span{{first, end}}, fmt.Sprintf("the ids from %d to %d", first, end-1)
		for _, m := range []map[string][]span{uids, gids} {
			for _, list := range m {
				taken = append(taken, list...)
			}
		}
	}
	for _, in := range within {
		for at := in.first; at+Size <= in.end; {
			next := at
			for _, t := range taken {
				if t.meets(span{at, at + Size}) {
					next = max(next, t.end)
				}
			}
			if next == at {
				return uint32(at), nil
			}
			at = next
		}
	}
	return 0, fmt.Errorf("no range of %d ids is left of %s; give it more, or write uid-map and gid-map in the unit", Size, what)
}

// Span is a range of ids.
type Span struct{ First, Count uint32 }

// Subordinate gives the subordinate ids that a user, known by any of the names,
// has on this machine, by subuid(5) and subgid(5).
func Subordinate(names []string) (uids, gids []Span, err error) {
	for _, f := range []struct {
		name string
		to   *[]Span
	}{{"/etc/subuid", &uids}, {"/etc/subgid", &gids}} {
		all, err := subordinate(f.name)
		if err != nil {
			return nil, nil, err
		}
		for _, n := range names {
			for _, s := range all[n] {
				*f.to = append(*f.to, Span{uint32(s.first), uint32(s.end - s.first)})
			}
		}
	}
	return uids, gids, nil
}

// common gives what is in both lists.
func common(a, b []span) []span {
	var out []span
	for _, x := range a {
		for _, y := range b {
			if x.meets(y) {
				out = append(out, span{max(x.first, y.first), min(x.end, y.end)})
			}
		}
	}
	return out
}

// subordinate reads a file of subuid(5): NAME:FIRST:COUNT lines. One that is not
// there is empty; a line that makes no sense gives nobody anything.
func subordinate(name string) (map[string][]span, error) {
	out := map[string][]span{}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the subordinate ids: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		part := strings.Split(strings.TrimSpace(sc.Text()), ":")
		if len(part) != 3 || strings.HasPrefix(part[0], "#") {
			continue
		}
		from, err1 := strconv.ParseUint(part[1], 10, 32)
		count, err2 := strconv.ParseUint(part[2], 10, 32)
		if err1 == nil && err2 == nil && count > 0 && from+count <= 1<<32-1 {
			out[part[0]] = append(out[part[0]], span{from, from + count})
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the subordinate ids: %s: %w", name, err)
	}
	return out, nil
}
