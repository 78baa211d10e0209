package oci

import (
	"strings"

	"berth/isolate"
	"berth/isolate/seccomp"
)

const seccompPath = "linux.seccomp"

// seccomp compiles the filter into out.
func (t *translator) seccomp(out *isolate.Process) {
	kept := t.filter()
	if kept == nil {
		return
	}
	if len(kept.Unknown) > 0 {
		t.warn(seccompPath+".syscalls", "no architecture has these, they have no effect: %s", strings.Join(kept.Unknown, " "))
	}
	out.Seccomp, out.SeccompFlags = kept.Filter, kept.Flags
	if !seccomp.Notifies(kept.Filter) {
		return // the listener is then ignored, as config-linux.md says
	}
	s := t.linux.Seccomp
	if s.ListenerPath == "" {
		t.fault(seccompPath+".listenerPath", "give the socket of the agent that decides", "it is missing, and SCMP_ACT_NOTIFY needs it")
		return
	}
	t.out.Listener = &Listener{Path: t.path(seccompPath+".listenerPath", s.ListenerPath), Metadata: s.ListenerMetadata}
	out.SeccompListener = true
}

// filter gives the compiled filter, nil for none. One that notifies is never kept,
// since its listener is not.
func (t *translator) filter() *seccomp.Kept {
	from := t.opt.Filter
	if from != nil && from.kept != nil {
		return from.kept
	}
	s := t.linux.Seccomp
	if s == nil {
		return nil
	}
	profile, err := seccomp.FromOCI(s)
	if err != nil {
		for _, e := range joinedErrors(err) {
			at, message, _ := strings.Cut(e.Error(), ": ")
			t.fault(dot(seccompPath, at), "", "%s", message)
		}
		return nil
	}
	var kept seccomp.Kept
	if kept.Filter, kept.Flags, err = seccomp.Compile(profile, seccomp.Options{}); err != nil {
		t.fault(seccompPath, "", "%v", err)
		return nil
	}
	kept.Unknown = profile.Unknown()
	if from != nil && !seccomp.Notifies(kept.Filter) {
		from.files.Write(from.text, kept)
	}
	return &kept
}

func joinedErrors(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
