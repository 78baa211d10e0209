package units

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// structKeys lists the keys that the struct tags of the model spell out.
func structKeys(typ reflect.Type, prefix string) []string {
	switch {
	case typ == reflect.TypeFor[IDMap]():
		return structKeys(reflect.TypeFor[[]IDRange](), prefix)
	case typ == reflect.TypeFor[Rate](), typ == reflect.TypeFor[Limit]():
		return nil
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return structKeys(typ.Elem(), prefix)
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Struct {
			return structKeys(typ.Elem(), prefix+"[]")
		}
	case reflect.Map:
		return append([]string{prefix + ".*"}, structKeys(typ.Elem(), prefix+".*")...)
	case reflect.Struct:
		var keys []string
		for i := range typ.NumField() {
			tag := typ.Field(i).Tag.Get("toml")
			if tag == "-" {
				continue
			}
			key := strings.TrimPrefix(prefix+"."+tag, ".")
			keys = append(keys, key)
			keys = append(keys, structKeys(typ.Field(i).Type, key)...)
		}
		return keys
	}
	return nil
}

func TestTableAndStructAreOne(t *testing.T) {
	inStruct := make(map[string]bool)
	for _, key := range structKeys(reflect.TypeFor[Unit](), "") {
		inStruct[key] = true
		if _, ok := fieldIndex()[key]; !ok {
			t.Errorf("%s is in the struct and not in the table", key)
		}
	}
	seen := make(map[string]bool)
	for _, f := range Fields() {
		if !inStruct[f.Key] {
			t.Errorf("%s is in the table and not in the struct", f.Key)
		}
		if seen[f.Key] {
			t.Errorf("%s is in the table twice", f.Key)
		}
		seen[f.Key] = true
	}
}

func TestTableIsComplete(t *testing.T) {
	keyForm := regexp.MustCompile(`^[a-z0-9-]+(\[\])?(\.([a-z0-9-]+(\[\])?|\*))*$`)
	for _, f := range Fields() {
		if !keyForm.MatchString(f.Key) {
			t.Errorf("%s is not in kebab case", f.Key)
		}
		if !strings.HasSuffix(f.Help, ".") || strings.Count(f.Help, ". ") > 3 {
			t.Errorf("%s: help is to be one to three sentences: %q", f.Key, f.Help)
		}
		for _, s := range []string{f.Min, f.Max} {
			if _, ok := bound(f, s); s != "" && !ok {
				t.Errorf("%s: the bound %q is not in the key's notation", f.Key, s)
			}
		}
		for _, s := range []string{f.Min, f.Max} {
			if s != "" && f.Type != TypeMode && s != "1ms" && !strings.Contains(f.Help, s) && !strings.Contains(f.Help, "above zero") {
				t.Errorf("%s: the help does not tell the bound %s", f.Key, s)
			}
		}
		if (f.Type == TypeChoice || f.Type == TypeChoices) && len(f.Values) == 0 {
			t.Errorf("%s has no values", f.Key)
		}
		if f.Default != "" {
			checkDefault(t, f)
		}
	}
}

// checkDefault decodes the default as if it were written.
func checkDefault(t *testing.T, f Field) {
	rep := &report{}
	d := &decoder{rep: rep, later: true}
	n := defaultNodes()[f.Key]
	if n == nil {
		t.Errorf("%s: the default %s is not TOML", f.Key, f.Default)
		return
	}
	v := reflect.New(typeOf(t, reflect.TypeFor[Unit](), f.Key)).Elem()
	d.value(n, v, f.Key)
	if len(rep.diagnostics) > 0 {
		t.Errorf("%s: the default %s is refused: %v", f.Key, f.Default, rep.diagnostics)
	}
	if f.Later || strings.Contains(f.Key, "*") || strings.Contains(f.Key, "[]") {
		return
	}
	if got := lookup(reflect.ValueOf(Defaults()).Elem(), f.Key); !reflect.DeepEqual(got.Interface(), v.Interface()) {
		t.Errorf("%s: Defaults has %v, the table %s", f.Key, got, f.Default)
	}
}

// typeOf gives the Go type of a key.
func typeOf(t *testing.T, typ reflect.Type, key string) reflect.Type {
	for part := range strings.SplitSeq(key, ".") {
		for typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if part == "*" {
			typ = typ.Elem()
			continue
		}
		name, list := strings.CutSuffix(part, "[]")
		i := fieldByTag(typ, name)
		if i < 0 {
			t.Fatalf("no field for %s", key)
		}
		if typ = typ.Field(i).Type; list {
			typ = typ.Elem()
		}
	}
	return typ
}

func lookup(v reflect.Value, key string) reflect.Value {
	for part := range strings.SplitSeq(key, ".") {
		v = v.Field(fieldByTag(v.Type(), part))
	}
	return v
}

func TestFieldOfTakesConcreteKeys(t *testing.T) {
	for concrete, want := range map[string]string{
		"cgroup.memory-max":            "cgroup.memory-max",
		"health.up.interval":           "health.*.interval",
		"health.*.interval":            "health.*.interval",
		"mount[2].target":              "mount[].target",
		"mount[].target":               "mount[].target",
		"mount.target":                 "mount[].target",
		"sysctl.net.core.somaxconn":    "sysctl.*",
		"limits.nofile":                "limits.*",
		"service.environment.TZ":       "service.environment.*",
		"cgroup.io-max[0].read-bps":    "cgroup.io-max[].read-bps",
		"service.reload.signal":        "service.reload.signal",
		"cgroup":                       "cgroup",
		"cgroup.":                      "",
		"":                             "",
		"cgroup.memory-max.x":          "",
		"unit[0].description":          "",
		"health.up":                    "health.*",
		"namespaces.uid-map[1].inside": "namespaces.uid-map[].inside",
	} {
		f, ok := FieldOf(concrete)
		if f.Key != want || ok != (want != "") {
			t.Errorf("FieldOf(%q) = %q, %v, want %q", concrete, f.Key, ok, want)
		}
	}
}

// TestEveryDocumentedKeyIsKnown holds the table to the page that fixes the
// names: testdata/allkeys.toml is its example with every key written out.
func TestEveryDocumentedKeyIsKnown(t *testing.T) {
	text, err := os.ReadFile("testdata/allkeys.toml")
	if err != nil {
		t.Fatal(err)
	}
	f := newFile(Source{Path: "allkeys.toml", Text: text})
	rep := &report{}
	tree := parse(f, rep)
	_, ds := Decode("web@eu", []Source{{Path: "allkeys.toml", Text: text}})
	for _, d := range append(rep.diagnostics, ds...) {
		switch d.Code {
		case "U014", "U024", "U031": // several alternatives and future keys stand side by side there
		default:
			t.Errorf("%v", d)
		}
	}
	written := make(map[string]bool)
	var collect func(n *node, key string)
	collect = func(n *node, key string) {
		if field, ok := FieldOf(key); ok {
			written[field.Key] = true
		}
		for _, name := range n.keys {
			collect(n.fields[name], strings.TrimPrefix(key+"."+name, "."))
		}
		for _, item := range n.items {
			if item.kind == table_ {
				collect(item, key+"[0]")
			}
		}
	}
	collect(tree, "")
	for _, f := range Fields() {
		if !written[f.Key] {
			t.Errorf("testdata/allkeys.toml does not show %s", f.Key)
		}
	}
}

func TestReferencePage(t *testing.T) {
	golden(t, "../docs/reference.md", Reference())
}

func TestSchemaIsDraft4(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{"$schema": true, "title": true, "type": true, "additionalProperties": true, "patternProperties": true,
		"properties": true, "required": true, "items": true, "oneOf": true, "anyOf": true, "enum": true, "pattern": true,
		"minimum": true, "maximum": true, "minItems": true, "description": true, "default": true}
	described := 0
	var walk func(v any)
	walk = func(v any) {
		schema, ok := v.(map[string]any)
		if !ok {
			return
		}
		for key, value := range schema {
			switch {
			case !allowed[key]:
				t.Errorf("the keyword %s is not of draft 4", key)
			case key == "properties" || key == "patternProperties":
				for _, child := range value.(map[string]any) {
					walk(child)
				}
			case key == "oneOf" || key == "anyOf":
				for _, child := range value.([]any) {
					walk(child)
				}
			case key == "items" || key == "additionalProperties":
				walk(value)
			case key == "pattern":
				regexp.MustCompile(value.(string))
			case key == "description":
				described++
			}
		}
	}
	walk(root)
	if described != len(Fields()) {
		t.Errorf("%d of %d fields are in the schema", described, len(Fields()))
	}
	golden(t, "testdata/schema.json", text)
}
