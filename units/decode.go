package units

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/google/shlex"
)

// Decode makes the unit called name of its sources: the unit file, followed by
// its drop-ins in the order in which they are laid over it. Tables merge,
// scalars and arrays replace; arrays of tables ([[mount]]) are arrays. %i, %n
// and %p are expanded in all strings. Every fault of every source is reported.
//
// With a template's own name ("worker@") the template is checked as if for an
// instance called "instance".
//
// The Unit is never nil. When the diagnostics have errors it holds what was
// understood, and is good only for Check of a whole set.
func Decode(name string, sources []Source) (*Unit, Diagnostics) {
	rep := &report{}
	files, merged := readAll(name, sources, rep)
	top := span{files[0], 0, 0}
	if !ValidName(name) && !ValidTemplate(name) {
		rep.fail("U022", top, "letters, digits, and _ . - behind a letter or digit, as in web.toml or worker@eu.toml",
			"%s is not a name for a unit", quote(name))
	}

	u := Defaults()
	u.Name = name
	d := &decoder{rep: rep, expansion: newExpansion(name)}
	d.structure(merged, reflect.ValueOf(u).Elem(), "")
	v := &validator{rep: rep, root: merged, top: top, unit: u}
	v.validate()

	out := rep.diagnostics.Sorted()
	if rep.full {
		// An error, even if the hundred are warnings: the rest was not decoded.
		last := &report{}
		last.fail("U003", top, "", "there is more wrong with %s than is listed: only the first %d faults are", name, maxDiagnostics)
		out = append(out, last.diagnostics...)
	}
	return u, out
}

// readAll parses the sources, checks each for itself, so that a fault is seen
// even where a drop-in hides it, and merges them. There is always one file.
func readAll(name string, sources []Source, rep *report) (files []*file, merged *node) {
	if len(sources) == 0 {
		sources = []Source{{Path: name + ".toml"}}
	}
	for _, s := range sources {
		f := newFile(s)
		files = append(files, f)
		if len(s.Text) > maxFileSize {
			rep.fail("U003", span{f, 0, 0}, "", "the file is larger than %d bytes", maxFileSize)
		}
		tree := parse(f, rep)
		if len(sources) > 1 {
			d := &decoder{rep: rep, expansion: newExpansion(name)}
			d.structure(tree, reflect.ValueOf(Defaults()).Elem(), "")
		}
		if merged == nil {
			merged = tree
		} else {
			merged = merge(merged, tree)
		}
	}
	return files, merged
}

// Instances gives the instances that a template's sources ask for with
// unit.instances, sorted, each once. Faults are left to Decode.
func Instances(sources []Source) []string {
	_, merged := readAll("", sources, &report{})
	list := merged.find("unit.instances")
	if list == nil || list.kind != array {
		return nil
	}
	var names []string
	for _, n := range list.items {
		if n.kind == text && instanceName.MatchString(n.text) {
			names = append(names, n.text)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Defaults gives a unit in which nothing is written. Each call makes a new one.
func Defaults() *Unit {
	u := &Unit{}
	applyDefaults(reflect.ValueOf(u).Elem(), "")
	return u
}

// applyDefaults writes the table's defaults into a struct of the model.
func applyDefaults(v reflect.Value, prefix string) {
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("toml")
		if tag == "-" || tag == "" {
			continue
		}
		key := prefix + tag
		if n := defaultNodes()[key]; n != nil {
			d := &decoder{rep: &report{}}
			d.value(n, v.Field(i), key)
			continue
		}
		if v.Field(i).Kind() == reflect.Struct && v.Field(i).Type() != reflect.TypeFor[Rate]() {
			applyDefaults(v.Field(i), key+".")
		}
	}
}

// defaultNodes are the trees of the table's defaults.
var defaultNodes = sync.OnceValue(func() map[string]*node {
	nodes := make(map[string]*node)
	for _, f := range table() {
		if f.Default != "" {
			root := parse(newFile(Source{Path: f.Key, Text: []byte("v = " + f.Default + "\n")}), &report{})
			nodes[f.Key] = root.fields["v"]
		}
	}
	return nodes
})

// decoder fills the model from a tree, by the field table.
type decoder struct {
	rep       *report
	expansion expansion
	later     bool // inside a table that is not supported yet, which is reported as a whole
}

// structure decodes a table into a struct. prefix is the table's path with a
// dot behind it, "" at the top.
func (d *decoder) structure(n *node, v reflect.Value, prefix string) {
	for _, key := range n.keys {
		if d.rep.full {
			return // enough is wrong, and each unknown key costs a search
		}
		child := n.fields[key]
		if prefix == "" && strings.HasPrefix(key, "x-") {
			continue
		}
		i := fieldByTag(v.Type(), key)
		if i < 0 {
			d.unknown(child, key, prefix)
			continue
		}
		d.value(child, v.Field(i), prefix+key)
	}
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("toml")
		if f := fieldIndex()[prefix+tag]; f.Required && n.fields[tag] == nil {
			d.rep.fail("U023", n.key, "add "+tag+" = …", "%s is missing", tag)
		}
	}
}

func fieldByTag(t reflect.Type, key string) int {
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("toml"); tag == key && tag != "-" {
			return i
		}
	}
	return -1
}

// unknown reports a key that is not in the table, with the most likely one.
func (d *decoder) unknown(n *node, key, prefix string) {
	what := "key"
	if n.kind == table_ && !n.closed || n.element {
		what = "table"
	}
	in := ""
	if prefix != "" {
		in = " in [" + strings.TrimSuffix(prefix, ".") + "]"
	}
	d.rep.fail("U005", n.key, suggestKey(key, prefix), "unknown %s %s%s", what, quote(key), in)
}

// value decodes one key's value and refuses what is not supported yet.
func (d *decoder) value(n *node, v reflect.Value, key string) {
	f := fieldIndex()[key]
	before, outer := v.Interface(), d.later
	d.later = outer || f.Later
	d.assign(n, v, f)
	d.later = outer
	if f.Later && !outer && !reflect.DeepEqual(before, v.Interface()) {
		hint := "leave it out"
		if f.Default != "" {
			hint = "leave it out or write " + f.Default
		}
		d.rep.fail("U014", n.key, hint, "%s is not supported yet", displayKey(f))
	}
}

// assign decodes n by the Go type of the model's field.
func (d *decoder) assign(n *node, v reflect.Value, f Field) {
	switch p := v.Addr().Interface().(type) {
	case *bool:
		if d.is(n, boolean, f) {
			*p = n.text == "true"
		}
		return
	case *Command:
		*p = d.command(n)
		return
	case *[]Command:
		*p = d.commands(n, f)
		return
	case *[]string:
		*p = d.list(n, f)
		return
	case *[]Dependency:
		*p = d.dependencies(n, f)
		return
	case *IDMap:
		d.idMap(n, p, f)
		return
	case *Limit:
		d.limit(n, p, f)
		return
	}
	if d.scalar(n, v, f) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		elem := reflect.New(v.Type().Elem())
		faults := d.errors()
		d.assign(n, elem.Elem(), f)
		if d.errors() == faults && !(elem.Elem().Kind() == reflect.Struct && elem.Elem().IsZero()) {
			v.Set(elem)
		}
	case reflect.Struct:
		if d.is(n, table_, f) {
			d.structure(n, v, f.Key+".")
		}
	case reflect.Slice:
		d.tables(n, v, f)
	case reflect.Map:
		d.named(n, v, f)
	}
}

// errors counts what was found so far.
func (d *decoder) errors() int {
	if d.rep.full {
		return -1
	}
	return len(d.rep.diagnostics)
}

// is tells whether n is of the kind wanted, and reports if not.
func (d *decoder) is(n *node, want kind, f Field) bool {
	if n.kind == want {
		return true
	}
	d.wrongKind(n, want.String(), f)
	return false
}

func (d *decoder) wrongKind(n *node, want string, f Field) {
	hint := ""
	switch {
	case want == table_.String() && n.kind == array && n.element:
		hint = "write [" + f.Key + "], with single brackets: there is only one"
	case f.Type == TypeTables && n.kind == table_ && !n.closed:
		hint = "write [[" + f.Key + "]], with double brackets: there may be several"
	case want == table_.String():
		hint = "write a table: [" + f.Key + "] on a line of its own, its keys below"
	case f.Type == TypeBool && n.kind == text && (n.text == "true" || n.text == "false"):
		hint = "write " + n.text + " without the quotes"
	case n.kind == integer && (f.Type == TypeDuration || f.Type == TypeTimeout):
		hint = "write the unit too: \"" + n.text + "s\" for seconds"
	case n.kind == text && (f.Type == TypeInteger || f.Type == TypeNumber):
		hint = "write the number without quotes"
	case n.kind == text && want == array.String():
		hint = "put it in brackets: [" + quote(n.text) + "]"
	case (n.kind == integer || n.kind == float || n.kind == boolean) && want == text.String():
		hint = "put it in quotes: \"" + n.text + "\""
	}
	d.rep.fail("U006", n.at, hint, "%s is to be %s, this is %s", displayKey(f), want, n.kind)
}

// displayKey names a field in messages as the user wrote it.
func displayKey(f Field) string { return strings.ReplaceAll(f.Key, "[]", "") }

// tables decodes an array of tables.
func (d *decoder) tables(n *node, v reflect.Value, f Field) {
	if !d.is(n, array, f) {
		return
	}
	out := reflect.Zero(v.Type())
	for _, item := range n.items {
		elem := reflect.New(v.Type().Elem()).Elem()
		applyDefaults(elem, f.Key+"[].")
		if d.is(item, table_, f) {
			d.structure(item, elem, f.Key+"[].")
		}
		out = reflect.Append(out, elem)
	}
	v.Set(out)
}

// named decodes a table whose keys the user chooses.
func (d *decoder) named(n *node, v reflect.Value, f Field) {
	if !d.is(n, table_, f) {
		return
	}
	out := reflect.MakeMap(v.Type())
	for _, key := range n.keys {
		name, ok := d.mapKey(n.fields[key], key, f)
		if !ok {
			continue
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		if elem.Kind() == reflect.Struct {
			applyDefaults(elem, f.Key+".*.")
		}
		d.value(n.fields[key], elem, f.Key+".*")
		out.SetMapIndex(reflect.ValueOf(name), elem)
	}
	if out.Len() > 0 {
		v.Set(out)
	} else {
		v.SetZero()
	}
}

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
