package isolate

import (
	"fmt"
	"slices"
)

// pending refuses what the Spec can say and Compile cannot do yet.
func (s *Spec) pending() error {
	p, n := &s.Process, &s.Namespaces
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"Bare", s.Bare}, {"NoPivot", s.NoPivot}, {"Unprivileged", s.Unprivileged}, {"Domainname", s.Domainname != ""},
		{"CreateContainer", len(s.CreateContainer) > 0}, {"StartContainer", len(s.StartContainer) > 0}, {"SyncRuntime", s.SyncRuntime},
		{"Namespaces.Time", n.Time != nil}, {"Namespaces.Mount", n.Mount.Mode != NSNew},
		{"Process.IDs", p.IDs != nil}, {"Process.AppArmor", p.AppArmor != ""},
		{"Process.SELinux", p.SELinux != ""}, {"Process.Personality", p.Personality != nil}, {"Process.Landlock", p.Landlock != nil},
		{"Process.Console", p.Console}, {"Process.InheritKeyring", p.InheritKeyring}, {"Hook.Timeout", hasTimeout(s.CreateContainer) || hasTimeout(s.StartContainer)},
		{"Scheduling.Flags", p.Scheduling.Flags|p.Scheduling.Runtime|p.Scheduling.Deadline|p.Scheduling.Period != 0},
		{"Scheduling.InitialAffinity", p.Scheduling.InitialAffinity != nil || p.Scheduling.FinalAffinity != nil},
	} {
		if f.set {
			return fmt.Errorf("%s is not supported yet", f.name)
		}
	}
	for i, m := range s.Mounts {
		if m.Type > Volume || m.FSType != "" || m.Data != nil || m.Set|m.Clear|m.SetRecursive|m.ClearRecursive != 0 || m.CopyUp || m.NoSymlinks {
			return fmt.Errorf("mount %d: its type or one of its options is not supported yet", i+1)
		}
	}
	for _, d := range s.Devices {
		if d.Make != nil {
			return fmt.Errorf("device %s: a node with a number of its own is not supported yet", d.Path)
		}
	}
	return nil
}

func hasTimeout(hooks []Hook) bool {
	return slices.ContainsFunc(hooks, func(h Hook) bool { return h.Timeout != 0 })
}
