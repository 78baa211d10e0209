package units

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Origins are the sources of each unit of a set, as they were given to Decode.
// Check reads places in them only when it has something to report.
type Origins map[string][]Source

// Check looks at the units of a set together. What it finds are: names of units
// that are not there, units that refer to themselves, cycles in the order, units
// that conflict with what they require, and namespaces that cannot be joined.
//
// What orders what: requires means that the other is started too and is ready
// before this unit starts. after waits for the state it names, for a unit that
// is started for whatever reason. wants starts the other and gives no order.
// conflicts and on-failure give no order. A namespace "unit:NAME" needs NAME in
// requires, because there is nothing to join before it runs. A task is ready
// when it has run to its end with success.
func Check(set map[string]*Unit, origins Origins) Diagnostics {
	g := &graph{set: set, origins: origins, rep: &report{}, names: slices.Sorted(maps.Keys(set)), trees: make(map[string]*node)}
	for _, name := range g.names {
		g.references(name)
	}
	g.cycles()
	g.conflicts()
	for _, name := range g.names {
		g.joins(name)
		g.states(name)
	}
	return g.rep.diagnostics.Sorted()
}

// Fault makes an error at a key of a unit, for those who know of the machine what
// Decode cannot. sources are those that Decode was given; a key that is not
// written is reported at the nearest table above it.
func Fault(name string, sources []Source, key, code, message, hint string) Diagnostic {
	files, root := readAll(name, sources, &report{})
	v := &validator{rep: &report{}, root: root, top: span{files[0], 0, 0}}
	at := v.at(key)
	if n := root.find(key); n != nil {
		at = n.at
	}
	v.rep.add(code, Error, at, hint, message)
	return v.rep.diagnostics[0]
}

type graph struct {
	set     map[string]*Unit
	names   []string
	origins Origins
	rep     *report
	trees   map[string]*node // read when first needed
}

// edge is one reference of a unit to another.
type edge struct {
	from, to string
	key      string // "unit.requires", "namespaces.network"
	index    int    // in the list of the key
}

// tree gives the merged tree of a unit's sources.
func (g *graph) tree(name string) *node {
	if g.trees[name] == nil {
		_, g.trees[name] = readAll(name, g.origins[name], &report{})
	}
	return g.trees[name]
}

// at gives the place of an edge in its file.
func (g *graph) at(e edge) span {
	root := g.tree(e.from)
	n := root.find(e.key)
	if n == nil {
		return root.key
	}
	expansion := newExpansion(e.from)
	for _, item := range n.items {
		if child := item.find("unit"); item.kind == table_ && child != nil {
			item = child
		}
		if s, _ := expansion.expand(item.text); s == e.to {
			return item.at
		}
	}
	return n.at
}

// edges lists the references of a unit under the keys given, "" for all.
func (g *graph) edges(name string) []edge {
	u := g.set[name]
	var out []edge
	list := func(key string, names []string) {
		for i, to := range names {
			out = append(out, edge{name, to, key, i})
		}
	}
	list("unit.requires", u.Unit.Requires)
	list("unit.wants", u.Unit.Wants)
	for i, dep := range u.Unit.After {
		if dep.Unit != "" {
			out = append(out, edge{name, dep.Unit, "unit.after", i})
		}
	}
	list("unit.conflicts", u.Unit.Conflicts)
	list("unit.on-failure", u.Unit.OnFailure)
	for _, kind := range namespaceKinds(u) {
		if to, ok := strings.CutPrefix(kind.value, "unit:"); ok {
			out = append(out, edge{name, to, "namespaces." + kind.name, 0})
		}
	}
	return out
}

// references reports edges to units that are not there, and to the unit itself.
func (g *graph) references(name string) {
	for _, e := range g.edges(name) {
		switch {
		case e.to == name && strings.HasPrefix(e.key, "unit."):
			g.rep.fail("U041", g.at(e), "remove it", "%s names itself in %s", name, e.key)
		case g.set[e.to] == nil:
			g.rep.fail("U040", g.at(e), g.suggestUnit(e.to), "%s names the unit %s, which does not exist", e.key, quote(e.to))
		}
	}
}

func (g *graph) suggestUnit(name string) string {
	prefix, _ := SplitName(name)
	for _, other := range g.names {
		if p, instance := SplitName(other); instance != "" && p == prefix {
			return "did you mean " + quote(other) + "?"
		}
	}
	return suggest(name, g.names, "add a file "+name+".toml, or remove the name")
}

// order lists the edges of a unit that say that it starts behind another.
func (g *graph) order(name string) []edge {
	var out []edge
	for _, e := range g.edges(name) {
		if (e.key == "unit.requires" || e.key == "unit.after") && e.to != name && g.set[e.to] != nil {
			out = append(out, e)
		}
	}
	return out
}

// Order gives the units of a set so that each comes behind all that it starts
// behind, by name where the order is free. The set must have passed Check: of
// units on a cycle the order is arbitrary.
func Order(set map[string]*Unit) []string {
	g := &graph{set: set, names: slices.Sorted(maps.Keys(set))}
	var out []string
	seen := make(map[string]bool)
	type frame struct {
		name  string
		edges []edge
	}
	for _, name := range g.names {
		if seen[name] {
			continue
		}
		seen[name] = true
		stack := []frame{{name, g.order(name)}}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if len(top.edges) == 0 {
				out = append(out, top.name)
				stack = stack[:len(stack)-1]
				continue
			}
			next := top.edges[0].to
			top.edges = top.edges[1:]
			if !seen[next] {
				seen[next] = true
				stack = append(stack, frame{next, g.order(next)})
			}
		}
	}
	return out
}

// cycles reports one shortest cycle of each knot of units that wait for each other.
func (g *graph) cycles() {
	knots := g.knots()
	for _, knot := range knots {
		path := g.shortestCycle(knot)
		names := []string{path[0].from}
		var related []Position
		for _, e := range path {
			names = append(names, e.to)
			related = append(related, g.at(e).position(fmt.Sprintf("%s starts behind %s (%s)", e.from, e.to, e.key)))
		}
		g.rep.add("U042", Error, g.at(path[0]), "remove one of these, or turn requires into wants",
			"the units wait for each other: "+strings.Join(names, " → "), related...)
	}
}

// knots gives the strongly connected components of more than one unit.
func (g *graph) knots() [][]string {
	// Kosaraju's algorithm, without recursion: a hostile set may be deep.
	reverse := make(map[string][]string)
	for _, name := range g.names {
		for _, e := range g.order(name) {
			reverse[e.to] = append(reverse[e.to], name)
		}
	}
	finished := Order(g.set)
	owner := make(map[string]int)
	var knots [][]string
	for _, root := range slices.Backward(finished) {
		if owner[root] != 0 {
			continue
		}
		id := len(knots) + 1
		owner[root] = id
		knot, queue := []string{}, []string{root}
		for len(queue) > 0 {
			name := queue[0]
			queue = queue[1:]
			knot = append(knot, name)
			for _, other := range reverse[name] {
				if owner[other] == 0 {
					owner[other] = id
					queue = append(queue, other)
				}
			}
		}
		knots = append(knots, knot)
	}
	knots = slices.DeleteFunc(knots, func(k []string) bool { return len(k) < 2 })
	for _, k := range knots {
		slices.Sort(k)
	}
	slices.SortFunc(knots, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return knots
}

// shortestCycle gives the shortest cycle through the knot's first unit.
func (g *graph) shortestCycle(knot []string) []edge {
	start := knot[0]
	inside := make(map[string]bool)
	for _, name := range knot {
		inside[name] = true
	}
	came := make(map[string]edge)
	for queue := []string{start}; len(queue) > 0; queue = queue[1:] {
		for _, e := range g.order(queue[0]) {
			if e.to == start {
				path := []edge{e}
				for path[0].from != start {
					path = slices.Insert(path, 0, came[path[0].from])
				}
				return path
			}
			if _, seen := came[e.to]; !seen && inside[e.to] {
				came[e.to] = e
				queue = append(queue, e.to)
			}
		}
	}
	panic("units: a knot without a cycle")
}

// conflicts reports conflicts between units that some unit requires together.
func (g *graph) conflicts() {
	requiredBy := make(map[string][]edge)
	for _, name := range g.names {
		for _, e := range g.edges(name) {
			if e.key == "unit.requires" {
				requiredBy[e.to] = append(requiredBy[e.to], e)
			}
		}
	}
	above := make(map[string]map[string]edge)
	needs := func(name string) map[string]edge { // who requires name, directly or not, by which edge
		if above[name] != nil {
			return above[name]
		}
		found := map[string]edge{name: {}}
		for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
			for _, e := range requiredBy[queue[0]] {
				if _, seen := found[e.from]; !seen {
					found[e.from] = e
					queue = append(queue, e.from)
				}
			}
		}
		above[name] = found
		return found
	}
	for _, name := range g.names {
		for _, e := range g.edges(name) {
			if e.key != "unit.conflicts" || e.to == name || g.set[e.to] == nil {
				continue
			}
			a, b := needs(e.from), needs(e.to)
			for _, top := range slices.Sorted(maps.Keys(a)) {
				if _, both := b[top]; !both {
					continue
				}
				var related []Position
				for _, way := range []map[string]edge{a, b} {
					for at := top; way[at].to != ""; at = way[at].to {
						related = append(related, g.at(way[at]).position(fmt.Sprintf("%s requires %s", at, way[at].to)))
					}
				}
				g.rep.add("U043", Error, g.at(e), "remove the conflict or the requirement",
					fmt.Sprintf("%s conflicts with %s, but %s can only run with both", e.from, e.to, top), related...)
				break
			}
		}
	}
}

// joins reports namespaces of other units that cannot be joined.
func (g *graph) joins(name string) {
	u := g.set[name]
	for _, e := range g.edges(name) {
		kind, ok := strings.CutPrefix(e.key, "namespaces.")
		other := g.set[e.to]
		if !ok || e.to == name || other == nil {
			continue
		}
		if !slices.Contains(u.Unit.Requires, e.to) {
			g.rep.fail("U044", g.at(e), fmt.Sprintf("add %s to requires in [unit]", quote(e.to)), "%s joins a namespace of %s, which it does not require", name, e.to)
		}
		if other.Restart.Mode == "replace" {
			g.rep.fail("U049", g.at(e), fmt.Sprintf(`write restart.mode = "stop" in %s`, e.to),
				"%s joins a namespace of %s, which is replaced by another container at a restart", name, e.to)
		}
		for _, theirs := range namespaceKinds(other) {
			if theirs.name == kind && (theirs.value != "new" || other.Service.Type == "group") {
				g.rep.fail("U044", g.at(e), `name the unit that has it, or write "host"`, "%s has no %s namespace of its own", e.to, kind)
			}
		}
	}
}

// states warns of units that wait for what never comes.
func (g *graph) states(name string) {
	for i, dep := range g.set[name].Unit.After {
		other := g.set[dep.Unit]
		if dep.Is == "healthy" && other != nil && len(other.Health) == 0 {
			g.rep.warn("U050", g.at(edge{name, dep.Unit, "unit.after", i}), "add a [health.NAME] to "+dep.Unit,
				"%s waits for %s to be healthy, but it has no health checks: it counts as healthy as soon as it is ready", name, dep.Unit)
		}
		if dep.Is == "completed" && other != nil && other.Service.Type != "task" {
			g.rep.warn("U045", g.at(edge{name, dep.Unit, "unit.after", i}), `wait for is = "ready", or make it a task`,
				"%s waits for %s to be completed, but only a task completes; %s is a %s", name, dep.Unit, dep.Unit, other.Service.Type)
		}
	}
}
