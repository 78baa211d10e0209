package oci

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/isolate/seccomp"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestFiltersAreKept holds that a start and an exec take the filter that was
// compiled before for the same text, without a look at what it says.
func TestFiltersAreKept(t *testing.T) {
	files := seccomp.Files{Dir: filepath.Join(t.TempDir(), "filters")}
	file := filepath.Join(t.TempDir(), configName)
	decode := func(filter string) (*specs.Spec, Options, error) {
		t.Helper()
		text := `{"ociVersion": "1.2.0", "process": {"args": ["true"], "cwd": "/"}, "root": {"path": "/root"}, "linux": {"seccomp": ` + filter + `, "namespaces": [{"type": "mount"}]}}`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var spec specs.Spec
		opt := options
		var err error
		_, opt.Filter, err = DecodeConfig(file, &spec, files, nil)
		return &spec, opt, err
	}
	translate := func(filter string) *Container {
		t.Helper()
		spec, opt, err := decode(filter)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Translate(spec, opt)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const text = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "fly{\"}\\"], "action": "SCMP_ACT_ERRNO"}]}`
	first := translate(text)
	again := translate(text)
	if len(first.Spec.Process.Seccomp) == 0 || !bytes.Equal(first.Spec.Process.Seccomp, again.Spec.Process.Seccomp) {
		t.Error("the filters differ")
	}
	if len(again.Warnings) != 1 || again.Warnings[0] != first.Warnings[0] {
		t.Errorf("warnings %q, first they were %q", again.Warnings, first.Warnings)
	}
	spec, opt, err := decode(text)
	if err != nil || spec.Linux.Seccomp != nil || len(spec.Linux.Namespaces) != 1 {
		t.Errorf("it was decoded again, or what comes behind it was not: %+v, %v", spec.Linux, err)
	}
	added, err := TranslateExec(spec, spec.Process, opt)
	if err != nil || !bytes.Equal(added.Process.Seccomp, first.Spec.Process.Seccomp) {
		t.Errorf("an added process has another filter: %v", err)
	}
	// What begins or ends like it is another one.
	for _, other := range []string{strings.Replace(text, "mkdir", "rmdir", 1), text[:len(text)-1] + `, "flags": ["SECCOMP_FILTER_FLAG_LOG"]}`} {
		if c := translate(other); bytes.Equal(c.Spec.Process.Seccomp, first.Spec.Process.Seccomp) && c.Spec.Process.SeccompFlags == first.Spec.Process.SeccompFlags {
			t.Errorf("%s has the filter of %s", other, text)
		}
	}
	for _, bad := range []string{text + text, text[:len(text)-1], text[:len(text)-1] + `]}`, text + `, "seccomp": ` + text} {
		if _, _, err := decode(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	// One with an agent needs what stands beside the rules.
	notify := `{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}`
	for range 2 {
		if c := translate(notify); c.Listener == nil || c.Listener.Path != "/agent" {
			t.Errorf("the agent is %+v", c.Listener)
		}
	}
}
