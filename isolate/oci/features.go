package oci

import (
	"maps"
	"slices"

	"berth/isolate/seccomp"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Features says what of the runtime-spec is implemented (features.md). As that
// demands, most of it is a matter of berth and not of this machine; only the
// flags of seccomp that are supported are asked of the kernel.
func Features() *features.Features {
	yes, no := true, false
	return &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions:  mountOptionNames(),
		Linux: &features.Linux{
			Namespaces:   namespaceTypes,
			Capabilities: capabilityNames(allCapabilities()),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &no, SystemdUser: &no, Rdma: &yes},
			Seccomp:      seccompFeatures(),
			Apparmor:     &features.Apparmor{Enabled: &yes},
			Selinux:      &features.Selinux{Enabled: &yes},
			IntelRdt:     &features.IntelRdt{Enabled: &no},
			MountExtensions: &features.MountExtensions{
				IDMap: &features.IDMap{Enabled: &yes},
			},
			MemoryPolicy: &features.MemoryPolicy{Modes: plainStrings(sortedKeys(memoryModes)), Flags: plainStrings(sortedKeys(memoryFlags))},
			NetDevices:   &features.NetDevices{Enabled: &yes},
		},
	}
}

func plainStrings[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

func allCapabilities() uint64 {
	var mask uint64
	for _, bit := range capabilityBits() {
		mask |= bit
	}
	return mask
}

// mountOptionNames are the options that are not handed to the file system.
func mountOptionNames() []string {
	out := []string{"bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup"}
	for name := range attributes {
		out = append(out, name, "r"+name)
	}
	out = slices.AppendSeq(out, maps.Keys(propagations))
	for set, unset := range superBlock {
		out = append(out, set)
		if unset != "" {
			out = append(out, unset)
		}
	}
	out = append(out, "defaults", "silent", "loud", "iversion", "noiversion")
	slices.Sort(out)
	return slices.Compact(out)
}

func seccompFeatures() *features.Seccomp {
	yes := true
	out := &features.Seccomp{Enabled: &yes, SupportedFlags: seccomp.SupportedFlags()}
	out.Actions, out.Operators, out.Archs, out.KnownFlags = seccomp.Known()
	return out
}
