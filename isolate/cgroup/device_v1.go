package cgroup

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A v1 devices group is a default and a set of exceptions from it. An exception
// is only ever changed by naming exactly the same devices again, so the rules
// are first worked out to a set in which no two overlap with different access;
// what cannot be expressed so is refused. See
// Documentation/admin-guide/cgroup-v1/devices.rst.

// legacyDeviceSet is a devices group: exceptions have all their access bits
// turned from the default.
type legacyDeviceSet struct {
	allowed    bool // the default
	exceptions []DeviceRule
}

// legacyDevices works out the set for the rules of l.
func legacyDevices(l *Limits) (*legacyDeviceSet, *UnsupportedError) {
	return legacyDeviceRules(l.AllDevices, l.deviceRules())
}

// legacyDeviceRules works out the set for a default and rules, last match wins.
func legacyDeviceRules(allowRest bool, rules []DeviceRule) (*legacyDeviceSet, *UnsupportedError) {
	set := &legacyDeviceSet{allowed: allowRest}
	for _, rule := range rules {
		if rule.Allow == set.allowed {
			if e := set.restore(rule); e != nil {
				return nil, e
			}
		} else {
			set.except(rule)
		}
	}
	return set, nil
}

// except adds an exception to the set.
func (s *legacyDeviceSet) except(rule DeviceRule) {
	for i, e := range s.exceptions {
		if e.Type == rule.Type && e.Major == rule.Major && e.Minor == rule.Minor {
			s.exceptions[i].Read = e.Read || rule.Read
			s.exceptions[i].Write = e.Write || rule.Write
			s.exceptions[i].Mknod = e.Mknod || rule.Mknod
			return
		}
	}
	s.exceptions = append(s.exceptions, rule)
}

// restore takes access out of the exceptions again.
func (s *legacyDeviceSet) restore(rule DeviceRule) *UnsupportedError {
	kept := s.exceptions[:0]
	for _, e := range s.exceptions {
		if rule.overlaps(e) && rule.access()&e.access() != 0 {
			if !rule.covers(e) {
				return &UnsupportedError{Key: "device", Reason: fmt.Sprintf("cgroup v1 cannot take %v out of %v", rule, e)}
			}
			e.Read = e.Read && !rule.Read
			e.Write = e.Write && !rule.Write
			e.Mknod = e.Mknod && !rule.Mknod
		}
		if e.access() != 0 {
			kept = append(kept, e)
		}
	}
	s.exceptions = kept
	return nil
}

// without gives the access that s excepts and other does not.
func (s *legacyDeviceSet) without(other *legacyDeviceSet) []DeviceRule {
	var rest []DeviceRule
	for _, e := range s.exceptions {
		for _, o := range other.exceptions {
			if e.Type == o.Type && e.Major == o.Major && e.Minor == o.Minor {
				e.Read = e.Read && !o.Read
				e.Write = e.Write && !o.Write
				e.Mknod = e.Mknod && !o.Mknod
			}
		}
		if e.access() != 0 {
			rest = append(rest, e)
		}
	}
	return rest
}

func (g *Group) setLegacyDevices(h *hierarchy, l, old *Limits) error {
	set, unsupported := legacyDevices(l)
	if unsupported != nil {
		return unsupported
	}
	dir, err := openDirAt(h.slice, g.name)
	if err != nil {
		return err
	}
	defer dir.Close()
	// A new group has its parent's rules, whatever they are.
	var was *legacyDeviceSet
	if old != nil {
		if was, unsupported = legacyDevices(old); unsupported != nil {
			was = nil
		}
	}
	return set.write(dir, was)
}

// write writes what differs between the old and the new rules, so that what is
// allowed in both stays so all the time. Only a change of the default itself, or
// from rules unknown (nil), starts anew, and leaves a moment in which what is
// allowed in both may be refused.
func (s *legacyDeviceSet) write(dir *dirFD, was *legacyDeviceSet) error {
	if was == nil || was.allowed != s.allowed {
		if err := writeDevices(dir, s.allowed, "a"); err != nil {
			return err
		}
		was = &legacyDeviceSet{allowed: s.allowed}
	}
	if err := writeDevices(dir, !s.allowed, ruleLines(s.without(was))...); err != nil {
		return err
	}
	return writeDevices(dir, s.allowed, ruleLines(was.without(s))...)
}

func ruleLines(rules []DeviceRule) []string {
	lines := make([]string, len(rules))
	for i, r := range rules {
		lines[i] = r.String()
	}
	return lines
}

// writeDevices writes values to the file that allows or denies them, one by one.
func writeDevices(dir *dirFD, allow bool, values ...string) error {
	if len(values) == 0 {
		return nil
	}
	file := "devices.deny"
	if allow {
		file = "devices.allow"
	}
	fd, err := openAt(dir, file, unix.O_WRONLY)
	if err != nil {
		return fmt.Errorf("cannot set device: %w", err)
	}
	defer unix.Close(fd)
	for _, value := range values {
		if err := writeFD(fd, value); err != nil {
			return &LimitError{Key: "device", File: dir.Name() + "/" + file, Value: value, Err: err}
		}
	}
	return nil
}
