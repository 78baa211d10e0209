// Package seccomp turns system call profiles into kernel filters.
//
// A profile comes in the JSON form that Docker and the OCI runtime
// specification share (Parse), or is the built-in one (Default). Compile makes
// it, for one architecture, one set of kept capabilities and one kernel, into a
// classic BPF program that seccomp(2) takes as it is; a Cache keeps what was
// compiled. The bytes travel in isolate.Process.Seccomp to the forked child,
// which installs them as the last thing before it executes the service. This
// package installs nothing itself and needs neither cgo nor a library of the host.
//
// Calls are found in the program by a binary search over ranges of numbers that
// share a verdict: the built-in profile costs a call about 10 instructions,
// where a list costs some hundred.
//
// # What wins
//
// The lists of Options stand above the profile: Deny, then Allow. Within the
// profile, as with libseccomp:
//   - a rule whose verdict is the default one is passed over;
//   - among the rules of one call, the first without arguments decides, and
//     then those with arguments do not count, whether before or after it;
//   - where all have arguments, the first in the profile's order that matches
//     decides, and the default if none does.
//
// All arguments of a rule must match. Only where a rule compares the same
// argument more than once is each comparison a rule of its own, as runc has it.
//
// A call number above all those that the profile names gets ENOSYS instead of
// the default when that is an Errno: programs that try a newer call then fall
// back to an older one, where EPERM would end them. runc does the same, and for
// a default of KILL, TRAP or NOTIFY too; there we keep to the OCI specification,
// by which the default action is what becomes of a call that no rule names. A
// newer number is told by the ABI's own table, not by the kernel's age.
//
// # Other ABIs of the same machine
//
// Calls of the native ABI are always filtered by the profile, those of further
// ones (32-bit x86 and x32 on amd64, 32-bit ARM on arm64) if the profile names
// them, each with its own numbers. A call through an ABI that is not named ends
// the process (libseccomp ends the thread, which leaves a crippled process). The
// number -1, which a tracer sets to skip a call, gets the default verdict.
//
// On 32-bit ABIs the low 32 bits of values are compared; x32, whose registers
// have 64, is compared in full (libseccomp looks at the low half there too). 32-bit x86 can reach
// socket and System V IPC calls also through socketcall(2) and ipc(2): a rule
// for such a call holds for both ways. Arguments of the call cannot be seen
// there, so a rule with arguments counts as met if it is stricter than the
// default, and as not met otherwise. A rule for socketcall or ipc as such covers
// what goes through it, except that stricter rules for single calls go first.
package seccomp

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	moby "github.com/moby/profiles/seccomp"
)

// Profile says which system calls a container may make. It is made by Parse or
// Default, is not to be changed afterwards, and can then be used by any number
// of goroutines.
type Profile struct {
	Default Verdict
	// Arches are the ABIs beside the native one, in the OCI form, when the
	// profile lists them plainly; ArchMap gives them by native ABI. At most one
	// of both is set.
	Arches  []string
	ArchMap map[string][]string
	Flags   []string // SECCOMP_FILTER_FLAG_…
	// ListenerPath is the unix socket that takes the listener where the filter
	// needs one, and ListenerMetadata what it is told besides (OCI). They are for
	// who installs the filter; Compile does nothing with them.
	ListenerPath, ListenerMetadata string
	Rules                          []Rule
}

// Rule gives the verdict on some calls.
type Rule struct {
	Names    []string
	Verdict  Verdict
	Args     []Arg // all must match; empty: always
	Includes Condition
	Excludes Condition
}

// Arg compares one argument. ValueTwo is for MaskedEqual only.
type Arg struct {
	Index           int // 0 to 5
	Op              Op
	Value, ValueTwo uint64
}

// Condition says when a rule is part of the filter. As Includes, everything
// given must hold; as Excludes, anything given that holds removes the rule.
// Capabilities have their full names (CAP_SYS_ADMIN); arches are Docker's
// (amd64, arm64, x86 …).
type Condition struct {
	Caps      []string
	Arches    []string
	MinKernel KernelVersion // zero: not given
}

// KernelVersion is the first two numbers of a kernel release.
type KernelVersion struct{ Major, Minor int }

func (k KernelVersion) atLeast(o KernelVersion) bool {
	return k.Major > o.Major || k.Major == o.Major && k.Minor >= o.Minor
}

// Default gives Docker's default profile, from the data of moby/profiles:
// about 370 calls allowed, all else refused with EPERM, and clone3, whose flags
// a filter cannot see, with ENOSYS, so that the C library falls back to clone.
var Default = sync.OnceValue(func() *Profile {
	text, err := json.Marshal(moby.DefaultProfile())
	if err != nil {
		panic(fmt.Sprintf("built-in seccomp profile: %v", err))
	}
	p, err := Parse(text)
	if err != nil {
		panic(fmt.Sprintf("built-in seccomp profile: %v", err))
	}
	return p
})

// Unknown lists the system calls that the profile names and that no
// architecture has, sorted. They have no effect; they are worth a warning,
// since each is either newer than berth or misspelt.
func (p *Profile) Unknown() []string {
	var unknown []string
	for _, r := range p.Rules {
		for _, name := range r.Names {
			if !knownCall(name) {
				unknown = append(unknown, name)
			}
		}
	}
	slices.Sort(unknown)
	return slices.Compact(unknown)
}
