package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"berth/supervisor/api"
	"berth/supervisor/core"

	"github.com/spf13/cobra"
)

func (a *app) graphCommand() *cobra.Command {
	format, reverse := "tree", false
	c := &cobra.Command{
		Use: "graph [UNIT]", Short: "Show what units need: as a tree, DOT or SVG",
		Long: `Shows what a unit, or every unit, requires, wants and starts after. "tree" is for
reading, "dot" for graphviz, "svg" is a picture: columns from left to right are
the order of the start, and an arrow points at what is needed.`,
		Example: `  berth graph web
  berth graph db --reverse
  berth graph --format svg > units.svg`,
		Args: usage(cobra.MaximumNArgs(1)), ValidArgsFunction: a.units,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"tree", "dot", "svg"}, format) {
				return &usageError{fmt.Errorf("--format is tree, dot or svg, not %q", format), ""}
			}
			g, err := a.graph(cmd, args, reverse)
			if err != nil {
				return err
			}
			switch {
			case a.json():
				return a.printJSON(g.list())
			case format == "dot":
				g.dot(a.out)
			case format == "svg":
				g.svg(a.out)
			default:
				g.tree(a.out, a.paint(), args)
			}
			return nil
		},
	}
	c.Flags().StringVar(&format, "format", format, "tree, dot or svg")
	c.Flags().BoolVar(&reverse, "reverse", false, "show what needs the unit in place of what it needs")
	return c
}

// graph asks for the units, and keeps those that the one named reaches.
func (a *app) graph(cmd *cobra.Command, args []string, reverse bool) (*unitGraph, error) {
	nodes, err := a.client().Graph(cmd.Context())
	if err != nil {
		return nil, err
	}
	g := newUnitGraph(nodes, reverse)
	if len(args) == 0 {
		return g, nil
	}
	if g.nodes[args[0]] == nil {
		_, err := a.client().Status(cmd.Context(), args[0]) // its error names what may be meant
		return nil, cmp.Or(err, error(&api.Error{Code: "not-found", Message: fmt.Sprintf("there is no unit %q", args[0])}))
	}
	g.keep(args[0])
	return g, nil
}

// unitGraph are units and what leads from one to the other.
type unitGraph struct {
	nodes map[string]*api.Node
	edges map[string][]unitEdge
}

// unitEdge leads from a unit to one that it needs; reversed: that needs it.
type unitEdge struct {
	to   string
	kind string // requires | wants | after
	is   string // after: how far it must have come
}

func (e unitEdge) label() string {
	if e.kind == "after" {
		return "after " + e.is
	}
	return e.kind
}

func newUnitGraph(nodes []api.Node, reverse bool) *unitGraph {
	g := &unitGraph{nodes: map[string]*api.Node{}, edges: map[string][]unitEdge{}}
	for i := range nodes {
		g.nodes[nodes[i].Name] = &nodes[i]
	}
	for _, n := range nodes {
		seen := map[string]bool{n.Name: true}
		add := func(to, kind, is string) {
			if g.nodes[to] == nil || seen[to] {
				return // the strongest tie is told
			}
			seen[to] = true
			if reverse {
				g.edges[to] = append(g.edges[to], unitEdge{n.Name, kind, is})
			} else {
				g.edges[n.Name] = append(g.edges[n.Name], unitEdge{to, kind, is})
			}
		}
		for _, to := range n.Requires {
			add(to, "requires", "")
		}
		for _, to := range n.Wants {
			add(to, "wants", "")
		}
		for _, d := range n.After {
			add(d.Unit, "after", d.Is)
		}
	}
	return g
}

// keep drops what the unit does not reach.
func (g *unitGraph) keep(name string) {
	reached := map[string]bool{}
	var walk func(string)
	walk = func(n string) {
		if reached[n] {
			return
		}
		reached[n] = true
		for _, e := range g.edges[n] {
			walk(e.to)
		}
	}
	walk(name)
	maps.DeleteFunc(g.nodes, func(n string, _ *api.Node) bool { return !reached[n] })
	maps.DeleteFunc(g.edges, func(n string, _ []unitEdge) bool { return !reached[n] })
}

func (g *unitGraph) names() []string { return slices.Sorted(maps.Keys(g.nodes)) }

func (g *unitGraph) list() []api.Node {
	list := []api.Node{}
	for _, n := range g.names() {
		list = append(list, *g.nodes[n])
	}
	return list
}

// roots are the units that no other leads to; of a circle of wants, the first.
func (g *unitGraph) roots() []string {
	pointed := map[string]bool{}
	for _, edges := range g.edges {
		for _, e := range edges {
			pointed[e.to] = true
		}
	}
	var roots []string
	reached := map[string]bool{}
	var walk func(string)
	walk = func(n string) {
		if !reached[n] {
			reached[n] = true
			for _, e := range g.edges[n] {
				walk(e.to)
			}
		}
	}
	take := func(n string) { roots = append(roots, n); walk(n) }
	for _, n := range g.names() {
		if !pointed[n] {
			take(n)
		}
	}
	for _, n := range g.names() {
		if !reached[n] {
			take(n)
		}
	}
	return roots
}

func (g *unitGraph) tree(w io.Writer, p paint, from []string) {
	if len(from) == 0 {
		from = g.roots()
	}
	told := map[string]bool{}
	var show func(name, label, head, margin string)
	show = func(name, label, head, margin string) {
		n := g.nodes[name]
		line := head + p.in(phaseColor(n.Phase), "●") + " " + name
		if label != "" {
			line += p.in(faint, " ("+label+")")
		}
		if told[name] && len(g.edges[name]) > 0 {
			fmt.Fprintln(w, line+p.in(faint, ", see above"))
			return
		}
		fmt.Fprintln(w, line+" "+p.in(phaseColor(n.Phase), nodeState(n)))
		told[name] = true
		for i, e := range g.edges[name] {
			branch, below := "├─ ", "│  "
			if i == len(g.edges[name])-1 {
				branch, below = "└─ ", "   "
			}
			show(e.to, e.label(), margin+branch, margin+below)
		}
	}
	for _, name := range from {
		show(name, "", "", "")
	}
}

func nodeState(n *api.Node) string {
	if n.Phase == core.Running && !n.Ready {
		return "running, not ready"
	}
	return string(n.Phase)
}

// dot writes the graph in the language of graphviz.
func (g *unitGraph) dot(w io.Writer) {
	fmt.Fprintln(w, "digraph berth {\n  rankdir = \"RL\";\n  node [shape = \"box\", style = \"rounded,filled\", fontname = \"sans-serif\"];")
	for _, name := range g.names() {
		fmt.Fprintf(w, "  %q [fillcolor = %q];\n", name, fill(g.nodes[name]))
	}
	styles := map[string]string{"requires": "solid", "wants": "dashed", "after": "dotted"}
	for _, name := range g.names() {
		for _, e := range g.edges[name] {
			fmt.Fprintf(w, "  %q -> %q [style = %q, tooltip = %q];\n", name, e.to, styles[e.kind], e.label())
		}
		for _, c := range g.nodes[name].Conflicts {
			if g.nodes[c] != nil {
				fmt.Fprintf(w, "  %q -> %q [style = \"dashed\", color = \"#c0392b\", dir = \"none\", constraint = \"false\", tooltip = \"conflicts\"];\n", name, c)
			}
		}
	}
	fmt.Fprintln(w, "}")
}

// fill is the colour of a unit in a picture.
func fill(n *api.Node) string {
	switch phaseColor(n.Phase) {
	case green:
		if n.Phase == core.Running && !n.Ready {
			return "#fdebc8"
		}
		return "#d5f0dc"
	case red:
		return "#f8d0cc"
	case yellow:
		return "#fdebc8"
	}
	return "#eceff1"
}

// rank is the unit's column: how many others have to come before it.
func (g *unitGraph) ranks() map[string]int {
	ranks := map[string]int{}
	open := map[string]bool{}
	var rank func(string) int
	rank = func(name string) int {
		if r, ok := ranks[name]; ok {
			return r
		}
		if open[name] {
			return 0 // a circle, which only wants can make
		}
		open[name] = true
		r := 0
		for _, e := range g.edges[name] {
			r = max(r, rank(e.to)+1)
		}
		ranks[name] = r
		return r
	}
	for _, name := range g.names() {
		rank(name)
	}
	return ranks
}

// columns puts the units into columns by rank, each next to those that it is
// tied to: a few sweeps over the mean place of the neighbours.
func (g *unitGraph) columns() [][]string {
	var columns [][]string
	ranks := g.ranks()
	for _, name := range g.names() {
		for len(columns) <= ranks[name] {
			columns = append(columns, nil)
		}
		columns[ranks[name]] = append(columns[ranks[name]], name)
	}
	near := map[string][]string{}
	for name, edges := range g.edges {
		for _, e := range edges {
			near[name] = append(near[name], e.to)
			near[e.to] = append(near[e.to], name)
		}
	}
	place := map[string]float64{}
	settle := func(column []string) {
		for i, name := range column {
			place[name] = float64(i) - float64(len(column))/2
		}
	}
	for _, column := range columns {
		settle(column)
	}
	mean := func(name string) float64 {
		sum := 0.0
		for _, n := range near[name] {
			sum += place[n]
		}
		return sum / float64(max(1, len(near[name])))
	}
	for range 8 {
		for _, column := range columns {
			slices.SortStableFunc(column, func(x, y string) int { return cmp.Compare(mean(x), mean(y)) })
			settle(column)
		}
	}
	return columns
}

const (
	boxHeight = 28
	rowHeight = 42
	columnGap = 70
	letter    = 7.4 // the width of a letter, about
	border    = 24
)

// svg draws the graph.
func (g *unitGraph) svg(w io.Writer) {
	columns := g.columns()
	type box struct{ x, y, width float64 }
	boxes := map[string]box{}
	rows := 1
	for _, column := range columns {
		rows = max(rows, len(column))
	}
	height := float64(rows*rowHeight + 2*border + 30)
	x := float64(border)
	for _, column := range columns {
		width := 0.0
		for _, name := range column {
			width = max(width, letter*float64(len(name))+22)
		}
		top := (height - 30 - float64(len(column)*rowHeight)) / 2
		for i, name := range column {
			boxes[name] = box{x, top + float64(i*rowHeight), width}
		}
		x += width + columnGap
	}
	width := max(x-columnGap+border, 420)
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p(`<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="13">`, width, height, width, height)
	p(`<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#546e7a"/></marker></defs>`)
	p(`<rect width="100%%" height="100%%" fill="white"/>`)
	dashes := map[string]string{"requires": "", "wants": ` stroke-dasharray="7 4"`, "after": ` stroke-dasharray="2 4"`}
	for _, name := range g.names() {
		from := boxes[name]
		for _, e := range g.edges[name] {
			to := boxes[e.to]
			x1, y1 := from.x, from.y+boxHeight/2
			x2, y2 := to.x+to.width, to.y+boxHeight/2
			bend := max(30, (x1-x2)/2)
			p(`<path d="M%.0f %.0f C%.0f %.0f %.0f %.0f %.0f %.0f" fill="none" stroke="#546e7a"%s marker-end="url(#tip)"><title>%s %s %s</title></path>`,
				x1, y1, x1-bend, y1, x2+bend, y2, x2, y2, dashes[e.kind], name, e.label(), e.to)
		}
		for _, c := range g.nodes[name].Conflicts {
			if to, ok := boxes[c]; ok {
				p(`<path d="M%.0f %.0f L%.0f %.0f" fill="none" stroke="#c0392b" stroke-dasharray="4 3"><title>%s conflicts with %s</title></path>`,
					from.x+from.width/2, from.y+boxHeight, to.x+to.width/2, to.y, name, c)
			}
		}
	}
	for _, name := range g.names() {
		b := boxes[name]
		p(`<g><title>%s: %s</title><rect x="%.0f" y="%.0f" width="%.0f" height="%d" rx="6" fill="%s" stroke="#78909c"/><text x="%.0f" y="%.0f" text-anchor="middle">%s</text></g>`,
			name, nodeState(g.nodes[name]), b.x, b.y, b.width, boxHeight, fill(g.nodes[name]), b.x+b.width/2, b.y+18, name)
	}
	legend := border
	for _, l := range []struct{ text, dash string }{{"requires", dashes["requires"]}, {"wants", dashes["wants"]}, {"after", dashes["after"]}} {
		p(`<path d="M%d %.0f h34" stroke="#546e7a"%s/><text x="%d" y="%.0f" fill="#546e7a">%s</text>`, legend, height-18, l.dash, legend+40, height-14, l.text)
		legend += 130
	}
	p(`</svg>`)
}
