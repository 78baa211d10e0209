package cgroup

import (
	"errors"
	"fmt"
	"slices"
)

// Update changes the limits of a living group from old, which are those it was
// made with or last changed to, to new. What old limits and new does not goes
// back to the kernel's default. Only what differs is written, in an order in
// which each step is good by itself. On an error everything is as before, as
// far as the kernel allows; the error tells if it is not.
//
// The kernel may take a limit below what is in use: memory is then reclaimed,
// and on v2 processes killed if that is not enough; v1 refuses with EBUSY.
func (g *Group) Update(old, new Limits) error {
	if err := new.Validate(); err != nil {
		return err
	}
	asked, err := g.tree.settingsFor(&new, false)
	if err != nil {
		return err
	}
	if err := asked.err(); err != nil {
		return err
	}
	// The limit of a disk that has gone is gone with it.
	old.IOMax = slices.DeleteFunc(slices.Clone(old.IOMax), func(m IOMax) bool {
		_, err := wholeDisk(m.Device)
		return err != nil
	})
	// Both sides name the same keys, so that each write has its opposite.
	before, after := withDefaults(old, new), withDefaults(new, old)
	from, err := g.tree.settingsFor(&before, true)
	if err != nil {
		return fmt.Errorf("cannot tell the limits so far: %w", err)
	}
	to, err := g.tree.settingsFor(&after, true)
	if err != nil {
		return err
	}
	settings := changed(to.settings, from.settings)
	undo := changed(from.settings, to.settings)
	if raises(old.MemoryMax, new.MemoryMax) {
		reverseMemory(settings)
	}
	made, err := g.makeFor(settings)
	done := 0
	if err == nil {
		done, err = g.writeAll(settings)
	}
	if err == nil {
		err = g.setDevices(&new, &old)
	}
	for _, h := range made {
		if err == nil {
			err = g.moveInto(h)
		}
	}
	if err == nil {
		return nil
	}
	for _, h := range made {
		err = errors.Join(err, g.leave(h))
	}
	// Back the way we came, the step that failed included: it may consist of
	// several writes.
	for i := min(done, len(settings)-1); i >= 0; i-- {
		for _, s := range undo {
			if s.same(settings[i]) {
				if h := g.tree.by[s.controller]; h.onDemand && !existsAt(h.slice, g.name) {
					continue // gone with the group
				}
				if _, e := g.writeAll([]setting{s}); e != nil {
					err = errors.Join(err, fmt.Errorf("and cannot undo: %w", e))
				}
			}
		}
	}
	if done == len(settings) && !sameDevices(&new, &old) {
		if e := g.setDevices(&old, &new); e != nil {
			err = errors.Join(err, fmt.Errorf("and cannot undo: %w", e))
		}
	}
	return err
}

// same tells whether two settings are of the same thing.
func (s setting) same(o setting) bool {
	return s.key == o.key && s.id == o.id && s.controller == o.controller
}

// changed gives the settings of a that b has otherwise or not at all.
func changed(a, b []setting) []setting {
	var out []setting
	for _, s := range a {
		if !slices.ContainsFunc(b, func(o setting) bool { return s.same(o) && slices.Equal(s.writes, o.writes) }) {
			out = append(out, s)
		}
	}
	return out
}

func raises(old, new *int64) bool {
	return old != nil && *old != -1 && (new == nil || *new == -1 || *new > *old)
}

// reverseMemory turns the order of the memory settings around, for a raised
// limit: then the outer bounds move before the inner ones. v1 refuses a memory
// limit above that of memory and swap together.
func reverseMemory(settings []setting) {
	start := slices.IndexFunc(settings, func(s setting) bool { return s.controller == "memory" })
	if start < 0 {
		return
	}
	end := start
	for end < len(settings) && settings[end].controller == "memory" {
		end++
	}
	slices.Reverse(settings[start:end])
}

// withDefaults gives l with the kernel's default for each key that other has
// and l has not.
func withDefaults(l, other Limits) Limits {
	fill := func(value **int64, other *int64, def int64) {
		if *value == nil && other != nil {
			*value = &def
		}
	}
	fill(&l.MemoryMax, other.MemoryMax, -1)
	fill(&l.MemoryHigh, other.MemoryHigh, -1)
	fill(&l.MemoryLow, other.MemoryLow, 0)
	fill(&l.MemoryMin, other.MemoryMin, 0)
	fill(&l.MemorySwapMax, other.MemorySwapMax, -1)
	fill(&l.CPUMax, other.CPUMax, -1)
	fill(&l.PidsMax, other.PidsMax, -1)
	weight := 100
	if l.CPUWeight == nil && other.CPUWeight != nil {
		l.CPUWeight = &weight
	}
	if l.IOWeight == nil && other.IOWeight != nil {
		l.IOWeight = &weight
	}
	l.IOMax = slices.Clone(l.IOMax)
	for _, o := range other.IOMax {
		i := slices.IndexFunc(l.IOMax, func(m IOMax) bool { return m.Device == o.Device })
		if i < 0 {
			i = len(l.IOMax)
			l.IOMax = append(l.IOMax, IOMax{Device: o.Device})
		}
		for _, f := range o.fields() {
			fill(f.target(&l.IOMax[i]), f.value, -1)
		}
	}
	huge := make(map[string]int64)
	for size := range other.HugetlbMax {
		huge[size] = -1
	}
	for size, value := range l.HugetlbMax {
		huge[size] = value
	}
	l.HugetlbMax = huge
	return l
}
