package ocigroup

import (
	"errors"
	"fmt"

	"berth/isolate/cgroup"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultRules come after the rules of the bundle, as in every OCI runtime: a
// node of any device may be made, and those that every container has may be
// used.
var defaultRules = []cgroup.DeviceRule{
	{Type: 'c', Major: -1, Minor: -1, Mknod: true, Allow: true},
	{Type: 'b', Major: -1, Minor: -1, Mknod: true, Allow: true},
	usable(1, 3),    // null
	usable(1, 8),    // random
	usable(1, 7),    // full
	usable(5, 0),    // tty
	usable(1, 5),    // zero
	usable(1, 9),    // urandom
	usable(136, -1), // pts/*
	usable(5, 2),    // ptmx
}

func usable(major, minor int64) cgroup.DeviceRule {
	return cgroup.DeviceRule{Type: 'c', Major: major, Minor: minor, Read: true, Write: true, Mknod: true, Allow: true}
}

// deviceRules translates the list of the bundle. What is before the last rule
// about every access to every device is without effect, and that rule says what
// becomes of devices that none names; without one they are refused.
func deviceRules(list []specs.LinuxDeviceCgroup) (allowRest bool, rules []cgroup.DeviceRule, err error) {
	for i, d := range list {
		rule := cgroup.DeviceRule{Major: -1, Minor: -1, Allow: d.Allow}
		if d.Major != nil {
			rule.Major = *d.Major
		}
		if d.Minor != nil {
			rule.Minor = *d.Minor
		}
		access := d.Access
		if access == "" {
			access = "rwm"
		}
		if !rule.SetAccess(access) {
			return false, nil, fmt.Errorf("cannot set linux.resources.devices[%d]: access is made of r, w and m, not %q", i, d.Access)
		}
		every := rule.Major == -1 && rule.Minor == -1 && rule.Read && rule.Write && rule.Mknod
		switch d.Type {
		case "", "a":
			if every {
				allowRest, rules = d.Allow, nil
				continue
			}
			rule.Type = 'b'
			rules = append(rules, rule)
			rule.Type = 'c'
		case "c", "u":
			rule.Type = 'c'
		case "b":
			rule.Type = 'b'
		default:
			return false, nil, fmt.Errorf("cannot set linux.resources.devices[%d]: type must be a, b or c, not %q", i, d.Type)
		}
		rules = append(rules, rule)
	}
	return allowRest, append(rules, defaultRules...), nil
}

// setDevices sets the rules of the bundle and the default ones. Without
// privileges no rules can be set, and none are missed: every device that such a
// container could open, its user could open without it.
func (g *Group) setDevices(list []specs.LinuxDeviceCgroup, isNew bool) error {
	allowRest, rules, err := deviceRules(list)
	if err != nil {
		return err
	}
	return g.devicesFailed(g.group.SetDevices(allowRest, rules, isNew))
}

func (g *Group) devicesFailed(err error) error {
	var unsupported *cgroup.UnsupportedError
	if g.rootless && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.As(err, &unsupported)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot set linux.resources.devices: %w", err)
	}
	return nil
}
