package seccomp

import (
	"bytes"
	"maps"
	"os"
	"runtime"
	"slices"
	"testing"
)

// TestBuiltInFilters holds the filters that are part of the program to what
// Compile makes of the default profile, on every kernel that berth runs on.
func TestBuiltInFilters(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		path := "default_" + arch + ".bpf"
		for _, kernel := range []KernelVersion{{5, 15}, {6, 1}, {6, 12}, {7, 30}} {
			want, flags, err := Compile(Default(), Options{Arch: arch, Kernel: kernel, Caps: []string{"CHOWN", "NET_BIND_SERVICE"}})
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(path, want, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) || flags != 0 {
				t.Errorf("%s is not the default profile's filter on Linux %v: run go test -update", path, kernel)
			}
		}
	}
}

// TestBuiltInConditions holds the list of capabilities to the default profile.
func TestBuiltInConditions(t *testing.T) {
	caps := map[string]bool{}
	for _, r := range Default().Rules {
		for _, c := range append(slices.Clone(r.Includes.Caps), r.Excludes.Caps...) {
			caps[c] = true
		}
	}
	if want := slices.Sorted(maps.Keys(caps)); !slices.Equal(want, builtInCaps) {
		t.Errorf("the default profile's rules ask for %q", want)
	}
}

// TestCompileDefault compares what a cache gives with and without the filter
// that is built in.
func TestCompileDefault(t *testing.T) {
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	for _, c := range []struct {
		options Options
		builtIn bool
	}{
		{Options{}, true},
		{Options{Arch: runtime.GOARCH, Caps: []string{"CAP_CHOWN", "net_bind_service"}}, true},
		{Options{Caps: []string{"CHOWN", "sys_admin"}}, false},
		{Options{Deny: []string{"getpid"}}, false},
		{Options{Allow: []string{"bpf"}}, false},
		{Options{Arch: other}, false},
		{Options{Kernel: KernelVersion{4, 4}}, false},
	} {
		var cache Cache
		got, flags, err := cache.CompileDefault(c.options)
		if err != nil {
			t.Fatal(err)
		}
		want, wantFlags, err := Compile(Default(), c.options)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) || flags != wantFlags {
			t.Errorf("%+v: not what the profile is compiled to", c.options)
		}
		if builtIn := len(cache.filters) == 0; builtIn != c.builtIn {
			t.Errorf("%+v: built in: %v", c.options, builtIn)
		}
	}
}
