package api

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
)

// fill gives a value of the type in which nothing is zero, as far down as types
// do not hold themselves.
func fill(v reflect.Value, depth int) {
	if depth > 12 {
		return
	}
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1, 5).UTC()))
		return
	case core.Phase:
		v.SetString(string(core.Failed))
		return
	case core.Verb:
		v.SetString(string(core.VerbKill))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("text")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, depth+1)
		fill(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), depth+1)
			}
		}
	}
}

// checker holds JSON values to the schemas of a document: to as much of JSON
// schema as the documents use, and it fails at anything else. It is stricter in
// one thing: properties that the schema does not name are faults.
type checker struct{ doc object }

func (c checker) check(at string, schema object, v any) error {
	for key := range schema {
		switch key {
		case "$ref", "type", "properties", "required", "items", "additionalProperties", "enum", "oneOf", "format", "description":
		default:
			return fmt.Errorf("%s: the schema has %q", at, key)
		}
	}
	if ref, ok := schema["$ref"].(string); ok {
		var to any = c.doc
		for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			to = to.(object)[part]
		}
		if to == nil {
			return fmt.Errorf("%s: there is no %s", at, ref)
		}
		return c.check(at, to.(object), v)
	}
	if list, ok := schema["oneOf"].([]any); ok {
		var errs []string
		for _, one := range list {
			if err := c.check(at, one.(object), v); err != nil {
				errs = append(errs, err.Error())
			}
		}
		if len(errs) != len(list)-1 {
			return fmt.Errorf("%s: fits %d of %d: %s", at, len(list)-len(errs), len(list), strings.Join(errs, "; "))
		}
		return nil
	}
	types, ok := schema["type"].([]any)
	if !ok {
		types = []any{schema["type"]}
	}
	if !slices.Contains(types, any(typeOf(v))) && (typeOf(v) != "integer" || !slices.Contains(types, any("number"))) {
		return fmt.Errorf("%s: is %s and not %v", at, typeOf(v), types)
	}
	if enum, ok := schema["enum"].([]any); ok && v != "" && !slices.Contains(enum, v) {
		return fmt.Errorf("%s: %v is none of %v", at, v, enum)
	}
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			if err := c.check(fmt.Sprintf("%s[%d]", at, i), schema["items"].(object), e); err != nil {
				return err
			}
		}
	case object:
		return c.object(at, schema, v)
	}
	return nil
}

func (c checker) object(at string, schema, v object) error {
	properties, _ := schema["properties"].(object)
	additional, _ := schema["additionalProperties"].(object)
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			return fmt.Errorf("%s: %s is missing", at, name)
		}
	}
	for name, value := range v {
		s, ok := properties[name].(object)
		if !ok {
			s = additional
		}
		if s == nil {
			return fmt.Errorf("%s: %s is not in the schema", at, name)
		}
		if err := c.check(at+"."+name, s, value); err != nil {
			return err
		}
	}
	return nil
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// TestSchemasTellTheTruth: what encoding/json makes of the types, empty and
// full, is what the document says.
func TestSchemasTellTheTruth(t *testing.T) {
	doc := read(t)
	checked := 0
	hold := func(name string, content object, typ reflect.Type, full bool) {
		t.Helper()
		v := reflect.New(typ).Elem()
		if full || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			fill(v, 0)
		}
		text, err := json.Marshal(v.Interface())
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			t.Fatal(err)
		}
		if err := (checker{doc}).check(name, content["schema"].(object), value); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
		checked++
	}
	for _, r := range (&Server{backend: stub{}}).routes() {
		op := doc["paths"].(object)[r.path].(object)[strings.ToLower(r.method)].(object)
		for _, typ := range []reflect.Type{r.answer.value, r.answer.other} {
			if typ != nil && r.answer.kind != tomlType {
				content := op["responses"].(object)["200"].(object)["content"].(object)[r.answer.kind].(object)
				hold(r.path, content, typ, true)
				hold(r.path, content, typ, false)
			}
		}
		if r.request != nil {
			hold(r.path+" request", op["requestBody"].(object)["content"].(object)[jsonType].(object), r.request, true)
		}
	}
	if checked < 30 {
		t.Errorf("only %d values were looked at", checked)
	}
}
