package main

import (
	"slices"
	"strings"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// bootPrefix tells parts of the boot apart from units, whose names have no slash.
const bootPrefix = "boot/"

// bootOf gives the parts of a boot that are over, as units that needed no waiting.
func bootOf(b *api.Boot) []risen {
	var list []risen
	for _, s := range b.Spans {
		if !s.End.IsZero() {
			list = append(list, risen{Name: bootPrefix + s.Name, Times: core.Times{Waiting: s.Begin, Starting: s.Begin, Executed: s.End, Ready: s.End}, failed: s.Error})
		}
	}
	return list
}

// stage is where a part of a boot belongs.
func stage(name string) string {
	name, initramfs := strings.CutPrefix(strings.TrimPrefix(name, bootPrefix), "initramfs/")
	switch {
	case initramfs:
		return "initramfs"
	case name == "kernel", name == "reaper", name == "supervisor":
		return name
	}
	return "duties"
}

// stages sums up the parts of a boot, the last first: each waited for all before.
func stages(boot []risen) []risen {
	var out []risen
	for _, r := range boot {
		name := bootPrefix + stage(r.Name)
		if k := len(out) - 1; k >= 0 && out[k].Name == name {
			if r.Ready.After(out[k].Ready) {
				out[k].Executed, out[k].Ready = r.Ready, r.Ready
			}
			continue
		}
		r.Name = name
		out = append(out, r)
	}
	slices.Reverse(out)
	return out
}
