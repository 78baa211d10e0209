package oci

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"berth/isolate/seccomp"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestFiltersAreKept holds that a start and an exec take the filter that was
// compiled before.
func TestFiltersAreKept(t *testing.T) {
	opt := options
	opt.Filters = seccomp.Files{Dir: filepath.Join(t.TempDir(), "filters")}
	config := small()
	config.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: "SCMP_ACT_ERRNO"}}}
	first, err := Translate(config, opt)
	if err != nil {
		t.Fatal(err)
	}
	again, err := TranslateExec(config, config.Process, opt)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadDir(opt.Filters.Dir)
	if err != nil || len(kept) != 1 || len(first.Spec.Process.Seccomp) == 0 || !bytes.Equal(first.Spec.Process.Seccomp, again.Process.Seccomp) {
		t.Errorf("kept are %v (%v)", kept, err)
	}
}
