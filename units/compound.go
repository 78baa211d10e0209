package units

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/shlex"
)

// list decodes an array of strings, each checked by the field's type.
func (d *decoder) list(n *node, f Field) []string {
	if !d.is(n, array, f) {
		return nil
	}
	var out []string
	first := make(map[string]*node)
	for _, item := range n.items {
		if !d.is(item, text, f) {
			continue
		}
		s, ok := d.text(item, f)
		if !ok {
			continue
		}
		if old := first[s]; old != nil {
			d.rep.add("U033", Warning, item.at, "remove one of the two", fmt.Sprintf("%s is listed twice", quote(s)), old.at.position("first listed here"))
			continue
		}
		first[s] = item
		out = append(out, s)
	}
	return out
}

// ports decodes an array of port numbers, which is not nil even if it is empty.
func (d *decoder) ports(n *node, f Field) Ports {
	if !d.is(n, array, f) {
		return nil
	}
	out := Ports{}
	for _, item := range n.items {
		if !d.is(item, integer, f) {
			continue
		}
		port, err := parseInteger(item.text)
		if err != nil || port < 0 || port > 65535 {
			d.rep.fail("U008", item.at, "a port is a number from 0 to 65535", "%s: %s is not a port", displayKey(f), item.text)
			continue
		}
		if slices.Contains(out, int(port)) {
			d.rep.warn("U033", item.at, "remove one of the two", "port %d is listed twice", port)
			continue
		}
		out = append(out, int(port))
	}
	return out
}

// command decodes a string that is split into words, or an array of strings.
func (d *decoder) command(n *node) Command {
	var words []string
	switch n.kind {
	case text:
		var err error
		if words, err = shlex.Split(n.text); err != nil {
			d.rep.fail("U013", n.at, "close every quote, or write the words as an array", "the command cannot be split into words: a quote or backslash is left open")
			return nil
		}
		for i := range words {
			words[i], _ = d.plain(words[i], n)
		}
	case array:
		for _, item := range n.items {
			if item.kind != text {
				d.rep.fail("U006", item.at, "put it in quotes", "a word of a command is to be a string, this is %s", item.kind)
				continue
			}
			s, _ := d.plain(item.text, item)
			words = append(words, s)
		}
	default:
		d.rep.fail("U006", n.at, "", "a command is to be a string or an array of strings, this is %s", n.kind)
		return nil
	}
	switch {
	case len(words) == 0 || words[0] == "":
		if n.kind == array && len(n.items) > 0 && n.items[0].kind != text {
			return nil
		}
		d.rep.fail("U013", n.at, "write the program first: [\"/bin/true\"]", "the command is empty")
		return nil
	case strings.HasPrefix(words[0], "-"):
		d.rep.fail("U013", n.at, "write the program and its arguments together: [[\"/bin/mkdir\", \"-p\", \"/run/x\"]]", "the command %s begins with an option, not a program", quote(words[0]))
	}
	return words
}

// commands decodes a list of commands.
func (d *decoder) commands(n *node, f Field) []Command {
	if !d.is(n, array, f) {
		return nil
	}
	var out []Command
	for _, item := range n.items {
		if c := d.command(item); c != nil {
			out = append(out, c)
		}
	}
	return out
}

// dependencies decodes after: names or tables.
func (d *decoder) dependencies(n *node, f Field) []Dependency {
	if !d.is(n, array, f) {
		return nil
	}
	var out []Dependency
	for _, item := range n.items {
		var dep Dependency
		elem := reflect.ValueOf(&dep).Elem()
		applyDefaults(elem, f.Key+"[].")
		switch item.kind {
		case text:
			d.value(item, elem.Field(0), f.Key+"[].unit")
		case table_:
			d.structure(item, elem, f.Key+"[].")
		default:
			d.rep.fail("U006", item.at, "", "a dependency is to be a string or a table, this is %s", item.kind)
			continue
		}
		out = append(out, dep)
	}
	return out
}

// idMap decodes "auto" or a list of ranges.
func (d *decoder) idMap(n *node, p *IDMap, f Field) {
	if n.kind == text {
		if n.text != "auto" {
			d.rep.fail("U007", n.at, "write \"auto\" or a list of { inside, outside, count }", "%s is not an id map", quote(n.text))
			return
		}
		p.Auto = true
		return
	}
	d.tables(n, reflect.ValueOf(&p.Ranges).Elem(), f)
}

// limit decodes a number, "soft:hard" or { soft, hard }.
func (d *decoder) limit(n *node, p *Limit, f Field) {
	var err error
	switch n.kind {
	case integer:
		*p, err = parseLimit(n.text)
		if i, ierr := parseInteger(n.text); ierr == nil && i >= 0 {
			*p, err = Limit{Size(i), Size(i)}, nil
		}
	case text:
		s, ok := d.plain(n.text, n)
		if !ok {
			return
		}
		*p, err = parseLimit(s)
	case table_:
		d.limitTable(n, p, f)
	default:
		d.wrongKind(n, "a number, a string or a table", f)
		return
	}
	if err != nil {
		d.rep.fail("U017", n.at, "write a number, \"soft:hard\" or \"unlimited\"", "%s is not a resource limit", quote(n.text))
		return
	}
	if p.Hard != Max && (p.Soft == Max || p.Soft > p.Hard) {
		d.rep.fail("U017", n.at, "the first number is the soft limit, the second the hard one", "the soft limit %s is above the hard limit %s", limitValue(p.Soft), limitValue(p.Hard))
	}
}

func (d *decoder) limitTable(n *node, p *Limit, f Field) {
	for _, key := range n.keys {
		child := n.fields[key]
		var one Limit
		switch key {
		case "soft", "hard":
			if child.kind == table_ || strings.Contains(child.text, ":") {
				d.wrongKind(child, "a number or a string", f)
				continue
			}
			d.limit(child, &one, f)
		default:
			d.rep.fail("U005", child.key, "write { soft = …, hard = … }", "unknown key %s in a limit", quote(key))
			continue
		}
		if key == "soft" {
			p.Soft = one.Soft
		} else {
			p.Hard = one.Hard
		}
	}
	for _, key := range []string{"soft", "hard"} {
		if n.fields[key] == nil {
			d.rep.fail("U023", n.key, "write { soft = …, hard = … }", "%s is missing", key)
			p.Soft, p.Hard = Max, Max
		}
	}
}
