package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	d := &decoder{text: text, json: json.NewDecoder(bytes.NewReader(text))}
	d.json.UseNumber()
	if err := d.document(reflect.ValueOf(into).Elem()); err != nil {
		return fmt.Errorf("cannot read the JSON text: %w", err)
	}
	return d.err("cannot read the JSON text")
}

// decoder goes through the tokens once. What a method returns is an error that
// ends the reading; a wrong type is a fault, and the reading goes on behind it.
type decoder struct {
	report
	text   []byte
	json   *json.Decoder
	values int
	fields map[reflect.Type]map[string][]int // by JSON name
}

func (d *decoder) document(v reflect.Value) error {
	if err := d.value(v, "", 0); err != nil {
		return err
	}
	if _, err := d.json.Token(); err != io.EOF {
		return d.at(errors.New("there is more text behind its end"))
	}
	return nil
}

// at puts the line to an error.
func (d *decoder) at(err error) error {
	offset := d.json.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = max(offset, syntax.Offset)
	}
	offset = min(max(offset, 0), int64(len(d.text)))
	return fmt.Errorf("line %d: %w", 1+bytes.Count(d.text[:offset], []byte("\n")), err)
}

func (d *decoder) token() (json.Token, error) {
	t, err := d.json.Token()
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the text ends too early")
	}
	if err != nil {
		return nil, d.at(err)
	}
	return t, nil
}

// value reads one value into v; an invalid v is one that nobody wants.
func (d *decoder) value(v reflect.Value, path string, depth int) error {
	if d.values++; d.values > maxValues {
		return d.at(fmt.Errorf("there are more than %d values", maxValues))
	}
	if depth > maxDepth {
		return d.at(fmt.Errorf("values are nested more than %d deep", maxDepth))
	}
	t, err := d.token()
	if err != nil {
		return err
	}
	if t == nil {
		return nil
	}
	for v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return d.object(v, path, depth)
		}
		return d.array(v, path, depth)
	case string:
		switch v.Kind() {
		case reflect.String:
			v.SetString(t)
		default:
			d.mismatch(v, path, "a string")
		}
	case bool:
		if v.Kind() == reflect.Bool {
			v.SetBool(t)
			return nil
		}
		d.mismatch(v, path, "a boolean")
	case json.Number:
		d.number(v, path, t.String())
	}
	return nil
}

func (d *decoder) number(v reflect.Value, path, text string) {
	switch {
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			d.fault(path, "", "%s is not a whole number of %d bits with sign", quote(text), v.Type().Bits())
			return
		}
		v.SetInt(n)
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			d.fault(path, "", "%s is not a whole number from 0 to %d", quote(text), ^uint64(0)>>(64-v.Type().Bits()))
			return
		}
		v.SetUint(n)
	default:
		d.mismatch(v, path, "a number")
	}
}

// mismatch notes a value of the wrong type, unless nobody wants it.
func (d *decoder) mismatch(v reflect.Value, path, got string) {
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
	d.fault(path, "", "it is %s, want %s", got, want)
}

func (d *decoder) array(v reflect.Value, path string, depth int) error {
	wanted := v.Kind() == reflect.Slice
	if !wanted {
		d.mismatch(v, path, "an array")
	} else {
		v.SetLen(0)
	}
	for i := 0; d.json.More(); i++ {
		var e reflect.Value
		if wanted {
			v.Grow(1)
			v.SetLen(i + 1)
			e = v.Index(i)
			e.SetZero()
		}
		if err := d.value(e, index(path, i), depth+1); err != nil {
			return err
		}
	}
	if wanted && v.IsNil() {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	}
	_, err := d.token()
	return err
}

func (d *decoder) object(v reflect.Value, path string, depth int) error {
	isMap := v.Kind() == reflect.Map
	var fields map[string][]int
	switch {
	case isMap:
		v.Set(reflect.MakeMap(v.Type()))
	case v.Kind() == reflect.Struct:
		fields = d.fieldsOf(v.Type())
	default:
		d.mismatch(v, path, "an object")
	}
	seen := map[string]bool{}
	for d.json.More() {
		t, err := d.token()
		if err != nil {
			return err
		}
		name := t.(string) // the decoder gives nothing else for the key of an object
		member, to := dot(path, name), reflect.Value{}
		switch {
		case isMap:
			member, to = key(path, name), reflect.New(v.Type().Elem()).Elem()
		case fields[name] != nil:
			to = v.FieldByIndex(fields[name])
		}
		if seen[name] {
			d.fault(member, "leave one of them out", "it is given twice")
			to = reflect.Value{}
		}
		seen[name] = true
		if err := d.value(to, member, depth+1); err != nil {
			return err
		}
		if isMap && to.IsValid() {
			v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), to)
		}
	}
	_, err := d.token()
	return err
}

func dot(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// fieldsOf gives the fields of a structure by their JSON names, those of
// embedded structures too.
func (d *decoder) fieldsOf(t reflect.Type) map[string][]int {
	if f, ok := d.fields[t]; ok {
		return f
	}
	out := map[string][]int{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		out[name] = f.Index
	}
	if d.fields == nil {
		d.fields = map[reflect.Type]map[string][]int{}
	}
	d.fields[t] = out
	return out
}
