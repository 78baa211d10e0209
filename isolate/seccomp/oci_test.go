package seccomp

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestFromOCI holds that a profile that was read elsewhere is the same as one that Parse has read.
func TestFromOCI(t *testing.T) {
	text, err := os.ReadFile("../oci/testdata/docker.json")
	if err != nil {
		t.Fatal(err)
	}
	var config specs.Spec
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	s := config.Linux.Seccomp
	s.Flags = []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_LOG"}
	s.ListenerPath, s.ListenerMetadata = "/run/agent", "hello"
	s.Syscalls[0].Action, s.Syscalls[0].ErrnoRet = "SCMP_ACT_TRACE", s.DefaultErrnoRet
	if text, err = json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	want, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := FromOCI(s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-Parse +FromOCI):\n%s", diff)
	}
	s.DefaultAction, s.Syscalls[1].Args[0].Op = "", "EQ"
	if _, err := FromOCI(s); err == nil || !strings.HasPrefix(err.Error(), "defaultAction: ") || !strings.Contains(err.Error(), "\nsyscalls[1].args[0]: unknown operator") {
		t.Errorf("the faults are %v", err)
	}
}
