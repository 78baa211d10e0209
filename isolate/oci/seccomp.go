package oci

import (
	"encoding/json"
	"slices"

	"berth/isolate"
	"berth/isolate/seccomp"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// seccomp compiles the filter into out.
func (t *translator) seccomp(out *isolate.Process) {
	const path = "linux.seccomp"
	s := t.linux.Seccomp
	if s == nil {
		return
	}
	notifies := s.DefaultAction == specs.ActNotify || slices.ContainsFunc(s.Syscalls, func(c specs.LinuxSyscall) bool { return c.Action == specs.ActNotify })
	switch {
	case s.ListenerMetadata != "" && s.ListenerPath == "":
		t.fault(path+".listenerMetadata", "give listenerPath too", "there is no listener to hand it to")
	case notifies && s.ListenerPath == "":
		t.fault(path+".listenerPath", "give the socket of the agent that decides", "it is missing, and SCMP_ACT_NOTIFY needs it")
	case notifies:
		t.checkPath(path+".listenerPath", s.ListenerPath)
		t.out.Listener = &Listener{Path: t.path(path+".listenerPath", s.ListenerPath), Metadata: s.ListenerMetadata}
		out.SeccompListener = true
	}
	rules := *s
	rules.ListenerPath, rules.ListenerMetadata = "", ""
	text, err := json.Marshal(&rules)
	if err != nil {
		t.fault(path, "", "%v", err)
		return
	}
	profile, err := seccomp.Parse(text)
	if err != nil {
		t.fault(path, "", "%v", err)
		return
	}
	filter, flags, err := seccomp.Compile(profile, seccomp.Options{})
	if err != nil {
		t.fault(path, "", "%v", err)
		return
	}
	out.Seccomp, out.SeccompFlags = filter, flags
}
