package history

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"berth/units"
)

// Units are written behind each other, each as a unit file behind the line
// "-- NAME.toml --". No line of a unit begins so: units.Format writes headers of
// tables and keys, and a text with its line ends escaped.
const (
	mark    = "-- "
	markEnd = ".toml --"
)

// encode writes units, in name order.
func encode(all map[string]*units.Unit) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s%s%s\n", mark, name, markEnd)
		b.Write(units.Format(all[name]))
	}
	return b.Bytes()
}

// decode reads what encode wrote. The units are checked as files are: a later
// version of berth may refuse what an earlier one took.
func decode(generation uint64, text []byte) (map[string]*units.Unit, units.Diagnostics) {
	all, origins := map[string]*units.Unit{}, units.Origins{}
	var diagnostics units.Diagnostics
	name, begin := "", 0
	take := func(end int) {
		if name == "" {
			return
		}
		source := []units.Source{{Path: fmt.Sprintf("generation %d/%s.toml", generation, name), Text: text[begin:end]}}
		u, d := units.Decode(name, source)
		all[name], origins[name] = u, source
		diagnostics = append(diagnostics, d...)
	}
	for at := 0; at < len(text); {
		line, _, _ := bytes.Cut(text[at:], []byte("\n"))
		next := min(at+len(line)+1, len(text))
		if n, ok := strings.CutPrefix(string(line), mark); ok {
			take(at)
			name, begin = strings.TrimSuffix(n, markEnd), next
		}
		at = next
	}
	take(len(text))
	return all, append(diagnostics, units.Check(all, origins)...).Sorted()
}
