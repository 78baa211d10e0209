package cgroup

import (
	"fmt"
	"maps"
	"strings"
)

// Description tells what this host's groups can do, for status and logs.
type Description struct {
	Version     string                 `json:"version"` // v2, v1, hybrid or none
	Path        string                 `json:"path"`    // of the sub-tree, as /proc/PID/cgroup shows it
	Hierarchies []HierarchyDescription `json:"hierarchies"`
	Missing     map[string]string      `json:"missing,omitempty"` // controllers that cannot be used, and why
	Kill        string                 `json:"kill"`              // how a group is killed: cgroup.kill, freezer or signals; without groups: pid namespaces
	Devices     string                 `json:"devices"`           // how devices are refused: bpf, devices (v1) or none
	// OOMGroup: the kernel kills a whole group for lack of memory. Where it
	// cannot, who wants it does it when OOMKills has grown.
	OOMGroup bool `json:"oom_group"`
	Swap     bool `json:"swap"` // memory-swap-max works
}

// HierarchyDescription is one mounted hierarchy.
type HierarchyDescription struct {
	Version     string   `json:"version"` // v2 or v1
	Path        string   `json:"path"`    // the sub-tree's directory
	Controllers []string `json:"controllers"`
}

// Describe tells what this host's groups can do.
func (t *Tree) Describe() Description {
	if t.None() {
		return Description{Version: "none", Missing: maps.Clone(t.missing), Kill: "pid namespaces", Devices: "none"}
	}
	d := Description{
		Path:    strings.TrimSuffix(t.lifecycle().path, "/") + "/" + t.sliceName,
		Missing: maps.Clone(t.missing),
		Kill:    "signals",
		Devices: "none",
	}
	legacy := t.Legacy()
	switch {
	case !t.Unified():
		d.Version = "v1"
	case len(legacy) == 0:
		d.Version = "v2"
	default:
		d.Version = "hybrid"
	}
	for _, h := range t.hierarchies {
		version := "v1"
		if h.unified {
			version = "v2"
		}
		d.Hierarchies = append(d.Hierarchies, HierarchyDescription{Version: version, Path: h.slice.Name(), Controllers: h.controllers})
	}
	if t.Unified() {
		d.Kill, d.Devices = "cgroup.kill", "bpf"
	} else if t.by["freezer"] != nil {
		d.Kill = "freezer"
	}
	if t.by["devices"] != nil {
		d.Devices = "devices"
	}
	if h := t.by["memory"]; h != nil {
		d.OOMGroup = h.unified
		d.Swap = existsAt(h.slice, "memory.swap.max") || existsAt(h.slice, "memory.memsw.limit_in_bytes")
	}
	return d
}

// String says it in one line.
func (d Description) String() string {
	if d.Version == "none" {
		return "no cgroup: nothing is limited or counted, and what a unit has started ends with its PID namespace"
	}
	var controllers []string
	for _, h := range d.Hierarchies {
		controllers = append(controllers, h.Controllers...)
	}
	return fmt.Sprintf("cgroup %s at %s, controllers %s, killed by %s, devices by %s",
		d.Version, d.Path, strings.Join(controllers, " "), d.Kill, d.Devices)
}
