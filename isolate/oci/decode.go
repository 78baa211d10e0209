package oci

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// These bound what a text may hold. Configurations of engines have about 50 KB
// and a depth of 8.
const (
	maxText   = 8 << 20
	maxDepth  = 64
	maxValues = 200_000 // of any kind, at any depth
)

// Decode reads a JSON text into the structure that into points to, whose fields
// are named by json tags. Names are taken as they are written (encoding/json
// would take "Process" for "process" too), a name that comes twice is refused,
// and so is a value of another type than the field's, by its path. Names that
// the structure does not have are passed over, as the runtime-spec demands
// (config.md, extensibility); null counts as absent.
// The text is of 8 MiB at the most, 64 deep, and has 200,000 values.
func Decode(text []byte, into any) error {
	if len(text) > maxText {
		return fmt.Errorf("cannot read the JSON text: it has more than %d bytes", maxText)
	}
	if !utf8.Valid(text) {
		return errors.New("cannot read the JSON text: it is not UTF-8")
	}
	d := &decoder{scanner: scanner{text: text}}
	if err := d.document(reflect.ValueOf(into).Elem()); err != nil {
		return fmt.Errorf("cannot read the JSON text: %w", err)
	}
	return d.err("cannot read the JSON text")
}

// decoder goes through the text once. What a method returns is an error that
// ends the reading; a wrong type is a fault, and the reading goes on behind it.
type decoder struct {
	report
	scanner
	values int
	fields map[reflect.Type]map[string]field // by JSON name
}

func (d *decoder) document(v reflect.Value) error {
	if err := d.value(v, nil, 0); err != nil {
		return err
	}
	if d.peek(); d.pos < len(d.text) {
		return d.at(errors.New("there is more text behind its end"))
	}
	return nil
}

// where is the place of a value. It is written out only for faults.
type where struct {
	above *where
	name  string // of a member
	index int    // of an element, when name is empty
	inMap bool
}

func (w *where) String() string {
	switch {
	case w == nil:
		return ""
	case w.inMap:
		return key(w.above.String(), w.name)
	case w.name == "" && w.index >= 0:
		return index(w.above.String(), w.index)
	}
	return dot(w.above.String(), w.name)
}

// value reads one value into v; an invalid v is one that nobody wants.
func (d *decoder) value(v reflect.Value, at *where, depth int) error {
	if d.values++; d.values > maxValues {
		return d.at(fmt.Errorf("there are more than %d values", maxValues))
	}
	if depth > maxDepth {
		return d.at(fmt.Errorf("values are nested more than %d deep", maxDepth))
	}
	c := d.peek()
	if c == 'n' {
		return d.literal("null")
	}
	for v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch {
	case c == '{':
		return d.object(v, at, depth)
	case c == '[':
		return d.array(v, at, depth)
	case c == '"':
		text, err := d.str()
		if err != nil {
			return err
		}
		if v.Kind() == reflect.String {
			v.SetString(text)
		} else {
			d.mismatch(v, at, "a string")
		}
	case c == 't' || c == 'f':
		if v.Kind() == reflect.Bool {
			v.SetBool(c == 't')
		} else {
			d.mismatch(v, at, "a boolean")
		}
		return d.literal(map[bool]string{true: "true", false: "false"}[c == 't'])
	case c == '-' || c >= '0' && c <= '9':
		text, err := d.number()
		if err != nil {
			return err
		}
		d.setNumber(v, at, text)
	default:
		return d.unexpected("a value")
	}
	return nil
}

func (d *decoder) setNumber(v reflect.Value, at *where, text string) {
	switch {
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			d.fault(at.String(), "", "%s is not a whole number of %d bits with sign", quote(text), v.Type().Bits())
			return
		}
		v.SetInt(n)
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			d.fault(at.String(), "", "%s is not a whole number from 0 to %d", quote(text), ^uint64(0)>>(64-v.Type().Bits()))
			return
		}
		v.SetUint(n)
	default:
		d.mismatch(v, at, "a number")
	}
}

// mismatch notes a value of the wrong type, unless nobody wants it.
func (d *decoder) mismatch(v reflect.Value, at *where, got string) {
	var want string
	switch {
	case !v.IsValid() || v.Kind() == reflect.Interface:
		return
	case v.CanInt() || v.CanUint():
		want = "a number"
	case v.Kind() == reflect.String:
		want = "a string"
	case v.Kind() == reflect.Bool:
		want = "a boolean"
	case v.Kind() == reflect.Slice:
		want = "an array"
	default:
		want = "an object"
	}
	d.fault(at.String(), "", "it is %s, want %s", got, want)
}

func (d *decoder) array(v reflect.Value, at *where, depth int) error {
	d.pos++
	wanted := v.Kind() == reflect.Slice
	if wanted {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		if list, ok := v.Addr().Interface().(*[]string); ok {
			return d.strings(list, at, depth)
		}
	} else {
		d.mismatch(v, at, "an array")
	}
	for i := 0; ; i++ {
		more, err := d.more(i == 0, ']')
		if !more {
			return err
		}
		var e reflect.Value
		if wanted {
			v.Grow(1)
			v.SetLen(i + 1)
			e = v.Index(i)
		}
		if err := d.value(e, &where{above: at, index: i}, depth+1); err != nil {
			return err
		}
	}
}

// strings is array for what most of a configuration is: names of system calls.
func (d *decoder) strings(list *[]string, at *where, depth int) error {
	for i := 0; ; i++ {
		more, err := d.more(i == 0, ']')
		if !more {
			return err
		}
		*list = append(*list, "")
		to := &(*list)[i]
		if d.peek() != '"' || d.values == maxValues || depth == maxDepth {
			if err := d.value(reflect.ValueOf(to).Elem(), &where{above: at, index: i}, depth+1); err != nil {
				return err
			}
			continue
		}
		d.values++
		if *to, err = d.str(); err != nil {
			return err
		}
	}
}

func (d *decoder) object(v reflect.Value, at *where, depth int) error {
	d.pos++
	isMap := v.Kind() == reflect.Map
	var fields map[string]field
	switch {
	case isMap:
		v.Set(reflect.MakeMap(v.Type()))
	case v.Kind() == reflect.Struct:
		fields = d.fieldsOf(v.Type())
	default:
		d.mismatch(v, at, "an object")
	}
	var seen [maxFields]bool
	for first := true; ; first = false {
		more, err := d.more(first, '}')
		if !more {
			return err
		}
		if d.peek() != '"' {
			return d.unexpected("a name in quotes")
		}
		name, err := d.str()
		if err != nil {
			return err
		}
		if err := d.next(':', "a colon"); err != nil {
			return err
		}
		member, to, twice := &where{above: at, name: name, index: -1, inMap: isMap}, reflect.Value{}, false
		if isMap {
			to = reflect.New(v.Type().Elem()).Elem()
			twice = v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key())).IsValid()
		} else if f, ok := fields[name]; ok {
			to = v.FieldByIndex(f.index)
			twice, seen[f.number] = seen[f.number], true
		}
		if twice {
			d.fault(member.String(), "leave one of them out", "it is given twice")
			to = reflect.Value{}
		}
		if err := d.value(to, member, depth+1); err != nil {
			return err
		}
		if isMap && to.IsValid() {
			v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), to)
		}
	}
}

func dot(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// maxFields is more than any structure of the runtime-spec has.
const maxFields = 64

// field is one of a structure.
type field struct {
	index  []int // for FieldByIndex
	number int   // from 0, by which it is told apart
}

// fieldsOf gives the fields of a structure by their JSON names, those of
// embedded structures too.
func (d *decoder) fieldsOf(t reflect.Type) map[string]field {
	if f, ok := d.fields[t]; ok {
		return f
	}
	out := map[string]field{}
	addFields(t, nil, out)
	if d.fields == nil {
		d.fields = map[reflect.Type]map[string]field{}
	}
	d.fields[t] = out
	return out
}

// addFields adds the fields of a structure that is reached by an index. The
// runtime-spec embeds structures with fields of other names only.
func addFields(t reflect.Type, above []int, to map[string]field) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(above[:len(above):len(above)], i)
		if f.Anonymous {
			addFields(f.Type, index, to)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "" && name != "-" {
			to[name] = field{index, len(to)}
		}
	}
}
