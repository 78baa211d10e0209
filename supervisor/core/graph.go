package core

import (
	"slices"

	"berth/units"
)

// node is one unit's place in the graph of the newest generation. Names that
// are not (or no longer) units may occur in it.
type node struct {
	requires  []string
	wants     []string
	after     []units.Dependency
	conflicts []string // of both sides, sorted
	onFailure []string
	members   []string // of a group: the wanted units that it waits for

	requiredBy []string // sorted
	before     []string // those that start after this one and stop before it, sorted
	near       []string // all whose next move may hang on this unit
}

// buildGraph makes the graph of the newest configurations. A unit that is gone
// keeps its own edges until it is down; as no other unit of the new generation
// names it, they cannot close a cycle.
func buildGraph(all map[string]*Unit) map[string]*node {
	names := sortedNames(all)
	g := make(map[string]*node, len(all))
	for _, name := range names {
		sec := all[name].newest().Unit
		other := func(n string) bool { return n == name }
		g[name] = &node{
			requires:  slices.DeleteFunc(slices.Clone(sec.Requires), other),
			wants:     slices.DeleteFunc(slices.Clone(sec.Wants), other),
			after:     slices.DeleteFunc(slices.Clone(sec.After), func(d units.Dependency) bool { return d.Unit == name }),
			onFailure: slices.Clone(sec.OnFailure),
		}
	}
	for _, name := range names {
		n := g[name]
		for _, c := range all[name].newest().Unit.Conflicts {
			if o := g[c]; o != nil && c != name {
				n.conflicts = append(n.conflicts, c)
				o.conflicts = append(o.conflicts, name)
			}
		}
		for _, d := range n.requires {
			if o := g[d]; o != nil {
				o.requiredBy = append(o.requiredBy, name)
				o.before = append(o.before, name)
			}
		}
		for _, d := range n.after {
			if o := g[d.Unit]; o != nil {
				o.before = append(o.before, name)
			}
		}
	}
	for _, name := range names {
		if all[name].newest().Service.Type == "group" {
			addMembers(g, name)
		}
	}
	for _, n := range g {
		n.finish()
	}
	return g
}

// addMembers lets a group wait for what it wants, but for units that wait,
// directly or not, for the group itself.
func addMembers(g map[string]*node, group string) {
	n := g[group]
	for _, w := range n.wants {
		if o := g[w]; o != nil && !reaches(g, w, group) {
			n.members = append(n.members, w)
			o.before = append(o.before, group)
		}
	}
}

// reaches reports whether from waits for to.
func reaches(g map[string]*node, from, to string) bool {
	seen := map[string]bool{}
	stack := []string{from}
	for len(stack) > 0 {
		name := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		n := g[name]
		if name == to {
			return true
		}
		if n == nil || seen[name] {
			continue
		}
		seen[name] = true
		stack = append(stack, n.requires...)
		stack = append(stack, n.members...)
		for _, d := range n.after {
			stack = append(stack, d.Unit)
		}
	}
	return false
}

func (n *node) finish() {
	tidy := func(l []string) []string { slices.Sort(l); return slices.Compact(l) }
	n.requiredBy, n.before, n.conflicts = tidy(n.requiredBy), tidy(n.before), tidy(n.conflicts)
	n.near = slices.Concat(n.before, n.requires, n.members, n.conflicts)
	for _, d := range n.after {
		n.near = append(n.near, d.Unit)
	}
	n.near = tidy(n.near)
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
