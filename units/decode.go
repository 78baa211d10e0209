package units

import (
	"reflect"
	"slices"
	"strings"
	"sync"
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
		if n.kind == text && validInstance(n.text) {
			names = append(names, n.text)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Defaults gives a unit in which nothing is written. Each call makes a new one.
func Defaults() *Unit {
	p := prototype()
	u := p.unit
	v := reflect.ValueOf(&u).Elem()
	for _, index := range p.shared {
		f := v.FieldByIndex(index)
		f.Set(clone(f))
	}
	return &u
}

// defaults are a unit in which nothing is written, and the fields of it of which
// a copy would share what they point to.
type defaults struct {
	unit   Unit
	shared [][]int
}

// prototype spares every unit the walk through the table.
var prototype = sync.OnceValue(func() *defaults {
	p := &defaults{}
	v := reflect.ValueOf(&p.unit).Elem()
	applyDefaults(v, "")
	p.find(v, nil)
	return p
})

func (p *defaults) find(v reflect.Value, path []int) {
	for i := range v.NumField() {
		f, index := v.Field(i), append(slices.Clone(path), i)
		switch f.Kind() {
		case reflect.Struct:
			p.find(f, index)
		case reflect.Slice, reflect.Map, reflect.Pointer:
			if !f.IsNil() {
				p.shared = append(p.shared, index)
			}
		}
	}
}

// clone copies a slice, map or pointer with all that it leads to.
func clone(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			c.Index(i).Set(clone(v.Index(i)))
		}
		return c
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		c := reflect.MakeMapWithSize(v.Type(), v.Len())
		for _, k := range v.MapKeys() {
			c.SetMapIndex(k, clone(v.MapIndex(k)))
		}
		return c
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(clone(v.Elem()))
		return c
	case reflect.Struct:
		c := reflect.New(v.Type()).Elem()
		c.Set(v)
		for i := range v.NumField() {
			if c.Field(i).CanSet() {
				c.Field(i).Set(clone(v.Field(i)))
			}
		}
		return c
	}
	return v
}

// applyDefaults writes the table's defaults into a struct of the model.
func applyDefaults(v reflect.Value, prefix string) {
	for i := range v.NumField() {
		tag := tags(v.Type())[i]
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
		tag := tags(v.Type())[i]
		if f := fieldIndex()[prefix+tag]; f.Required && n.fields[tag] == nil {
			d.rep.fail("U023", n.key, "add "+tag+" = …", "%s is missing", tag)
		}
	}
}

func fieldByTag(t reflect.Type, key string) int {
	if key == "-" {
		return -1
	}
	return slices.Index(tags(t), key)
}

// tagsOf holds the keys of each structure's fields, by its type: to find them in
// the fields' tags takes longer than reading a value.
var tagsOf sync.Map

// tags gives the keys of a structure's fields, in order; "-" for none.
func tags(t reflect.Type) []string {
	if known, ok := tagsOf.Load(t); ok {
		return known.([]string)
	}
	list := make([]string, t.NumField())
	for i := range list {
		list[i] = t.Field(i).Tag.Get("toml")
	}
	tagsOf.Store(t, list)
	return list
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
	case *Ports:
		*p = d.ports(n, f)
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
	case n.kind == integer && (f.Type == TypeDuration || f.Type == TypeTimeout || f.Type == TypeOffset):
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
