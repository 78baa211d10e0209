package container

import (
	"fmt"
	"os"

	"berth/isolate/seccomp"
	"berth/units"
)

// filters keeps every compiled filter: a profile costs milliseconds to compile
// and microseconds to look up, and units share few.
var filters seccomp.Cache

// filter compiles the unit's seccomp profile, and gives the flags it asks for;
// nil for unconfined.
func filter(u *units.Unit) ([]byte, uint32, error) {
	s := &u.Security
	opt := seccomp.Options{Caps: u.Capabilities.Keep, Deny: s.DenySyscalls, Allow: s.AllowSyscalls}
	var profile *seccomp.Profile
	switch s.Seccomp {
	case "unconfined":
		if len(s.DenySyscalls) == 0 {
			return nil, 0, nil
		}
		profile = &seccomp.Profile{Default: seccomp.Verdict{Action: seccomp.Allow}}
	case "default", "":
		profile = seccomp.Default()
	default:
		text, err := os.ReadFile(s.Seccomp)
		if err != nil {
			return nil, 0, fmt.Errorf("cannot read the seccomp profile: %w", err)
		}
		if profile, err = seccomp.Parse(text); err != nil {
			return nil, 0, fmt.Errorf("cannot read the seccomp profile %s: %w", s.Seccomp, err)
		}
	}
	f, flags, err := filters.Compile(profile, opt)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot compile the seccomp profile of %s: %w", u.Name, err)
	}
	return f, flags, nil
}
