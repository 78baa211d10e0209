package container

import (
	"fmt"
	"os"
	"slices"

	"berth/isolate/seccomp"
	"berth/units"

	moby "github.com/moby/profiles/seccomp"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// filters keeps every compiled filter: a profile costs milliseconds to compile
// and microseconds to look up, and units share few.
var filters seccomp.Cache

// filter compiles the unit's seccomp profile, and gives the flags it asks for and
// the names in it that nobody knows; nil for unconfined.
func filter(u *units.Unit) (compiled []byte, flags uint32, unknown []string, err error) {
	s := &u.Security
	opt := seccomp.Options{Caps: u.Capabilities.Keep, Deny: s.DenySyscalls, Allow: s.AllowSyscalls}
	var profile *seccomp.Profile // nil: the default one
	switch s.Seccomp {
	case "unconfined":
		if len(s.DenySyscalls) == 0 {
			return nil, 0, nil, nil
		}
		profile = &seccomp.Profile{Default: seccomp.Verdict{Action: seccomp.Allow}}
	case "default", "":
	default:
		text, err := os.ReadFile(s.Seccomp)
		if err != nil {
			return nil, 0, nil, fmt.Errorf("cannot read the seccomp profile: %w", err)
		}
		if profile, err = seccomp.Parse(text); err != nil {
			return nil, 0, nil, fmt.Errorf("cannot read the seccomp profile %s: %w", s.Seccomp, err)
		}
		unknown = profile.Unknown()
	}
	if profile == nil {
		compiled, flags, err = filters.CompileDefault(opt)
	} else {
		compiled, flags, err = filters.Compile(profile, opt)
	}
	if err != nil {
		return nil, 0, nil, fmt.Errorf("cannot compile the seccomp profile of %s: %w", u.Name, err)
	}
	if seccomp.Notifies(compiled) {
		return nil, 0, nil, fmt.Errorf("cannot use the seccomp profile of %s: SCMP_ACT_NOTIFY needs an agent that answers, which only containers of berth-oci can have", u.Name)
	}
	if s.SeccompLog {
		flags |= unix.SECCOMP_FILTER_FLAG_LOG
	}
	return compiled, flags, unknown, nil
}

// ociSeccomp gives the unit's seccomp profile in the OCI form, for this machine
// and the capabilities of spec; nil for unconfined. The unit was built: its
// profile is a good one.
func ociSeccomp(u *units.Unit, spec *oci.Spec) (out *oci.LinuxSeccomp, err error) {
	s := &u.Security
	switch s.Seccomp {
	case "unconfined":
		if len(s.DenySyscalls) == 0 {
			return nil, nil
		}
		out = &oci.LinuxSeccomp{DefaultAction: oci.ActAllow}
	case "default", "":
		out, err = moby.GetDefaultProfile(spec)
	default:
		var text []byte
		if text, err = os.ReadFile(s.Seccomp); err == nil {
			out, err = moby.LoadProfile(string(text), spec)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot give the seccomp profile of %s in the OCI form: %w", u.Name, err)
	}
	// The unit's lists stand above the profile, which another runtime does not
	// know: their calls are taken out of all rules first.
	for i := range out.Syscalls {
		out.Syscalls[i].Names = slices.DeleteFunc(slices.Clone(out.Syscalls[i].Names), func(name string) bool {
			return slices.Contains(s.DenySyscalls, name) || slices.Contains(s.AllowSyscalls, name)
		})
	}
	if s.SeccompLog && !slices.Contains(out.Flags, oci.LinuxSeccompFlagLog) {
		out.Flags = append(slices.Clone(out.Flags), oci.LinuxSeccompFlagLog)
	}
	out.Syscalls = slices.DeleteFunc(out.Syscalls, func(c oci.LinuxSyscall) bool { return len(c.Names) == 0 })
	if len(s.DenySyscalls) > 0 {
		eperm := uint(unix.EPERM)
		out.Syscalls = append(out.Syscalls, oci.LinuxSyscall{Names: s.DenySyscalls, Action: oci.ActErrno, ErrnoRet: &eperm})
	}
	if len(s.AllowSyscalls) > 0 {
		out.Syscalls = append(out.Syscalls, oci.LinuxSyscall{Names: s.AllowSyscalls, Action: oci.ActAllow})
	}
	return out, nil
}
