package tmpfiles

import (
	"fmt"
	"sort"
	"strings"

	"berth/supervisor/machine/conf"
)

// Plan gives what to do at boot, in order: first what removes (r, R, and what is
// in the directories of D), what lies deeper before what holds it; then what makes,
// what holds before what lies deeper; then what changes what is there, in the
// order of the lines. Of several lines that make the same path the first counts.
func Plan(items []Item) (remove, make, change []Item, problems conf.Problems) {
	first := map[string]Item{}
	for _, i := range items {
		switch {
		case strings.IndexByte(cleaning, i.Type) >= 0:
		case i.Type == 'r' || i.Type == 'R':
			remove = append(remove, i)
		case i.Pattern():
			change = append(change, i)
		default:
			if before, ok := first[i.Path]; ok {
				if !same(before, i) {
					problems = append(problems, conf.Problem{File: i.File, Line: i.Line, Minor: true,
						What: fmt.Sprintf("left out: %s is made by %s:%d already", i.Path, before.File, before.Line)})
				}
				continue
			}
			first[i.Path] = i
			make = append(make, i)
			if i.Type == 'D' {
				remove = append(remove, i)
			}
		}
	}
	depth := func(i Item) int { return strings.Count(i.Path, "/") }
	sort.SliceStable(remove, func(a, b int) bool { return depth(remove[a]) > depth(remove[b]) })
	sort.SliceStable(make, func(a, b int) bool { return depth(make[a]) < depth(make[b]) })
	return remove, make, change, problems
}

// same tells whether two lines ask for the same.
func same(a, b Item) bool {
	a.File, a.Line, b.File, b.Line = "", 0, "", 0
	return a == b
}
