package oci

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// example gives a configuration as an engine writes it.
func example(t testing.TB, name string) *specs.Spec {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var c specs.Spec
	if err := Decode(text, &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := "testdata/" + name + ".golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestEngines holds the translation of configurations of the shape that three
// engines write.
func TestEngines(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  Options
	}{
		{"docker", Options{ID: "web", Bundle: "/run/docker/web"}},
		{"containerd", Options{ID: "app", Bundle: "/run/containerd/app", Console: true, Host: &Host{Capabilities: 1<<41 - 1, SELinux: func() bool { return true }}}},
		{"podman", Options{ID: "pod", Bundle: "/run/user/1000/bundle", Rootless: true, Host: &Host{Capabilities: 1<<41 - 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := example(t, c.name)
			out, err := Translate(config, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, c.name, flatten(out))
			if again := example(t, c.name); !cmp.Equal(again, config) {
				t.Errorf("the configuration was changed:\n%s", cmp.Diff(again, config))
			}
		})
	}
}
