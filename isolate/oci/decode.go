package oci

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// These bound what a text may hold. Configurations of engines have about 50 KB
// and a depth of 8.
const (
	maxText   = 8 << 20
	maxDepth  = 64
	maxValues = 200_000 // of any kind, at any depth
)

// Decode reads a JSON text, which stays as it is, into the structure that into
// points to, whose fields are named by json tags. Names are taken as they are written (encoding/json
// would take "Process" for "process" too), a name that comes twice is refused,
// and so is a value of another type than the field's, by its path. Names that
// the structure does not have are passed over, as the runtime-spec demands
// (config.md, extensibility); null counts as absent.
// The text is of 8 MiB at the most, 64 deep, and has 200,000 values.
func Decode(text []byte, into any) error { return decode(text, into, hooks{}) }

// hooks are called while a configuration is read. Each may be nil.
type hooks struct {
	namespaces func([]specs.LinuxNamespace) // gets them when they have been read
	// seccomp gets the text of an object that is to be read. If it knows what that
	// says, it is passed over: the same text has been read before and had no fault.
	seccomp func(text string) (known bool)
}

func decode(text []byte, into any, h hooks) error {
	if len(text) > maxText {
		return fmt.Errorf("cannot read the JSON text: it has more than %d bytes", maxText)
	}
	if !utf8.Valid(text) {
		return errors.New("cannot read the JSON text: it is not UTF-8")
	}
	d := &decoder{scanner: scanner{text: text, whole: unsafe.String(unsafe.SliceData(text), len(text))}, hooks: h}
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
	place  []where // of the value that is read, from the outside in
	fields map[reflect.Type][]field
	hooks
}

func (d *decoder) document(v reflect.Value) error {
	if err := d.value(v); err != nil {
		return err
	}
	if d.peek(); d.pos < len(d.text) {
		return d.at(errors.New("there is more text behind its end"))
	}
	return nil
}

// where is a step on the way to a value.
type where struct {
	name  string // of a member
	index int    // of an element, when name is empty
	inMap bool
}

// where writes the place of the value that is read out, for a fault.
func (d *decoder) where() (path string) {
	for _, w := range d.place {
		switch {
		case w.inMap:
			path = key(path, w.name)
		case w.name == "" && w.index >= 0:
			path = index(path, w.index)
		default:
			path = dot(path, w.name)
		}
	}
	return path
}

// inside reads a value that stands in the one that is read.
func (d *decoder) inside(v reflect.Value, w where) error {
	d.place = append(d.place, w)
	err := d.value(v)
	d.place = d.place[:len(d.place)-1]
	return err
}

// value reads one value into v; an invalid v is one that nobody wants.
func (d *decoder) value(v reflect.Value) error {
	if d.values++; d.values > maxValues {
		return d.at(fmt.Errorf("there are more than %d values", maxValues))
	}
	if len(d.place) > maxDepth {
		return d.at(fmt.Errorf("values are nested more than %d deep", maxDepth))
	}
	c := d.peek()
	if c == 'n' {
		return d.literal("null")
	}
	for v.Kind() == reflect.Pointer {
		if c == '{' && d.seccomp != nil && v.Type() == reflect.TypeFor[*specs.LinuxSeccomp]() {
			if end := d.pastObject(); end > 0 && d.seccomp(d.whole[d.pos:end]) {
				d.pos = end
				return nil
			}
		}
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch {
	case c == '{':
		return d.object(v)
	case c == '[':
		return d.array(v)
	case c == '"':
		text, err := d.str()
		if err != nil {
			return err
		}
		if v.Kind() == reflect.String {
			v.SetString(text)
		} else {
			d.mismatch(v, "a string")
		}
	case c == 't' || c == 'f':
		if v.Kind() == reflect.Bool {
			v.SetBool(c == 't')
		} else {
			d.mismatch(v, "a boolean")
		}
		if c == 't' {
			return d.literal("true")
		}
		return d.literal("false")
	case c == '-' || c >= '0' && c <= '9':
		text, err := d.number()
		if err != nil {
			return err
		}
		d.setNumber(v, text)
	default:
		return d.unexpected("a value")
	}
	return nil
}

func (d *decoder) setNumber(v reflect.Value, text string) {
	switch {
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			d.fault(d.where(), "", "%s is not a whole number of %d bits with sign", quote(text), v.Type().Bits())
			return
		}
		v.SetInt(n)
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			d.fault(d.where(), "", "%s is not a whole number from 0 to %d", quote(text), ^uint64(0)>>(64-v.Type().Bits()))
			return
		}
		v.SetUint(n)
	default:
		d.mismatch(v, "a number")
	}
}

// mismatch notes a value of the wrong type, unless nobody wants it.
func (d *decoder) mismatch(v reflect.Value, got string) {
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
	d.fault(d.where(), "", "it is %s, want %s", got, want)
}

func (d *decoder) array(v reflect.Value) error {
	d.pos++
	wanted := v.Kind() == reflect.Slice
	if wanted {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		if v.Type() == reflect.TypeFor[[]string]() {
			return d.strings((*[]string)(unsafe.Pointer(v.UnsafeAddr()))) // Addr would make the type anew
		}
	} else {
		d.mismatch(v, "an array")
	}
	for i := 0; ; i++ {
		more, err := d.more(i == 0, ']')
		if !more {
			if wanted && err == nil && d.namespaces != nil {
				if list, ok := v.Interface().([]specs.LinuxNamespace); ok {
					d.namespaces(list)
				}
			}
			return err
		}
		var e reflect.Value
		if wanted {
			v.Grow(1)
			v.SetLen(i + 1)
			e = v.Index(i)
		}
		if err := d.inside(e, where{index: i}); err != nil {
			return err
		}
	}
}

// strings is array for what most of a configuration is: names of system calls.
func (d *decoder) strings(list *[]string) error {
	for i := 0; ; i++ {
		more, err := d.more(i == 0, ']')
		if !more {
			return err
		}
		*list = append(*list, "")
		to := &(*list)[i]
		if d.peek() != '"' || d.values == maxValues || len(d.place) == maxDepth {
			if err := d.inside(reflect.ValueOf(to).Elem(), where{index: i}); err != nil {
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

func (d *decoder) object(v reflect.Value) error {
	d.pos++
	isMap := v.Kind() == reflect.Map
	var fields []field
	switch {
	case isMap:
		v.Set(reflect.MakeMap(v.Type()))
	case v.Kind() == reflect.Struct:
		fields = d.fieldsOf(v.Type())
	default:
		d.mismatch(v, "an object")
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
		to, twice := reflect.Value{}, false
		if isMap {
			to = reflect.New(v.Type().Elem()).Elem()
			twice = v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key())).IsValid()
		} else if i := slices.IndexFunc(fields, func(f field) bool { return f.name == name }); i >= 0 {
			to = v.FieldByIndex(fields[i].index)
			twice, seen[i] = seen[i], true
		}
		member := where{name: name, index: -1, inMap: isMap}
		if twice {
			d.place = append(d.place, member)
			d.fault(d.where(), "leave one of them out", "it is given twice")
			d.place = d.place[:len(d.place)-1]
			to = reflect.Value{}
		}
		if err := d.inside(to, member); err != nil {
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
	name  string // in JSON
	index []int  // for FieldByIndex
}

// fieldsOf gives the fields of a structure, those of embedded structures too.
func (d *decoder) fieldsOf(t reflect.Type) []field {
	f, ok := d.fields[t]
	if !ok {
		f = addFields(t, nil, make([]field, 0, t.NumField()))
		if d.fields == nil {
			d.fields = map[reflect.Type][]field{}
		}
		d.fields[t] = f
	}
	return f
}

// addFields adds the fields of a structure that is reached by an index. The
// runtime-spec embeds structures with fields of other names only.
func addFields(t reflect.Type, above []int, to []field) []field {
	for i := range t.NumField() {
		f := t.Field(i)
		index := f.Index // of one that is not embedded
		if len(above) > 0 {
			index = append(above[:len(above):len(above)], i)
		}
		if f.Anonymous {
			to = addFields(f.Type, index, to)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "" && name != "-" {
			to = append(to, field{name, index})
		}
	}
	return to
}
