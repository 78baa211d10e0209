package oci

import (
	"math/bits"
	"strings"

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
	const path = "process.capabilities"
	out.Bounding = t.capabilitySet(path+".bounding", c.Bounding, bounding, "this machine cannot grant it")
	out.Permitted = t.capabilitySet(path+".permitted", c.Permitted, permitted, "this machine cannot grant it")
	out.Inheritable = t.capabilitySet(path+".inheritable", c.Inheritable, permitted, "this machine cannot grant it")
	out.Effective = t.capabilitySet(path+".effective", c.Effective, out.Permitted, "it is not permitted")
	out.Ambient = t.capabilitySet(path+".ambient", c.Ambient, out.Permitted&out.Inheritable, "it is not both permitted and inheritable")
	return out
}

func (t *translator) capabilitySet(path string, names []string, available uint64, why string) uint64 {
	var mask, missing uint64
	for i, name := range names {
		bit := capabilityBits[name]
		switch {
		case bit == 0:
			t.warn(index(path, i), "there is no capability %s; it is left out", quote(name))
		case bit&available == 0:
			missing |= bit
		default:
			mask |= bit
		}
	}
	if missing != 0 {
		t.warn(path, "%s left out: %s", strings.Join(capabilityNames(missing), ", "), why)
	}
	return mask
}

var capabilityBits = func() map[string]uint64 {
	out := map[string]uint64{}
	for _, c := range capability.ListKnown() {
		out["CAP_"+strings.ToUpper(c.String())] = 1 << uint(c)
	}
	return out
}()

func capabilityNames(mask uint64) []string {
	var out []string
	for ; mask != 0; mask &= mask - 1 {
		out = append(out, "CAP_"+strings.ToUpper(capability.Cap(bits.TrailingZeros64(mask)).String()))
	}
	return out
}
