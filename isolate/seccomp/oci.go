package seccomp

import (
	"errors"
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// FromOCI gives the profile of an OCI configuration that was read already. Its
// faults are those of Parse, each beginning with its path below linux.seccomp;
// errors.Join has put them together.
func FromOCI(s *specs.LinuxSeccomp) (*Profile, error) {
	in := jsonProfile{
		DefaultAction: string(s.DefaultAction), DefaultErrnoRet: s.DefaultErrnoRet,
		Architectures: texts(s.Architectures), Flags: texts(s.Flags),
		ListenerPath: s.ListenerPath, ListenerMetadata: s.ListenerMetadata,
		Syscalls: make([]jsonRule, len(s.Syscalls)),
	}
	for i, c := range s.Syscalls {
		to := &in.Syscalls[i]
		to.Names, to.Action, to.ErrnoRet = c.Names, string(c.Action), c.ErrnoRet
		for _, a := range c.Args {
			to.Args = append(to.Args, jsonArg{Index: a.Index, Value: a.Value, ValueTwo: a.ValueTwo, Op: string(a.Op)})
		}
	}
	var r reader
	p := r.profile(&in)
	if len(r.faults) > 0 {
		return nil, errors.Join(r.faults...)
	}
	return p, nil
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

// Known gives the names that profiles may have: of actions, operators,
// architectures and flags, each sorted.
func Known() (actionNames, operators, arches, flags []string) {
	for _, a := range actions {
		actionNames = append(actionNames, a.name)
	}
	for _, o := range ops {
		operators = append(operators, o.name)
	}
	return sorted(actionNames), sorted(operators), sorted(ociArches), slices.Sorted(maps.Keys(flagBits))
}

// SupportedFlags gives the names of the flags that the running kernel takes. It
// asks by a filter that cannot be read: a kernel that knows the flag gives EFAULT
// for that, one that does not gives EINVAL (seccomp(2)).
func SupportedFlags() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(flagBits)) {
		flags := flagBits[name]
		if flags == waitKillable {
			flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER // which it does not go without
		}
		if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), 0); errno == unix.EFAULT {
			out = append(out, name)
		}
	}
	return out
}
