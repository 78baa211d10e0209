package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"berth/config"
	"berth/supervisor/api"
	"berth/supervisor/core"
	"berth/units/exposure"

	"github.com/spf13/cobra"
)

func (a *app) analyzeCommand() *cobra.Command {
	last := false
	c := &cobra.Command{
		Use: "analyze", Short: "Look at how units came up, and at what they expose",
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	timed := func(sub *cobra.Command) *cobra.Command {
		sub.Flags().BoolVar(&last, "last", false, "the last start of each unit in place of its first")
		return sub
	}
	// The parts of the boot come before the units, unless these have been started
	// again since.
	times := func(cmd *cobra.Command) (before, list []risen, err error) {
		nodes, err := a.client().Graph(cmd.Context())
		if err != nil || last {
			return nil, risenOf(nodes, last), err
		}
		boot, err := a.client().Boot(cmd.Context())
		if err != nil {
			return nil, nil, err
		}
		list = risenOf(nodes, false)
		return bootOf(boot, list), list, nil
	}
	c.AddCommand(
		timed(&cobra.Command{
			Use: "blame", Short: "List units by the time that they took to become ready",
			Long: `Lists units by the time from their turn, when all they need was up, until they
were ready themselves; beside it the time that they waited for others before.

Where berthd is PID 1 the parts of the boot are among them, each with boot/ before
its name: the kernel, an initramfs, PID 1, its supervisor, and each boot duty.`,
			Args: usage(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				before, list, err := times(cmd)
				if err != nil {
					return err
				}
				list = append(before, list...)
				slices.SortStableFunc(list, func(x, y risen) int { return cmp.Compare(y.took(), x.took()) })
				if a.json() {
					return a.printJSON(list)
				}
				t := &table{}
				t.row(cell{"TOOK", bold}, cell{"WAITED", bold}, cell{"UNIT", bold})
				for _, r := range list {
					t.row(cell{text: short(r.took())}, cell{text: short(r.Starting.Sub(r.Waiting))}, cell{text: r.Name})
				}
				t.print(a.out, a.paint())
				return nil
			},
		}),
		timed(&cobra.Command{
			Use: "critical-chain [UNIT]", Short: "Show the chain of units that a unit had to wait for",
			Long: `Shows, from the unit that was ready last or from the one named, always the one
that it had to wait for longest: when each was ready, counted from the first
start, and how long it took once it was its turn. Where berthd is PID 1 it counts
from the start of the kernel, and the chain ends with what came before the units.`,
			Args: usage(cobra.MaximumNArgs(1)), ValidArgsFunction: a.units,
			RunE: func(cmd *cobra.Command, args []string) error {
				before, list, err := times(cmd)
				if err != nil {
					return err
				}
				chain, err := criticalChain(list, args)
				if err != nil {
					return err
				}
				chain = append(chain, stages(before)...)
				if a.json() {
					return a.printJSON(chain)
				}
				printChain(a.out, a.paint(), chain, epoch(append(before, list...)))
				return nil
			},
		}),
		timed(&cobra.Command{
			Use: "plot", Short: "Draw the start of all units on a time axis, as SVG",
			Long: `Draws what happened when, a row each: where berthd is PID 1 the kernel, an
initramfs, PID 1 and the duties of the boot, then the units, which wait for
others, are set up, run but are not ready, and are ready. The picture has its own
colours for a dark background.`,
			Example: `  berth analyze plot > start.svg`,
			Args:    usage(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				before, list, err := times(cmd)
				if err != nil {
					return err
				}
				return plot(a.out, before, list)
			},
		}),
		a.securityCommand(),
	)
	return c
}

// risen is a unit that has come up, and when.
type risen struct {
	Name string `json:"name"`
	core.Times
	node   api.Node
	failed string // of a part of the boot: the error
}

func (r risen) took() time.Duration { return r.Ready.Sub(r.Starting) }

// risenOf gives the units that have come up, by the time at which they were asked for.
func risenOf(nodes []api.Node, last bool) []risen {
	list := []risen{}
	for _, n := range nodes {
		t := n.First
		if last {
			t = n.Last
		}
		if t == nil || t.Ready.IsZero() {
			continue
		}
		r := risen{Name: n.Name, Times: *t, node: n}
		if r.Starting.IsZero() { // a group
			r.Starting = r.Ready
		}
		list = append(list, r)
	}
	slices.SortStableFunc(list, func(x, y risen) int {
		return cmp.Or(x.Starting.Compare(y.Starting), x.Ready.Compare(y.Ready))
	})
	return list
}

// epoch is when the first of all was asked for.
func epoch(list []risen) time.Time {
	if len(list) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(list, func(x, y risen) int { return x.Waiting.Compare(y.Waiting) }).Waiting
}

// criticalChain follows what each unit waited for, the one that was ready last.
func criticalChain(list []risen, args []string) ([]risen, error) {
	by := map[string]risen{}
	for _, r := range list {
		by[r.Name] = r
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no unit has come up yet")
	}
	from := slices.MaxFunc(list, func(x, y risen) int { return x.Ready.Compare(y.Ready) })
	if len(args) > 0 {
		r, ok := by[args[0]]
		if !ok {
			return nil, fmt.Errorf("%s has not come up yet: see berth why %s", args[0], args[0])
		}
		from = r
	}
	chain := []risen{from}
	for seen := map[string]bool{from.Name: true}; ; {
		r := chain[len(chain)-1]
		names := slices.Clone(r.node.Requires)
		for _, d := range r.node.After {
			names = append(names, d.Unit)
		}
		if r.node.Type == "group" {
			names = append(names, r.node.Wants...)
		}
		var next risen
		for _, n := range names {
			if o, ok := by[n]; ok && !seen[n] && !o.Ready.After(r.Starting) && o.Ready.After(next.Ready) {
				next = o
			}
		}
		if next.Name == "" {
			return chain, nil
		}
		seen[next.Name] = true
		chain = append(chain, next)
	}
}

func printChain(w io.Writer, p paint, chain []risen, start time.Time) {
	for i, r := range chain {
		head := ""
		if i > 0 {
			head = fmt.Sprintf("%*s└─ ", 2*(i-1), "")
		}
		fmt.Fprintf(w, "%s%s %s %s\n", head, p.in(bold, r.Name), "@"+short(r.Ready.Sub(start)), p.in(yellow, "+"+short(r.took())))
	}
}

// short is a span with three digits that matter.
func short(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func (a *app) securityCommand() *cobra.Command {
	dirs := []string(nil)
	c := &cobra.Command{
		Use: "security [UNIT|FILE...]", Short: "Assess what units expose, and name the keys that would close it",
		Long: `Assesses from the unit files alone how much of the machine a program could reach
if it were taken over: a score from 0 (shut) to 10 (open), and for one unit a
table of what is open, with the key that would close it. Nothing is started.`,
		Example: `  berth analyze security
  berth analyze security web
  berth analyze security ./units/web.toml`,
		RunE: func(_ *cobra.Command, args []string) error { return a.security(args, dirs) },
	}
	c.Flags().StringSliceVar(&dirs, "units", existing(config.OwnPlaces().Units), "unit directories, highest first")
	return c
}

func (a *app) security(args, dirs []string) error {
	var reports []exposure.Report
	for _, arg := range args {
		u, err := unitOf(arg, dirs)
		if err != nil {
			return err
		}
		reports = append(reports, exposure.Assess(u))
	}
	if len(args) == 0 {
		set, _, err := load(dirs)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(set.Units)) {
			if set.Units[name].Service.Type != "group" {
				reports = append(reports, exposure.Assess(set.Units[name]))
			}
		}
		slices.SortStableFunc(reports, func(x, y exposure.Report) int { return cmp.Compare(y.Score, x.Score) })
	}
	if a.json() {
		return a.printJSON(reports)
	}
	p := a.paint()
	if len(args) == 0 {
		t := &table{}
		t.row(cell{"UNIT", bold}, cell{"SCORE", bold}, cell{"", bold})
		for _, r := range reports {
			t.row(cell{text: r.Unit}, cell{text: fmt.Sprintf("%.1f", r.Score)}, cell{r.Word, wordColor(r.Word)})
		}
		t.print(a.out, p)
		return nil
	}
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		a.printReport(r)
	}
	return nil
}

func (a *app) printReport(r exposure.Report) {
	p := a.paint()
	t := &table{}
	t.row(cell{"", bold}, cell{"KEY", bold}, cell{"WEIGHT", bold}, cell{"WHAT IS OPEN", bold}, cell{"WHAT CLOSES IT", bold})
	for _, f := range r.Findings {
		mark, color, text := "✓", green, f.Title
		if f.Exposed > 0 {
			mark, color, text = "✗", red, f.Why
			if f.Exposed < 0.5 {
				color = yellow
			}
		}
		t.row(cell{mark, color}, cell{text: f.Key}, cell{text: fmt.Sprintf("%.1f", f.Exposed*float64(f.Weight))}, cell{text: safe(text)}, cell{text: f.Advice})
	}
	fmt.Fprintf(a.out, "%s: %.1f of 10, %s\n\n", p.in(bold, r.Unit), r.Score, p.in(wordColor(r.Word), r.Word))
	t.print(a.out, p)
}

func wordColor(word string) string {
	switch word {
	case "shut", "tight":
		return green
	case "fair":
		return yellow
	}
	return red
}
