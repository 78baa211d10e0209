package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"berth/supervisor/core"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
)

var update = flag.Bool("update", false, "rewrite docs/openapi.json")

const document = "../../docs/openapi.json"

// object is a JSON object on its way into the document.
type object = map[string]any

// schemas makes JSON schemas of Go types; those of structs are components.
type schemas struct {
	reflector  *jsonschema.Reflector
	components object
}

// newSchemas reads the descriptions from the comments of the packages.
func newSchemas(t *testing.T) *schemas {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("../..") // the paths below are those of packages
	r := &jsonschema.Reflector{Anonymous: true, AllowAdditionalProperties: true, Mapper: mapped, Namer: func(t reflect.Type) string {
		if t.PkgPath() == reflect.TypeFor[Unit]().PkgPath() || t.Name() == "" {
			return t.Name()
		}
		return path.Base(t.PkgPath()) + "." + t.Name()
	}}
	for _, dir := range []string{"supervisor/api", "supervisor/core", "supervisor/history", "config", "units", "isolate/cgroup"} {
		if err := r.AddGoComments("berth", dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(here)
	return &schemas{r, object{}}
}

// mapped gives the schemas of what the reflector does not know to be text.
func mapped(t reflect.Type) *jsonschema.Schema {
	switch {
	case t == reflect.TypeFor[core.Phase]():
		s := &jsonschema.Schema{Type: "string"}
		for _, p := range core.Phases() {
			s.Enum = append(s.Enum, p)
		}
		return s
	case t == reflect.TypeFor[core.Verb]():
		return &jsonschema.Schema{Type: "string", Enum: []any{core.VerbStart, core.VerbStop, core.VerbRestart, core.VerbReload,
			core.VerbKill, core.VerbReset, VerbPause, VerbResume}}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) && t.PkgPath() != "time":
		return &jsonschema.Schema{Type: "string"}
	}
	return nil
}

// of gives the schema of a value, a reference for a struct. A slice or a map
// that is always there may be null; a request is strict instead.
func (s *schemas) of(t *testing.T, v reflect.Type, request bool) object {
	t.Helper()
	if v.Kind() == reflect.Slice || v.Kind() == reflect.Array {
		return object{"type": "array", "items": s.of(t, v.Elem(), request)}
	}
	if v.Kind() == reflect.Map {
		if v.Elem().Kind() == reflect.Interface {
			return object{"type": "object"}
		}
		return object{"type": "object", "additionalProperties": s.of(t, v.Elem(), request)}
	}
	if v.Name() == "" {
		return object{"type": "object"}
	}
	text, err := json.Marshal(s.reflector.ReflectFromType(v))
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("#/$defs/"), []byte("#/components/schemas/"))
	var schema struct {
		Ref  string            `json:"$ref"`
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	for name, def := range schema.Defs {
		if request {
			def["additionalProperties"] = false
		} else {
			nullable(def)
		}
		s.components[name] = def
	}
	return object{"$ref": schema.Ref}
}

// nullable has what encoding/json writes for a nil slice or map be valid.
func nullable(def object) {
	if def["type"] == "array" {
		def["type"] = []any{"array", "null"}
	}
	required, _ := def["required"].([]any)
	properties, _ := def["properties"].(object)
	for _, name := range required {
		p, _ := properties[name.(string)].(object)
		_, isStruct := p["properties"]
		if p["type"] == "array" || p["type"] == "object" && !isStruct {
			p["type"] = []any{p["type"], "null"}
		}
	}
}

var pathParameter = regexp.MustCompile(`\{([^}]*)\}`)

// operationID is the method and the words of the path, as getUnitsUnitWhy.
func operationID(r route) string {
	id := strings.ToLower(r.method)
	for word := range strings.FieldsFuncSeq(strings.TrimPrefix(r.path, "/v1"), func(c rune) bool { return strings.ContainsRune("/{}", c) }) {
		id += strings.ToUpper(word[:1]) + word[1:]
	}
	return id
}

func parameters(r route) []any {
	var list []any
	for _, m := range pathParameter.FindAllStringSubmatch(r.path, -1) {
		list = append(list, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range r.query {
		schema := object{"type": p.kind}
		if p.format != "" {
			schema["format"] = p.format
		}
		if p.values != nil {
			schema["enum"] = p.values
		}
		if p.repeated {
			schema = object{"type": "array", "items": schema}
		}
		list = append(list, object{"name": p.name, "in": "query", "description": p.help, "required": p.required, "schema": schema})
	}
	return list
}

// success gives the status and the description of what is no error.
func (s *schemas) success(t *testing.T, a answerForm) (status string, response object) {
	t.Helper()
	content := object{}
	description := "Done"
	switch a.kind {
	case "":
		return "101", object{"description": "The connection carries frames from here on: a byte that tells the kind, four for the length (big-endian), and the data"}
	case jsonType:
		schema := s.of(t, a.value, false)
		if a.other != nil {
			schema = object{"oneOf": []any{schema, s.of(t, a.other, false)}}
		}
		content[jsonType] = object{"schema": schema}
	case streamType:
		description = "One such value a line, each as soon as it is there"
		content[streamType] = object{"schema": s.of(t, a.value, false)}
	default:
		content[a.kind] = object{"schema": object{"type": "string"}}
		if a.other != nil {
			content[jsonType] = object{"schema": s.of(t, a.other, false)}
		}
	}
	return "200", object{"description": description, "content": content}
}

// openAPI gives the document.
func openAPI(t *testing.T, routes []route) []byte {
	t.Helper()
	s := newSchemas(t)
	failure := object{"description": "It could not be done; forbidden (403) without the role", "content": object{jsonType: object{"schema": s.of(t, reflect.TypeFor[Error](), false)}}}
	paths := object{}
	for _, r := range routes {
		status, response := s.success(t, r.answer)
		op := object{
			"operationId": operationID(r), "summary": r.summary, "x-role": r.role.String(),
			"responses": object{status: response, "default": failure},
		}
		if list := parameters(r); list != nil {
			op["parameters"] = list
		}
		if r.request != nil {
			op["requestBody"] = object{"required": true, "content": object{jsonType: object{"schema": s.of(t, r.request, true)}}}
		}
		if paths[r.path] == nil {
			paths[r.path] = object{}
		}
		paths[r.path].(object)[strings.ToLower(r.method)] = op
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(object{
		"openapi": "3.1.0",
		"info": object{"title": "berth", "version": "1", "description": "The control API of berthd: HTTP on a unix socket. " +
			"The kernel tells who asks (SO_PEERCRED); x-role is the role that an operation needs: read, operate or admin, each of which includes the ones before. " +
			"Durations are in nanoseconds where nothing else is said. Generated from the routes and types of supervisor/api by go test ./supervisor/api -update."},
		"servers":    []any{object{"url": "http://berth", "description": "over the unix socket /run/berth/berth.sock; any host name will do"}},
		"paths":      paths,
		"components": object{"schemas": s.components},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestOpenAPI holds the document to the routes and types.
func TestOpenAPI(t *testing.T) {
	want := openAPI(t, (&Server{backend: stub{}}).routes())
	if *update {
		if err := os.WriteFile(document, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(got), "\n"), strings.Split(string(want), "\n")); diff != "" {
		t.Errorf("%s is not what the code says (go test ./supervisor/api -update):\n%s", document, diff)
	}
}

// read gives the document as it is written.
func read(t *testing.T) object {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var doc object
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestRoutesAreDocumented: what the server answers to is in the document, with
// its role, and nothing else is.
func TestRoutesAreDocumented(t *testing.T) {
	paths := read(t)["paths"].(object)
	var documented, served []string
	for p, methods := range paths {
		for m, op := range methods.(object) {
			documented = append(documented, strings.ToUpper(m)+" "+p+" "+op.(object)["x-role"].(string))
		}
	}
	s := &Server{backend: stub{}}
	mux := s.Handler().(*http.ServeMux)
	for _, r := range s.routes() {
		served = append(served, r.method+" "+r.path+" "+r.role.String())
		req, err := http.NewRequest(r.method, "http://berth"+pathParameter.ReplaceAllString(r.path, "x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, pattern := mux.Handler(req); pattern != r.method+" "+r.path {
			t.Errorf("%s %s is served by %q", r.method, r.path, pattern)
		}
	}
	slices.Sort(documented)
	slices.Sort(served)
	if diff := cmp.Diff(served, documented); diff != "" {
		t.Errorf("served and documented: %s", diff)
	}
}
