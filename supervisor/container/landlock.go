package container

import (
	"slices"
	"strings"

	"berth/isolate"
	"berth/units"
)

// landlock gives the unit's Landlock rules; nil without any.
func landlock(s *units.Security) *isolate.Landlock {
	l := &isolate.Landlock{
		TCPBind: ports(s.LandlockTCPBind), TCPConnect: ports(s.LandlockTCPConnect),
		ScopeAbstractUnix: slices.Contains(s.LandlockScope, "abstract-unix-sockets"),
		ScopeSignals:      slices.Contains(s.LandlockScope, "signals"),
		BestEffort:        s.LandlockBestEffort,
	}
	for _, r := range s.Landlock {
		l.Rules = append(l.Rules, isolate.LandlockRule{
			Path: r.Path, Read: strings.Contains(r.Access, "r"), Write: strings.Contains(r.Access, "w"), Execute: strings.Contains(r.Access, "x"),
		})
	}
	if len(l.Rules) == 0 && l.TCPBind == nil && l.TCPConnect == nil && !l.ScopeAbstractUnix && !l.ScopeSignals {
		return nil
	}
	return l
}

// ports keeps nil, which is any port, apart from none.
func ports(list units.Ports) []uint16 {
	if list == nil {
		return nil
	}
	out := make([]uint16, len(list))
	for i, p := range list {
		out[i] = uint16(p)
	}
	return out
}
