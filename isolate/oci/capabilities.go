package oci

import (
	"math/bits"
	"strings"
	"sync"

	"berth/isolate"

	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// capabilities translates the five sets. What cannot be granted is left out
// with a warning, as the runtime-spec demands (config.md, linux-process).
func (t *translator) capabilities(c *specs.LinuxCapabilities) isolate.Capabilities {
	var out isolate.Capabilities
	if c == nil {
		return out
	}
	bounding, permitted := ^uint64(0), ^uint64(0)
	if host := t.opt.Host; host != nil {
		bounding, permitted = host.Bounding, host.Permitted
		if t.spec.Namespaces.User != nil {
			// Who creates or enters a user namespace has all capabilities in it.
			bounding, permitted = host.Capabilities, host.Capabilities
		}
	}
	var wanted isolate.Capabilities
	for _, set := range []struct {
		names []string
		to    *uint64
	}{{c.Bounding, &wanted.Bounding}, {c.Permitted, &wanted.Permitted}, {c.Inheritable, &wanted.Inheritable}, {c.Effective, &wanted.Effective}, {c.Ambient, &wanted.Ambient}} {
		*set.to = t.capabilitySet(set.names)
	}
	t.leftOut((wanted.Bounding&^bounding)|(wanted.Permitted|wanted.Inheritable)&^permitted, "this machine cannot grant them")
	t.leftOut(wanted.Effective&^wanted.Permitted, "effective and not permitted")
	for _, name := range capabilityNames(wanted.Ambient &^ (wanted.Permitted & wanted.Inheritable)) {
		t.warn("process.capabilities.ambient", "can't raise ambient capability %s: it is not both permitted and inheritable; it is left out", name)
	}
	out.Bounding = wanted.Bounding & bounding
	out.Permitted = wanted.Permitted & permitted
	out.Inheritable = wanted.Inheritable & permitted
	out.Effective = wanted.Effective & out.Permitted
	out.Ambient = wanted.Ambient & out.Permitted & out.Inheritable
	return out
}

// capabilitySet gives the mask of a set. An unknown name is warned of once.
func (t *translator) capabilitySet(names []string) uint64 {
	var mask uint64
	for _, name := range names {
		bit := capabilityBits()[name]
		if bit == 0 {
			t.warn("process.capabilities", "there is no capability %s; it is left out", quote(name))
		}
		mask |= bit
	}
	return mask
}

func (t *translator) leftOut(mask uint64, why string) {
	if mask != 0 {
		t.warn("process.capabilities", "left out, since %s: %s", why, strings.Join(capabilityNames(mask), " "))
	}
}

// capabilityBits is by name. Not every start asks for it.
var capabilityBits = sync.OnceValue(func() map[string]uint64 {
	out := map[string]uint64{}
	for _, c := range capability.ListKnown() {
		out["CAP_"+strings.ToUpper(c.String())] = 1 << uint(c)
	}
	return out
})

func capabilityNames(mask uint64) []string {
	var out []string
	for ; mask != 0; mask &= mask - 1 {
		out = append(out, "CAP_"+strings.ToUpper(capability.Cap(bits.TrailingZeros64(mask)).String()))
	}
	return out
}
