package main

import (
	"slices"
	"strings"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// bootPrefix tells parts of the boot apart from units, whose names have no slash.
const bootPrefix = "boot/"

// Parts of a boot that the record does not have, since nobody is there to write
// them down: from the end of an initramfs to the next PID 1, and from the last
// duty to the first unit.
const (
	handOver  = "initramfs/hand-over"
	loadUnits = "load-units"
)

// bootOf gives the parts of a boot that are over, as units that needed no waiting.
// units are those that came up after it.
func bootOf(b *api.Boot, units []risen) []risen {
	var list []risen
	add := func(name string, begin, end time.Time, failed string) {
		list = append(list, risen{Name: bootPrefix + name, Times: core.Times{Waiting: begin, Starting: begin, Executed: end, Ready: end}, failed: failed})
	}
	var last time.Time
	for _, s := range b.Spans {
		if s.Name == "reaper" && !last.IsZero() && last.Before(s.Begin) {
			add(handOver, last, s.Begin, "")
		}
		if s.End.IsZero() {
			continue
		}
		if strings.HasPrefix(s.Name, "initramfs/") {
			last = s.End
		}
		add(s.Name, s.Begin, s.End, s.Error)
	}
	if k := len(list) - 1; k >= 0 && b.Done && list[k].Ready.Before(epoch(units)) {
		add(loadUnits, list[k].Ready, epoch(units), "")
	}
	return list
}

// stage is where a part of a boot belongs.
func stage(name string) string {
	name, initramfs := strings.CutPrefix(strings.TrimPrefix(name, bootPrefix), "initramfs/")
	switch {
	case initramfs:
		return "initramfs"
	case name == "kernel", name == "reaper", name == "supervisor", name == loadUnits:
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
