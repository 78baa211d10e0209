package cgroup

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// defaultDevices are the built-in rules: the nodes that every container's /dev
// has, and the terminals of its own devpts. No other device can be made with
// mknod(2), opened or written.
var defaultDevices = []DeviceRule{
	allowAll('c', 1, 3),    // null
	allowAll('c', 1, 5),    // zero
	allowAll('c', 1, 7),    // full
	allowAll('c', 1, 8),    // random
	allowAll('c', 1, 9),    // urandom
	allowAll('c', 5, 0),    // tty
	allowAll('c', 5, 2),    // ptmx
	allowAll('c', 136, -1), // pts/*
}

func allowAll(kind byte, major, minor int64) DeviceRule {
	return DeviceRule{Type: kind, Major: major, Minor: minor, Read: true, Write: true, Mknod: true, Allow: true}
}

// DeviceRuleFromPath gives the rule that allows access to the device whose node
// path is, following symbolic links. access holds one or more of r, w and m
// (mknod).
func DeviceRuleFromPath(path, access string) (DeviceRule, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return DeviceRule{}, fmt.Errorf("cannot allow a device: %w", &os.PathError{Op: "stat", Path: path, Err: err})
	}
	rule := DeviceRule{
		Major: int64(unix.Major(uint64(st.Rdev))),
		Minor: int64(unix.Minor(uint64(st.Rdev))),
		Allow: true,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		rule.Type = 'c'
	case unix.S_IFBLK:
		rule.Type = 'b'
	default:
		return DeviceRule{}, fmt.Errorf("cannot allow a device: %s is not a device node", path)
	}
	if !rule.SetAccess(access) {
		return DeviceRule{}, fmt.Errorf("cannot allow access %q to %s: access is made of r, w and m", access, path)
	}
	if access == "" {
		return DeviceRule{}, fmt.Errorf("cannot allow %s: no access is named; it is made of r, w and m", path)
	}
	return rule, nil
}

// SetAccess adds the accesses r, w and m that a text names; false, and a part of
// them added, when it has another letter in it.
func (r *DeviceRule) SetAccess(access string) bool {
	for _, c := range access {
		switch c {
		case 'r':
			r.Read = true
		case 'w':
			r.Write = true
		case 'm':
			r.Mknod = true
		default:
			return false
		}
	}
	return true
}

// access bits, as the eBPF program gets them (BPF_DEVCG_ACC_*).
const (
	accessMknod = 1 << iota
	accessRead
	accessWrite
	accessAll = accessMknod | accessRead | accessWrite
)

func (r DeviceRule) access() int {
	bits := 0
	if r.Mknod {
		bits |= accessMknod
	}
	if r.Read {
		bits |= accessRead
	}
	if r.Write {
		bits |= accessWrite
	}
	return bits
}

// String writes the rule as cgroup v1 does: "c 1:3 rwm".
func (r DeviceRule) String() string {
	number := func(n int64) string {
		if n == -1 {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	var access strings.Builder
	if r.Read {
		access.WriteByte('r')
	}
	if r.Write {
		access.WriteByte('w')
	}
	if r.Mknod {
		access.WriteByte('m')
	}
	return string(r.Type) + " " + number(r.Major) + ":" + number(r.Minor) + " " + access.String()
}

// covers tells whether every device of other is one of r's.
func (r DeviceRule) covers(other DeviceRule) bool {
	return r.Type == other.Type && (r.Major == -1 || r.Major == other.Major) && (r.Minor == -1 || r.Minor == other.Minor)
}

// overlaps tells whether some device is meant by both.
func (r DeviceRule) overlaps(other DeviceRule) bool {
	same := func(a, b int64) bool { return a == -1 || b == -1 || a == b }
	return r.Type == other.Type && same(r.Major, other.Major) && same(r.Minor, other.Minor)
}

// deviceRules are all rules of a group, first to last.
func (l *Limits) deviceRules() []DeviceRule {
	if l.AllDevices {
		return l.Devices
	}
	return append(append([]DeviceRule(nil), defaultDevices...), l.Devices...)
}

// checkDevices tells whether this host can enforce the device rules at all.
func (t *Tree) checkDevices(l *Limits) *UnsupportedError {
	switch {
	case t.by["devices"] != nil:
		if _, err := legacyDevices(l); err != nil {
			return err
		}
		return nil
	case t.unified() != nil:
		if _, err := t.deviceProgram(l); err != nil {
			return &UnsupportedError{Key: "device", Reason: err.Error()}
		}
		return nil
	}
	return &UnsupportedError{Key: "device", Reason: t.whyMissing("devices")}
}

// setDevices puts the rules of l on a group. old are the rules that are there
// (nil: the group is new).
func (g *Group) setDevices(l, old *Limits) error {
	if old == nil {
		if !l.hasDeviceRules() {
			return nil
		}
	} else if sameDevices(l, old) {
		return nil
	}
	if h := g.tree.by["devices"]; h != nil {
		return g.setLegacyDevices(h, l, old)
	}
	if h := g.tree.unified(); h != nil {
		return g.setDeviceProgram(h, l, old == nil)
	}
	return &UnsupportedError{Key: "device", Reason: g.tree.whyMissing("devices")}
}

func sameDevices(a, b *Limits) bool {
	if a.AllDevices != b.AllDevices || len(a.Devices) != len(b.Devices) {
		return false
	}
	for i := range a.Devices {
		if a.Devices[i] != b.Devices[i] {
			return false
		}
	}
	return true
}
