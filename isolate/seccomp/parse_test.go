package seccomp

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	p, err := Parse([]byte(`{
		"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS",
		"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32"]}],
		"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
		"listenerPath": "/run/agent.sock", "listenerMetadata": "x",
		"syscalls": [
			{"name": "read", "action": "SCMP_ACT_ALLOW", "comment": "all need it"},
			{"names": ["ioctl", "frobnicate"], "action": "SCMP_ACT_TRACE", "errnoRet": 7,
			 "args": [{"index": 1, "value": 18446744073709551615, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}],
			 "includes": {"caps": ["CAP_BPF"], "minKernel": "4.8"}, "excludes": {"arches": ["arm64"]}}
		]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Profile{
		Default: Verdict{Errno, uint16(unix.ENOSYS)},
		ArchMap: map[string][]string{"SCMP_ARCH_X86_64": {"SCMP_ARCH_X32"}},
		Flags:   []string{"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"},

		ListenerPath: "/run/agent.sock", ListenerMetadata: "x",
		Rules: []Rule{
			{Names: []string{"read"}},
			{
				Names: []string{"ioctl", "frobnicate"}, Verdict: Verdict{Trace, 7},
				Args:     []Arg{{Index: 1, Op: MaskedEqual, Value: 1<<64 - 1, ValueTwo: 3}},
				Includes: Condition{Caps: []string{"CAP_BPF"}, MinKernel: KernelVersion{4, 8}},
				Excludes: Condition{Arches: []string{"arm64"}},
			},
		},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"frobnicate"}, p.Unknown()); diff != "" {
		t.Error(diff)
	}
	_, flags, err := Compile(p, Options{})
	if want := uint32(unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW); flags != want || err != nil {
		t.Errorf("flags are %#x, want %#x (%v)", flags, want, err)
	}
}

func TestParseFaults(t *testing.T) {
	rule := func(s string) string { return `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[` + s + `]}` }
	for _, c := range []struct{ text, want string }{
		{``, "the text ends too early"},
		{`{"defaultAction":"SCMP_ACT_ALLOW"`, "the text ends too early"},
		{"{\n\n\"defaultAction\":x}", "line 3: invalid character"},
		{"{\n\"defaultAction\":3}", "line 2: defaultAction cannot be a JSON number"},
		{`{"defaultAction":"SCMP_ACT_ALLOW"}{}`, "more text after its end"},
		{`{}`, "defaultAction: the action is missing"},
		{`{"defaultAction":"SCMP_ACT_ALOW"}`, `unknown action "SCMP_ACT_ALOW"; did you mean "SCMP_ACT_ALLOW"?`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","sycalls":[]}`, `unknown field "sycalls"`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"x"}`, "listenerMetadata: there is no listenerPath"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}`, "cannot be asked for"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","flags":["FAST"]}`, `unknown flag "FAST"`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_TSINC"]}`, `did you mean "SECCOMP_FILTER_FLAG_TSYNC"?`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X68"]}`, `architectures: unknown architecture "SCMP_ARCH_X68"; did you mean "SCMP_ARCH_X86"?`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}`, "use one of both"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86"},{"architecture":"SCMP_ARCH_X86"}]}`, "given twice"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}`, "goes with SCMP_ACT_ERRNO"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}`, "error number 4096 is above 4095"},
		{`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EFOO"}`, `unknown error name "EFOO"`},
		{`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EPERM","defaultErrnoRet":2}`, "error number 2 is not EPERM, which is 1"},
		{rule(`{"action":"SCMP_ACT_ALLOW"}`), "syscalls[0]: names is missing"},
		{rule(`{"names":[""],"action":"SCMP_ACT_ALLOW"}`), "names has an empty name"},
		{rule(`{"name":"read","names":["read"],"action":"SCMP_ACT_ALLOW"}`), "both name and names"},
		{rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["read"],"action":"DROP"}`), `syscalls[1].action: unknown action "DROP"`},
		{rule(`{"names":["read"],"action":"SCMP_ACT_TRACE","errnoRet":65536}`), "above 65535"},
		{rule(`{"names":["read"],"action":"SCMP_ACT_TRAP","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}`), "syscalls[0].args[0]: index 6 is not an argument"},
		{rule(`{"names":["read"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"op":"SCMP_CMP_EW"}]}`), `unknown operator "SCMP_CMP_EW"`},
		{rule(`{"names":["read"],"action":"SCMP_ACT_TRAP","args":[{"value":-1,"op":"SCMP_CMP_EQ"}]}`), "cannot be a JSON number -1"},
		{rule(`{"names":["read"],"action":"SCMP_ACT_TRAP","excludes":{"caps":["CAP_SYS_ADMN"]}}`), `excludes: unknown capability "CAP_SYS_ADMN"; did you mean "CAP_SYS_ADMIN"?`},
		{rule(`{"names":["read"],"action":"SCMP_ACT_TRAP","includes":{"minKernel":"new"}}`), `"new" is not a kernel version`},
	} {
		_, err := Parse([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestKernelVersion(t *testing.T) {
	for text, want := range map[string]KernelVersion{
		"4.8": {4, 8}, "6.1.0-18-amd64": {6, 1}, "6.18-rc1": {6, 18}, "5.15+": {5, 15},
	} {
		if got, err := ParseKernelVersion(text); got != want || err != nil {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "6", "6.", ".1", "x.y", "-1.2"} {
		if got, err := ParseKernelVersion(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// FuzzCompile holds that no text makes Parse or Compile fail otherwise than by
// an error, and that every filter is one that the kernel's checker would take.
func FuzzCompile(f *testing.F) {
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[{"names":["bind","ipc"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":5,"op":"SCMP_CMP_LE"}]}]}`))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_KILL","archMap":[{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]}],"syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","excludes":{"caps":["CAP_BPF"],"minKernel":"4.8"}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		for _, arch := range []string{"amd64", "arm64"} {
			filter, _, err := Compile(p, Options{Arch: arch, Kernel: KernelVersion{6, 1}})
			if err != nil {
				if !strings.Contains(err.Error(), "the kernel takes") {
					t.Fatal(err)
				}
				continue
			}
			if len(filter) == 0 || len(filter)%8 != 0 || len(filter)/8 > maxInstructions {
				t.Fatalf("a filter of %d bytes", len(filter))
			}
			vm := machineFor(t, filter)
			for _, a := range []*abi{&abiX86_64, &abiX86, &abiX32, &abiAARCH64, &abiARM} {
				for _, n := range []uint32{0, 1, 49, 102, 117, 300, 600, skipped} {
					evaluate(t, vm, data{nr: n | a.bit, arch: a.audit, args: [6]uint64{5, 1 << 40}})
				}
			}
		}
	})
}
