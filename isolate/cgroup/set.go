package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Set gives a living group the limits l and no others, whatever it has now: for
// a caller that cannot tell what that is, as after a change that may have been
// cut short. Every limit that this host has is written; what l does not give
// goes back to the kernel's default. Device rules are left as they are. Who
// knows the limits so far calls Update, which writes less, and undoes what it
// cannot do whole: here the errors of single limits are joined, and all others
// are set.
func (g *Group) Set(l Limits) error {
	if err := l.Validate(); err != nil {
		return err
	}
	asked, err := g.tree.settingsFor(&l, false)
	if err != nil {
		return err
	}
	if err := asked.err(); err != nil {
		return err
	}
	whole := withDefaults(l, g.tree.everyLimit(l.IOMax))
	to, err := g.tree.settingsFor(&whole, true) // what the host lacks is not written
	if err != nil {
		return err
	}
	stale, err := g.staleIO(to.settings)
	if err != nil {
		return err
	}
	settings := slices.Concat(g.tree.openSwap(), to.settings, stale)
	settings = slices.DeleteFunc(settings, func(s setting) bool {
		h := g.tree.by[s.controller]
		return h.onDemand && !existsAt(h.slice, g.name) && !g.tree.need(h, asked.settings)
	})
	if _, err := g.makeFor(settings); err != nil {
		return err
	}
	var all []error
	for _, s := range settings {
		if _, err := g.writeAll([]setting{s}); err != nil {
			all = append(all, err)
		}
	}
	// Also into groups that were there: who made them may not have come to it.
	for _, h := range g.tree.hierarchies {
		if h.onDemand && existsAt(h.slice, g.name) {
			all = append(all, g.moveInto(h))
		}
	}
	return errors.Join(all...)
}

// everyLimit gives limits that name each key there is, for withDefaults; of
// disks those of the list.
func (t *Tree) everyLimit(disks []IOMax) Limits {
	some, weight := int64(0), 0
	l := Limits{
		MemoryMax: &some, MemoryHigh: &some, MemoryLow: &some, MemoryMin: &some, MemorySwapMax: &some,
		CPUMax: &some, CPUWeight: &weight, PidsMax: &some, IOWeight: &weight,
		HugetlbMax: map[string]int64{},
	}
	for _, m := range disks {
		l.IOMax = append(l.IOMax, IOMax{Device: m.Device, ReadBPS: &some, WriteBPS: &some, ReadIOPS: &some, WriteIOPS: &some})
	}
	for _, size := range t.hugePageSizes() {
		l.HugetlbMax[size] = some
	}
	return l
}

// hugePageSizes lists the page sizes that can be limited, in the kernel's form.
func (t *Tree) hugePageSizes() []string {
	h := t.by["hugetlb"]
	if h == nil {
		return nil
	}
	suffix := ".limit_in_bytes"
	if h.unified {
		suffix = ".max"
	}
	names, err := controlFiles(h.slice)
	if err != nil {
		return nil
	}
	var sizes []string
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, "hugetlb.")
		size, is := strings.CutSuffix(rest, suffix)
		if ok && is && !strings.Contains(size, ".") { // hugetlb.2MB.rsvd.max is another limit
			sizes = append(sizes, size)
		}
	}
	return sizes
}

// openSwap lifts v1's limit of memory and swap together, which otherwise bounds
// how far the limit of memory can be raised before its own turn comes.
func (t *Tree) openSwap() []setting {
	const file = "memory.memsw.limit_in_bytes"
	h := t.by["memory"]
	if h == nil || h.unified || !existsAt(h.slice, file) {
		return nil
	}
	return []setting{{key: "memory-swap-max", controller: "memory", writes: []controlWrite{{file, "-1"}}}}
}

// staleIO lifts the limits of those disks that the group limits and the settings
// do not name.
func (g *Group) staleIO(settings []setting) ([]setting, error) {
	controller := "io"
	if g.tree.by["blkio"] != nil {
		controller = "blkio"
	}
	h := g.tree.by[controller]
	if h == nil {
		return nil, nil
	}
	dir, err := g.dir(h)
	if err != nil {
		return nil, fmt.Errorf("cannot tell the limits so far: %w", err)
	}
	defer dir.Close()
	// The lines of a file that begin with a disk's number.
	disks := func(file string) (map[string]bool, error) {
		found := map[string]bool{}
		if !existsAt(dir, file) {
			return found, nil
		}
		text, err := readAt(dir, file)
		if err != nil {
			return nil, fmt.Errorf("cannot tell the limits so far: %w", err)
		}
		for line := range strings.Lines(text) {
			if number, _, _ := strings.Cut(line, " "); strings.Contains(number, ":") {
				found[number] = true
			}
		}
		return found, nil
	}
	var out []setting
	add := func(file, id, number, value string) {
		s := setting{key: "io-max", id: id, controller: controller, writes: []controlWrite{{file, number + " " + value}}}
		if !slices.ContainsFunc(settings, s.same) {
			out = append(out, s)
		}
	}
	if h.unified {
		found, err := disks("io.max")
		for _, number := range slices.Sorted(maps.Keys(found)) {
			add("io.max", number, number, "rbps=max wbps=max riops=max wiops=max")
		}
		return out, err
	}
	for _, f := range (&IOMax{}).fields() {
		found, err := disks(f.v1)
		if err != nil {
			return nil, err
		}
		for _, number := range slices.Sorted(maps.Keys(found)) {
			add(f.v1, number+" "+f.key, number, "0")
		}
	}
	return out, nil
}
