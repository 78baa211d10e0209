package runtime

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A record's text is what encoding/json would make of it, for every field.
func TestRecordText(t *testing.T) {
	n := 0
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		n++
		switch v.Kind() {
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[time.Time]() {
				v.Set(reflect.ValueOf(time.Date(2026, 11, 22, 6, 7, 8, 120_000_000, time.UTC)))
				return
			}
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem())
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			fill(v.Index(0))
		case reflect.Map:
			v.Set(reflect.ValueOf(map[string]string{"": "/x", "a\n\"b\\": "<é\u2028\xff>\x00\x7f", "z": ""}))
		case reflect.String:
			v.SetString(fmt.Sprintf("text %d\t\"\\/<\xff\u2028€", n))
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(int64(n))
		case reflect.Uint16, reflect.Uint64:
			v.SetUint(1<<16 - uint64(n))
		default:
			t.Fatalf("%v", v.Kind())
		}
	}
	var full Record
	fill(reflect.ValueOf(&full).Elem())
	for name, r := range map[string]*Record{
		"empty": {}, "full": &full, "usual": {ID: "x", Groups: map[string]string{"": "/g"}, Creator: &Identity{PID: 1, Start: 1 << 63}},
		"hooks": {Poststop: []specs.Hook{{Path: "/p"}}},
	} {
		text, err := r.text()
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatalf("%s: %v in %s", name, err, text)
		}
		if err := json.Unmarshal(want, &b); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: it is\n%s\nand not\n%s", name, text, want)
		}
	}
}
