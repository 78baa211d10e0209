package oci

import (
	"strings"

	"berth/isolate"
	"berth/isolate/seccomp"
)

// seccomp compiles the filter into out.
func (t *translator) seccomp(out *isolate.Process) {
	const path = "linux.seccomp"
	s := t.linux.Seccomp
	if s == nil {
		return
	}
	profile, err := seccomp.FromOCI(s)
	if err != nil {
		for _, e := range joinedErrors(err) {
			at, message, _ := strings.Cut(e.Error(), ": ")
			t.fault(dot(path, at), "", "%s", message)
		}
		return
	}
	kept, err := t.opt.Filters.Compile(profile, seccomp.Options{})
	if err != nil {
		t.fault(path, "", "%v", err)
		return
	}
	if len(kept.Unknown) > 0 {
		t.warn(path+".syscalls", "no architecture has these, they have no effect: %s", strings.Join(kept.Unknown, " "))
	}
	out.Seccomp, out.SeccompFlags = kept.Filter, kept.Flags
	if !seccomp.Notifies(kept.Filter) {
		return // the listener is then ignored, as config-linux.md says
	}
	if s.ListenerPath == "" {
		t.fault(path+".listenerPath", "give the socket of the agent that decides", "it is missing, and SCMP_ACT_NOTIFY needs it")
		return
	}
	t.out.Listener = &Listener{Path: t.path(path+".listenerPath", s.ListenerPath), Metadata: s.ListenerMetadata}
	out.SeccompListener = true
}

func joinedErrors(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
