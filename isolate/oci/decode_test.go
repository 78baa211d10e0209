package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/isolate/seccomp"
	"golang.org/x/sys/unix"
)

// TestDecodeLikeJSON holds that a good text gives what encoding/json gives.
func TestDecodeLikeJSON(t *testing.T) {
	texts := map[string]string{
		"small":    `{"ociVersion": "1.0.0", "process": {"args": ["a", "\u00e9\n"], "cwd": "/", "oomScoreAdj": -3, "user": {"uid": 4294967295}}, "hooks": {"prestart": []}}`,
		"embedded": `{"linux": {"resources": {"blockIO": {"weightDevice": [{"major": 8, "minor": -1, "weight": 5}]}, "rdma": {"mlx": {"hcaHandles": 3}}}}}`,
		"null":     `{"process": null, "mounts": null, "linux": {"resources": {"memory": {"limit": null}}, "sysctl": {"a": "b"}, "seccomp": {"syscalls": []}}}`,
		"maps":     `{"annotations": {"a": "b", "c": ""}, "linux": {"timeOffsets": {"boottime": {"secs": -9223372036854775808}}}}`,
		"values":   `{"process": {"terminal": true, "rlimits": [{"hard": 18446744073709551615}], "user": {"umask": 18}}}`,
	}
	for _, name := range []string{"docker", "containerd", "podman"} {
		text, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	for name, text := range texts {
		var got, want specs.Spec
		if err := Decode([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-encoding/json +Decode):\n%s", name, diff)
		}
	}
}

// TestDecodePassesOver holds that what the runtime-spec does not know is no fault.
func TestDecodePassesOver(t *testing.T) {
	text := `{"Process": {"args": 3}, "OCIVERSION": 1, "ociVersion": "1.0.0", "future": {"a": [1, {"b": null}, "c", true]},
		"process": {"future": 1.5e300}, "windows": {"credentialSpec": {"any": ["thing"]}}}`
	var got specs.Spec
	if err := Decode([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != "1.0.0" || len(got.Process.Args) > 0 || got.Windows == nil {
		t.Errorf("read %+v", got)
	}
}

func TestDecodeFaults(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{``, "line 1: the text ends too early"},
		{"{\n\"a\": [1,\n", "line 3: the text ends too early"},
		{`{"process": {"cwd": "/}`, "line 1: the text ends too early"},
		{"{}\n{}", "line 2: there is more text behind its end"},
		{`{} x`, "line 1: there is more text behind its end"},
		{`[]`, "it is an array, want an object"},
		{`"a"`, "it is a string, want an object"},
		{"{\n\"ociVersion\": \"1\",\n}", "line 3: '}' where another value should be"},
		{`{"mounts": [{}, {"options": [1,]}]}`, "']' where another value should be"},
		{`{"ociVersion" 1}`, "'1' where a colon should be"},
		{`{"a": 1 "b": 2}`, `'"' where a comma or '}' should be`},
		{`{a: 1}`, "'a' where a name in quotes should be"},
		{`{"a": nul}`, "'n' where a value should be"},
		{`{"a": é}`, "'é' where a value should be"},
		{"{\"a\": \x00}", `'\x00' where a value should be`},
		{"{\"a\"\x00: 1}", `'\x00' where a colon should be`},
		{`{"a": 01}`, "where a"},
		{`{"a": 1.}`, "where a number should be"},
		{`{"a": -}`, "where a number should be"},
		{`{"a": 1e}`, "where a number should be"},
		{`{"a": "\x"}`, "bad escape"},
		{"{\"a\": \"\n\"}", "control character"},
		{`{"a": "\`, "the text ends too early"},
		{"{\"ociVersion\": \"1\xff\"}", "not UTF-8"},
		{`{"ociVersion": 1}`, "ociVersion: it is a number, want a string"},
		{`{"process": {"terminal": "yes"}}`, "process.terminal: it is a string, want a boolean"},
		{`{"process": {"terminal": {}, "cwd": []}}`, "process.terminal: it is an object, want a boolean\nprocess.cwd: it is an array, want a string"},
		{`{"process": {"args": "a"}}`, "process.args: it is a string, want an array"},
		{`{"process": {"args": ["a", 2, "c"]}}`, "process.args[1]: it is a number, want a string"},
		{`{"process": {"user": {"uid": -1}}}`, `process.user.uid: "-1" is not a whole number from 0 to 4294967295`},
		{`{"process": {"user": {"uid": 4294967296}}}`, `process.user.uid: "4294967296" is not a whole number`},
		{`{"process": {"user": {"uid": 1.5}}}`, `process.user.uid: "1.5" is not a whole number`},
		{`{"process": {"oomScoreAdj": 1e3}}`, `process.oomScoreAdj: "1e3" is not a whole number of 64 bits with sign`},
		{`{"process": {"user": {"uid": true}}}`, "process.user.uid: it is a boolean, want a number"},
		{`{"mounts": [{}, {"destination": []}]}`, "mounts[1].destination: it is an array, want a string"},
		{`{"linux": {"sysctl": {"a.b": 1}}}`, `linux.sysctl["a.b"]: it is a number, want a string`},
		{`{"linux": {"sysctl": {"a": "1", "a": "2"}}}`, `linux.sysctl["a"]: it is given twice; leave one of them out`},
		{`{"linux": {}, "linux": {}}`, "linux: it is given twice"},
		{`{"hooks": []}`, "hooks: it is an array, want an object"},
		{strings.Repeat("[", 100), "nested more than 64 deep"},
		{`{"a":` + strings.Repeat(`{"a":`, 100), "nested more than 64 deep"},
		{`{"mounts": [` + strings.Repeat(`{},`, maxValues), "more than 200000 values"},
		{strings.Repeat(" ", maxText) + "{}", "more than 8388608 bytes"},
	} {
		var spec specs.Spec
		err := Decode([]byte(c.text), &spec)
		if err == nil || !strings.HasPrefix(err.Error(), "cannot read the JSON text: ") && !strings.HasPrefix(err.Error(), "cannot read the JSON text:\n") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: want %q, have: %v", c.text, c.want, err)
		}
	}
}

func TestDecodeFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json")
	want := func(says string) {
		t.Helper()
		if _, err := DecodeFile(file, &specs.Spec{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, have: %v", says, err)
		}
	}
	want("is this the right directory? A bundle has a config.json in it")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"ociVersion": "1.0.0", "process": {"cwd": 1}}`)
	want(fmt.Sprintf("%s: cannot read the JSON text: process.cwd: it is a number", file))
	write(`{"ociVersion": "1.0.0"}`)
	var spec specs.Spec
	_, err := DecodeFile(file, &spec)
	if err != nil || spec.Version != "1.0.0" {
		t.Errorf("read %+v, %v", spec, err)
	}
	if err := os.Truncate(file, maxText+1); err != nil {
		t.Fatal(err)
	}
	want("has more than 8388608 bytes")
	for _, make := range []func() error{
		func() error { return os.Mkdir(file, 0o755) },
		func() error { return unix.Mkfifo(file, 0o644) }, // nobody writes to it
	} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := make(); err != nil {
			t.Fatal(err)
		}
		want("not a regular file")
	}
}

func BenchmarkDecode(b *testing.B) {
	text, err := os.ReadFile("testdata/docker.json")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		var spec specs.Spec
		if err := Decode(text, &spec); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTranslate(b *testing.B) {
	config := example(b, "docker")
	for b.Loop() {
		if _, err := Translate(config, options); err != nil {
			b.Fatal(err)
		}
	}
}

// DecodeConfig gives the namespaces once, as soon as they are known.
func TestDecodeConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	for text, want := range map[string][]string{
		`{"linux": {"namespaces": [{"type": "network"}, {"type": "pid", "path": "/p"}], "seccomp": 1}}`: {"network, pid /p"},
		`{"linux": {"namespaces": [{"type": "network"}], "namespaces": [{"type": "user"}]}}`:            {"network"},
		`{"linux": {"namespaces": []}}`:                               {""},
		`{"linux": {"namespaces": null}, "ociVersion": "1.0.0"}`:      nil,
		`{"hooks": {"namespaces": [{"type": "network"}]}, "root": 1}`: nil,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []string
		_, _, err := DecodeConfig(file, &specs.Spec{}, seccomp.Files{}, func(list []specs.LinuxNamespace) {
			var all []string
			for _, ns := range list {
				all = append(all, strings.TrimSpace(string(ns.Type)+" "+ns.Path))
			}
			got = append(got, strings.Join(all, ", "))
		})
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
		if faulty := strings.Contains(text, "1}") || strings.Count(text, `"namespaces"`) > 1; faulty != (err != nil) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
