package units

import (
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// parse makes the tree of one file. The library gives the statements and their
// places; the rules that span statements (what is defined twice, what may be
// added to) are kept here, because each breach is to be reported with its
// place and the rest read all the same.
func parse(f *file, rep *report) *node {
	p := &parser{file: f, rep: rep}
	p.root = newTable(span{f, 0, 0})
	p.current = p.root
	p.root.header = true
	for base := 0; base < len(f.text); {
		next := p.run(base)
		if next < 0 {
			break
		}
		base = next
	}
	return p.root
}

type parser struct {
	file    *file
	rep     *report
	root    *node
	current *node // the table that key = value lines belong to; nil: one that is not understood
	faults  int
	crowded bool // that something has too many entries was reported
}

// run parses from offset base until the end or the first syntax error. It gives
// the offset to go on at after a syntax error, or -1.
func (p *parser) run(base int) int {
	var lib unstable.Parser
	data := p.file.text[base:len(p.file.text):len(p.file.text)]
	lib.Reset(data)
	done := base // the end of the last statement that was understood
	for lib.NextExpression() {
		expr := lib.Expression()
		done = max(done, base+p.statement(&lib, base, expr))
	}
	err := lib.Error()
	if err == nil {
		return -1
	}
	return p.recover(base, done, &lib, err)
}

// statement takes in one statement and gives the offset, from base, behind it.
func (p *parser) statement(lib *unstable.Parser, base int, expr *unstable.Node) int {
	keys := p.keys(base, expr.Key())
	end := keys[len(keys)-1].at.end - base
	switch expr.Kind {
	case unstable.Table:
		p.current = p.openTable(keys)
	case unstable.ArrayTable:
		p.current = p.openElement(keys)
	case unstable.KeyValue:
		end = int(expr.Raw.Offset + expr.Raw.Length)
		if p.current != nil {
			p.assign(p.current, keys, base, expr, 0)
		}
	}
	return end
}

// keyPart is one part of a dotted key.
type keyPart struct {
	name string
	at   span
}

func (p *parser) keys(base int, it unstable.Iterator) []keyPart {
	var parts []keyPart
	for it.Next() {
		n := it.Node()
		start := base + int(n.Raw.Offset)
		parts = append(parts, keyPart{string(n.Data), span{p.file, start, start + int(n.Raw.Length)}})
	}
	return parts
}

// duplicate reports that what key names is there already.
func (p *parser) duplicate(key keyPart, old *node, what string) {
	p.rep.add("U002", Error, key.at, "remove one of the two", what, old.key.position("first set here"))
}

// openTable handles [a.b.c]. It gives the table that the following lines fill.
func (p *parser) openTable(keys []keyPart) *node {
	parent := p.walk(keys)
	if parent == nil {
		return nil
	}
	last := keys[len(keys)-1]
	old, ok := parent.fields[last.name]
	if !ok {
		if !p.room(len(parent.keys), last.at) {
			return nil
		}
		t := newTable(last.at)
		t.header = true
		parent.set(last.name, t)
		return t
	}
	if old.kind != table_ || old.closed {
		p.duplicate(last, old, "the key "+quote(last.name)+" is set already, and not by a table of its own")
		return nil
	}
	if old.header || old.dotted {
		p.duplicate(last, old, "the table "+quote(last.name)+" is defined twice")
		return old
	}
	old.header, old.key, old.at = true, last.at, last.at
	return old
}

// openElement handles [[a.b.c]].
func (p *parser) openElement(keys []keyPart) *node {
	parent := p.walk(keys)
	if parent == nil {
		return nil
	}
	last := keys[len(keys)-1]
	list, ok := parent.fields[last.name]
	if !ok {
		if !p.room(len(parent.keys), last.at) {
			return nil
		}
		list = &node{kind: array, key: last.at, at: last.at, element: true}
		parent.set(last.name, list)
	}
	if list.kind != array || !list.element {
		p.duplicate(last, list, "the key "+quote(last.name)+" is set already, and not by [["+last.name+"]]")
		return nil
	}
	t := newTable(last.at)
	t.header = true
	if !p.room(len(list.items), last.at) {
		return nil
	}
	list.items = append(list.items, t)
	return t
}

// walk goes down to the table that a header's last key belongs to.
func (p *parser) walk(keys []keyPart) *node {
	if len(keys) > maxNesting {
		p.rep.fail("U003", keys[maxNesting].at, "", "tables are nested more than %d deep", maxNesting)
		return nil
	}
	n := p.root
	for _, key := range keys[:len(keys)-1] {
		child, ok := n.fields[key.name]
		switch {
		case !ok:
			if !p.room(len(n.keys), key.at) {
				return nil
			}
			child = newTable(key.at)
			n.set(key.name, child)
		case child.kind == array && child.element:
			child = child.items[len(child.items)-1]
		case child.kind != table_ || child.closed:
			p.duplicate(key, child, "the key "+quote(key.name)+" is set already, and not by a table of its own")
			return nil
		}
		n = child
	}
	return n
}

// room tells whether a list or table of n may grow, and reports once if not.
func (p *parser) room(n int, at span) bool {
	if n >= maxList && !p.crowded {
		p.crowded = true
		p.rep.fail("U003", at, "", "more than %d entries", maxList)
	}
	return n < maxList
}

// assign handles key = value inside the table n.
func (p *parser) assign(n *node, keys []keyPart, base int, expr *unstable.Node, depth int) {
	if len(keys)+depth > maxNesting {
		p.rep.fail("U003", keys[0].at, "", "tables are nested more than %d deep", maxNesting)
		return
	}
	for _, key := range keys[:len(keys)-1] {
		child, ok := n.fields[key.name]
		if !ok {
			if !p.room(len(n.keys), key.at) {
				return
			}
			child = newTable(key.at)
			child.dotted = true
			n.set(key.name, child)
		} else if child.kind != table_ || child.closed || !child.dotted {
			p.duplicate(key, child, "the key "+quote(key.name)+" is set already and cannot be added to here")
			return
		}
		n = child
	}
	last := keys[len(keys)-1]
	if old, ok := n.fields[last.name]; ok {
		p.duplicate(last, old, "the key "+quote(last.name)+" is set twice")
		return
	}
	if !p.room(len(n.keys), last.at) {
		return
	}
	start := p.afterEquals(last.at.end)
	value, _ := p.value(base, expr.Value(), start, depth+len(keys))
	if value == nil {
		return
	}
	value.key = last.at
	n.set(last.name, value)
}

// afterEquals gives the offset of the value that follows a key.
func (p *parser) afterEquals(i int) int {
	for i < len(p.file.text) && strings.IndexByte(" \t=", p.file.text[i]) >= 0 {
		i++
	}
	return i
}

// value builds the node of a value that starts at offset start, and gives the
// offset behind it. The library does not say where arrays and tables end, so
// the places are counted along. nil: nested too deep.
func (p *parser) value(base int, v *unstable.Node, start, depth int) (*node, int) {
	if depth > maxNesting {
		p.rep.fail("U003", span{p.file, start, start + 1}, "", "arrays and tables are nested more than %d deep", maxNesting)
		return nil, start
	}
	switch v.Kind {
	case unstable.Array:
		return p.array(base, v, start, depth)
	case unstable.InlineTable:
		return p.inline(base, v, start, depth)
	}
	n := &node{kind: kindOf(v.Kind), text: string(v.Data)}
	n.at = span{p.file, base + int(v.Raw.Offset), base + int(v.Raw.Offset+v.Raw.Length)}
	n.key = n.at
	return n, n.at.end
}

func kindOf(k unstable.Kind) kind {
	switch k {
	case unstable.String:
		return text
	case unstable.Integer:
		return integer
	case unstable.Float:
		return float
	case unstable.Bool:
		return boolean
	}
	return datetime
}

func (p *parser) array(base int, v *unstable.Node, start, depth int) (*node, int) {
	n := &node{kind: array, closed: true}
	offset := start + 1
	for it := v.Children(); it.Next(); {
		offset = p.skip(offset)
		if !p.room(len(n.items), span{p.file, start, start + 1}) {
			return nil, offset
		}
		var item *node
		if item, offset = p.value(base, it.Node(), offset, depth+1); item == nil {
			return nil, offset
		}
		n.items = append(n.items, item)
	}
	offset = p.skip(offset) + 1
	n.at = span{p.file, start, offset}
	n.key = n.at
	return n, offset
}

func (p *parser) inline(base int, v *unstable.Node, start, depth int) (*node, int) {
	n := newTable(span{p.file, start, start + 1})
	offset := start + 1
	for it := v.Children(); it.Next(); {
		pair := it.Node()
		p.assign(n, p.keys(base, pair.Key()), base, pair, depth)
		offset = base + int(pair.Raw.Offset+pair.Raw.Length)
	}
	offset = p.skip(offset) + 1
	n.at = span{p.file, start, offset}
	n.key = n.at
	seal(n)
	return n, offset
}

// seal closes an inline table and the tables made by its dotted keys.
func seal(n *node) {
	n.closed = true
	for _, child := range n.fields {
		if child.kind == table_ && !child.closed {
			seal(child)
		}
	}
}

// skip passes over what may stand between the elements of an array.
func (p *parser) skip(i int) int {
	text := p.file.text
	for i < len(text) {
		switch text[i] {
		case ' ', '\t', '\r', '\n', ',':
			i++
		case '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		default:
			return i
		}
	}
	return i
}
