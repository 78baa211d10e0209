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

// TestHostileProfile holds that a profile takes no longer to refuse than to use.
func TestHostileProfile(t *testing.T) {
	hostile := func(edit func(*specs.LinuxSeccomp)) *specs.LinuxSeccomp {
		s := &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW"}
		edit(s)
		return s
	}
	rule := specs.LinuxSyscall{Names: []string{"read"}, Action: "SCMP_ACT_ERRNO", Args: []specs.LinuxSeccompArg{{Value: 1, Op: "SCMP_CMP_EQ"}}}
	for name, s := range map[string]*specs.LinuxSeccomp{
		"rules": hostile(func(s *specs.LinuxSeccomp) { s.Syscalls = slices.Repeat([]specs.LinuxSyscall{rule}, maxRules+1) }),
		"args": hostile(func(s *specs.LinuxSeccomp) {
			s.Syscalls = []specs.LinuxSyscall{rule}
			s.Syscalls[0].Args = slices.Repeat(rule.Args, maxRules+1)
		}),
	} {
		if _, err := FromOCI(s); err == nil || !strings.Contains(err.Error(), "a filter has room for 4096") {
			t.Errorf("%s: %v", name, err)
		}
	}
	names := hostile(func(s *specs.LinuxSeccomp) {
		s.Syscalls = []specs.LinuxSyscall{rule}
		s.Syscalls[0].Names = slices.Repeat(rule.Names, 100000)
	})
	p, err := FromOCI(names)
	if err != nil || len(p.Rules[0].Names) != 1 {
		t.Errorf("the names are %d, %v", len(p.Rules[0].Names), err)
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
