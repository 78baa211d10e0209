package oci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"berth/isolate"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// FuzzConfig holds that no text makes the reading or the translation fall over,
// that nothing but JSON is read, and that what was translated can be compiled or
// is refused.
func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 3 {
		f.Fatalf("the examples: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{`{"process": {"user": {"uid": -0}}}`, `{"a": "\ud800"}`, `[[[`, `{"linux": {"namespaces": [null]}}`, `null`, `{"":{"":[]}}`,
		`{"ociVersion":"1.0.0","root":{"path":"/"},"process":{"args":["a"],"cwd":"/","terminal":true},"linux":{"namespaces":[{"type":"mount"},{"type":"user"}],"uidMappings":[{"containerID":1,"hostID":4294967295,"size":4294967295}]}}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var spec specs.Spec
		if err := Decode(text, &spec); err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("read what is not JSON: %q", text)
		}
		for _, opt := range []Options{options, {ID: "a", Bundle: "/", Rootless: true, Console: true, Host: &Host{}}} {
			out, err := Translate(&spec, opt)
			if err != nil {
				if out != nil || len(err.Error()) > 64<<10 {
					t.Fatalf("an error of %d bytes, and %v", len(err.Error()), out)
				}
				continue
			}
			if p, err := isolate.Compile(out.Spec); err == nil && p == nil {
				t.Fatal("neither a program nor an error")
			}
		}
		if spec.Process != nil {
			if out, err := TranslateExec(&spec, spec.Process, options); (out == nil) == (err == nil) {
				t.Fatalf("gave %v and %v", out, err)
			}
		}
	})
}
