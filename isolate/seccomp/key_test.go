package seccomp

import (
	"reflect"
	"testing"
)

// Every value that a profile or the options have makes another key.
func TestKey(t *testing.T) {
	type content struct {
		P Profile
		O Options
	}
	keys := map[string]string{}
	var visit func(v reflect.Value, path string, c *content)
	note := func(c *content, path string) {
		k := string(key(&c.P, c.O))
		if other, ok := keys[k]; ok {
			t.Errorf("%s changes nothing beyond %s", path, other)
		}
		keys[k] = path
	}
	visit = func(v reflect.Value, path string, c *content) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				visit(v.Field(i), path+"."+v.Type().Field(i).Name, c)
			}
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			note(c, path+"[0]")
			visit(v.Index(0), path+"[0]", c)
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			note(c, path+"[1]")
		case reflect.Map:
			v.Set(reflect.ValueOf(map[string][]string{"a": nil}))
			note(c, path+"[a]")
			v.Set(reflect.ValueOf(map[string][]string{"a": {"b"}}))
			note(c, path+"[a][b]")
		case reflect.String:
			v.SetString("text")
			note(c, path)
		case reflect.Int:
			v.SetInt(3)
			note(c, path)
		case reflect.Uint16, reflect.Uint64:
			v.SetUint(3)
			note(c, path)
		default:
			t.Errorf("%s is a %v, which the test does not know", path, v.Kind())
		}
	}
	var c content
	note(&c, "nothing")
	visit(reflect.ValueOf(&c).Elem(), "", &c)
	split := []Profile{{Flags: []string{"ab", "c"}}, {Flags: []string{"a", "bc"}}, {Flags: []string{"abc"}}}
	for i := range split {
		note(&content{P: split[i]}, split[i].Flags[0])
	}
}
