package seccomp

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxInstructions is BPF_MAXINSNS, the longest filter that the kernel takes.
const maxInstructions = 4096

// Options say for what a profile is compiled, and what stands above it.
type Options struct {
	Arch   string        // "amd64" or "arm64"; "": that of this program
	Caps   []string      // capabilities that the container keeps, with or without CAP_
	Kernel KernelVersion // zero: the running kernel's
	// Deny refuses calls by name with EPERM, Allow allows them whatever their
	// arguments; a name in both is an error, and so is one that nobody knows.
	Deny, Allow []string
}

// waitKillable has calls that a listener has taken wait for its answer
// undisturbed by signals that do not kill (Linux 5.19).
const waitKillable = unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV

// flagBits are the flags of seccomp(2) that a profile can ask for.
var flagBits = map[string]uint32{
	"SECCOMP_FILTER_FLAG_TSYNC":              unix.SECCOMP_FILTER_FLAG_TSYNC,
	"SECCOMP_FILTER_FLAG_LOG":                unix.SECCOMP_FILTER_FLAG_LOG,
	"SECCOMP_FILTER_FLAG_SPEC_ALLOW":         unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
	"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": waitKillable,
}

// Compile makes the filter: an array of struct sock_filter in this machine's
// byte order (8 bytes each, at most 4096), for seccomp(2) with
// SECCOMP_SET_MODE_FILTER and the returned flags. A filter that hands calls to a
// listener (see Notifies) needs SECCOMP_FILTER_FLAG_NEW_LISTENER besides; flags
// that make sense only with one are left out for the others. It depends on
// nothing but its arguments, once Arch and Kernel are given. Errors: an
// architecture that berth does not run on, a fault in Deny or Allow, a filter too
// long for the kernel.
func Compile(p *Profile, o Options) (filter []byte, flags uint32, err error) {
	o, err = o.complete()
	if err != nil {
		return nil, 0, err
	}
	for _, f := range p.Flags {
		flags |= flagBits[f]
	}
	program, err := assemble(resolve(p, o))
	if err != nil {
		return nil, 0, err
	}
	if !Notifies(program) {
		flags &^= waitKillable
	}
	return program, flags, nil
}

// complete checks the options and fills in what is left to the machine.
// The result is in one form, so that equal options have equal keys in a Cache.
func (o Options) complete() (Options, error) {
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	if _, ok := machines[o.Arch]; !ok {
		return o, fmt.Errorf("cannot compile a seccomp filter for %q: only amd64 and arm64 are supported", o.Arch)
	}
	if o.Kernel == (KernelVersion{}) {
		var uts unix.Utsname
		if err := unix.Uname(&uts); err != nil {
			return o, fmt.Errorf("cannot ask for the kernel's version: %w", err)
		}
		var err error
		if o.Kernel, err = ParseKernelVersion(unix.ByteSliceToString(uts.Release[:])); err != nil {
			return o, fmt.Errorf("cannot tell the kernel's version: %w", err)
		}
	}
	caps := make([]string, len(o.Caps))
	for i, c := range o.Caps {
		caps[i] = "CAP_" + strings.TrimPrefix(strings.ToUpper(c), "CAP_")
	}
	o.Caps, o.Deny, o.Allow = sorted(caps), sorted(o.Deny), sorted(o.Allow)
	return o, o.checkLists()
}

func (o Options) checkLists() error {
	var faults []error
	for _, list := range []struct {
		key   string
		names []string
	}{{"deny-syscalls", o.Deny}, {"allow-syscalls", o.Allow}} {
		for _, name := range list.names {
			if !knownCall(name) {
				faults = append(faults, fmt.Errorf("%s: unknown system call %q%s", list.key, name, didYouMean(suggestCall(name))))
			}
		}
	}
	for _, name := range o.Deny {
		if slices.Contains(o.Allow, name) {
			faults = append(faults, fmt.Errorf("system call %q is in deny-syscalls and in allow-syscalls", name))
		}
	}
	return errors.Join(faults...)
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

// applies tells whether the rule is part of a filter for o.
func (r *Rule) applies(o Options) bool {
	docker := machines[o.Arch].docker
	hasCap := func(c string) bool { return slices.Contains(o.Caps, c) }
	noCap := func(c string) bool { return !hasCap(c) }

	in, ex := r.Includes, r.Excludes
	switch {
	case slices.Contains(ex.Arches, docker), slices.ContainsFunc(ex.Caps, hasCap):
		return false
	case ex.MinKernel != KernelVersion{} && o.Kernel.atLeast(ex.MinKernel):
		return false
	case len(in.Arches) > 0 && !slices.Contains(in.Arches, docker), slices.ContainsFunc(in.Caps, noCap):
		return false
	}
	return o.Kernel.atLeast(in.MinKernel)
}

// abis gives the ABIs that the profile filters on the machine; the native one is first.
func (p *Profile) abis(m machine) []*abi {
	named := p.Arches
	if p.ArchMap != nil {
		named = p.ArchMap[m.native.name]
	}
	list := []*abi{m.native}
	for _, a := range m.others {
		if slices.Contains(named, a.name) {
			list = append(list, a)
		}
	}
	return list
}
