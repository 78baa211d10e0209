package oci

import (
	"cmp"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"berth/isolate"
	"berth/isolate/netdevice"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The kernel's limits for device numbers (MINORBITS of linux/kdev_t.h).
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

func (t *translator) devices() {
	for i, d := range t.linux.Devices {
		where := index("linux.devices", i)
		node := &isolate.Node{Mode: 0o666}
		switch d.Type {
		case "c", "u":
			node.Type = 'c'
		case "b", "p":
			node.Type = d.Type[0]
		default:
			t.fault(where+".type", "want c, b, u or p", "unknown type of device %s", quote(d.Type))
		}
		if node.Type != 'p' {
			if d.Major < 0 || d.Major > maxMajor {
				t.fault(where+".major", "", "%d is not within 0 to %d", d.Major, maxMajor)
			}
			if d.Minor < 0 || d.Minor > maxMinor {
				t.fault(where+".minor", "", "%d is not within 0 to %d", d.Minor, maxMinor)
			}
			node.Major, node.Minor = uint32(d.Major), uint32(d.Minor)
		}
		if d.FileMode != nil {
			// Engines hand on what stat(2) gives: the kind of file is in it too.
			node.Mode = uint32(*d.FileMode) & 0o7777
			if *d.FileMode&^(os.FileMode(0o7777)|os.FileMode(0o170000)) != 0 {
				t.fault(where+".fileMode", "it is a decimal number: 438 is 0666", "%d is not a mode", uint32(*d.FileMode))
			}
		}
		if d.UID != nil {
			node.UID = *d.UID
		}
		if d.GID != nil {
			node.GID = *d.GID
		}
		p := t.absolute(where+".path", d.Path)
		if p == "/" {
			t.fault(where+".path", "", "it is the root itself")
		}
		t.spec.Devices = append(t.spec.Devices, isolate.DeviceNode{Path: p, Make: node})
	}
}

// limits hands on what package cgroup is for.
func (t *translator) limits() {
	p := t.linux.CgroupsPath
	if strings.ContainsRune(p, 0) || slices.Contains(strings.Split(p, "/"), "..") {
		t.fault("linux.cgroupsPath", "", "%s has a NUL or .. in it", quote(p))
	}
	t.out.CgroupsPath, t.out.Resources = p, t.linux.Resources
}

// settings are the rest of the linux section.
func (t *translator) settings() {
	for i, p := range t.linux.MaskedPaths {
		t.spec.MaskedPaths = append(t.spec.MaskedPaths, t.absolute(index("linux.maskedPaths", i), p))
	}
	for i, p := range t.linux.ReadonlyPaths {
		t.spec.ReadonlyPaths = append(t.spec.ReadonlyPaths, t.absolute(index("linux.readonlyPaths", i), p))
	}
	if strings.ContainsAny(t.linux.MountLabel, "\x00\n") {
		t.fault("linux.mountLabel", "", "%s has a NUL or a line break in it", quote(t.linux.MountLabel))
	}
	if t.linux.MountLabel != "" && !t.labelled() {
		t.warn("linux.mountLabel", "the kernel has no SELinux: no mount is labelled")
	}
	t.sysctls()
	if t.linux.IntelRdt != nil {
		t.fault("linux.intelRdt", "leave it out", "cache and memory bandwidth allocation is not supported")
	}
	t.netDevices()
}

// netDevices are moved while the child waits for the runtime's word.
func (t *translator) netDevices() {
	if len(t.linux.NetDevices) == 0 {
		return
	}
	if t.spec.Namespaces.Network.Mode == isolate.NSHost {
		t.fault("linux.netDevices", "add a network namespace to linux.namespaces", "the container has the network namespace that they are in")
	}
	places := map[string]string{}
	for _, host := range sortedKeys(t.linux.NetDevices) {
		where := key("linux.netDevices", host)
		if err := netdevice.CheckName(host); err != nil {
			t.fault(where, "", "%v", err)
			continue
		}
		name := cmp.Or(t.linux.NetDevices[host].Name, host)
		if err := netdevice.CheckName(name); err != nil {
			t.fault(where+".name", "", "%v", err)
		}
		template := strings.Contains(name, "%")
		if template && (strings.Count(name, "%") > 1 || !strings.Contains(name, "%d")) {
			t.fault(where+".name", "", "%s has a %% that is not that of one %%d", quote(name))
		}
		if other := places[name]; other != "" && !template {
			t.fault(where+".name", "", "%s is the name of %s, too", quote(name), quote(other))
		}
		places[name] = host
		t.out.NetDevices = append(t.out.NetDevices, netdevice.Device{Host: host, Name: name})
	}
	t.spec.SyncRuntime = true
}

func (t *translator) labelled() bool {
	h := t.opt.Host
	return h == nil || h.SELinux != nil && h.SELinux()
}

func (t *translator) sysctls() {
	for _, name := range sortedKeys(t.linux.Sysctl) {
		value := t.linux.Sysctl[name]
		file := isolate.SysctlPath(name)
		if err := t.spec.Namespaces.CheckSysctl(file, value); err != nil {
			t.fault(key("linux.sysctl", name), "", "%v", err)
			continue
		}
		if t.spec.Sysctl == nil {
			t.spec.Sysctl = map[string]string{}
		}
		if _, twice := t.spec.Sysctl[file]; twice {
			t.fault(key("linux.sysctl", name), "leave one of them out", "it is given in both forms, with dots and with slashes")
		}
		t.spec.Sysctl[file] = value
	}
}

func (t *translator) hooks() {
	h := t.config.Hooks
	if h == nil {
		return
	}
	//lint:ignore SA1019 deprecated, and still to be run
	prestart := h.Prestart
	t.out.Prestart = t.checkHooks("hooks.prestart", prestart)
	t.out.CreateRuntime = t.checkHooks("hooks.createRuntime", h.CreateRuntime)
	t.out.Poststart = t.checkHooks("hooks.poststart", h.Poststart)
	t.out.Poststop = t.checkHooks("hooks.poststop", h.Poststop)
	t.spec.CreateContainer = hooksInside(t.checkHooks("hooks.createContainer", h.CreateContainer))
	t.spec.StartContainer = hooksInside(t.checkHooks("hooks.startContainer", h.StartContainer))
	t.spec.SyncRuntime = len(prestart)+len(h.CreateRuntime) > 0
}

// maxHookTimeout is what a time.Duration holds, far below it.
const maxHookTimeout = 365 * 24 * 60 * 60

func (t *translator) checkHooks(where string, list []specs.Hook) []specs.Hook {
	for i, h := range list {
		at := index(where, i)
		if !path.IsAbs(h.Path) {
			t.fault(at+".path", "begin it with a slash", "%s is not an absolute path", quote(h.Path))
		}
		t.checkPath(at+".path", h.Path)
		if s := h.Timeout; s != nil && (*s <= 0 || *s > maxHookTimeout) {
			t.fault(at+".timeout", "leave it out for none", "%d is not a number of seconds from 1 to %d", *s, maxHookTimeout)
		}
		for _, l := range []struct {
			name string
			list []string
		}{{".args", h.Args}, {".env", h.Env}} {
			for k, s := range l.list {
				if strings.ContainsRune(s, 0) {
					t.fault(index(at+l.name, k), "", "%s has a NUL in it", quote(s))
				}
			}
		}
	}
	return list
}

func hooksInside(list []specs.Hook) []isolate.Hook {
	var out []isolate.Hook
	for _, h := range list {
		o := isolate.Hook{Path: h.Path, Args: h.Args, Env: h.Env}
		if h.Timeout != nil {
			o.Timeout = time.Duration(*h.Timeout) * time.Second
		}
		out = append(out, o)
	}
	return out
}
