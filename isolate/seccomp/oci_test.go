package seccomp

import (
	"encoding/json"
	"os"
	"slices"
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

// TestSupportedFlags holds that the kernel is asked in a way that installs nothing.
func TestSupportedFlags(t *testing.T) {
	_, _, _, known := Known()
	supported := SupportedFlags()
	for _, flag := range []string{"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"} { // Linux 4.17
		if !slices.Contains(supported, flag) || !slices.Contains(known, flag) {
			t.Errorf("%s is not among %v of %v", flag, supported, known)
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	again := SupportedFlags()
	after, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	filters := func(text []byte) string {
		_, rest, _ := strings.Cut(string(text), "Seccomp_filters:")
		line, _, _ := strings.Cut(rest, "\n")
		return line
	}
	if !slices.Equal(supported, again) || filters(status) != filters(after) {
		t.Errorf("asking has changed something: %v, %v; filters %s, %s", supported, again, filters(status), filters(after))
	}
}
