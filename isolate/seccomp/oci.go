package seccomp

import (
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
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
