package cgroup

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// deviceProgram is a loaded eBPF program for one set of rules. It is kept in the
// tree, since most containers have the same rules; the groups that it is
// attached to keep it alive by themselves, also when this process ends.
type deviceProgram struct{ fd int }

// deviceProgram gives the loaded program for the rules of l. It belongs to the tree.
func (t *Tree) deviceProgram(l *Limits) (int, error) {
	return t.deviceProgramFor(l.AllDevices, l.deviceRules())
}

// deviceProgramFor gives the loaded program for a default and rules, last match
// wins. It belongs to the tree.
func (t *Tree) deviceProgramFor(allowRest bool, rules []DeviceRule) (int, error) {
	key := fmt.Sprintf("%v %v", allowRest, rules)
	for _, r := range rules {
		if r.Allow {
			key += "+"
		} else {
			key += "-"
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.programs[key]; p != nil {
		return p.fd, nil
	}
	program, err := loadProgram(deviceCode(rules, allowRest))
	if err != nil {
		return -1, cannotLoad(err)
	}
	t.programs[key] = &deviceProgram{program}
	return program, nil
}

func cannotLoad(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("the eBPF program that filters devices cannot be loaded without CAP_SYS_ADMIN or CAP_BPF and CAP_NET_ADMIN: %w", err)
	}
	return fmt.Errorf("the eBPF program that filters devices cannot be loaded: %w", err)
}

// cannotAttach says why a program could not be attached.
func cannotAttach(dir *dirFD, err error) error {
	if errors.Is(err, unix.EPERM) {
		return &UnsupportedError{Key: "device", Reason: "the eBPF program that filters devices cannot be attached without CAP_SYS_ADMIN or CAP_NET_ADMIN"}
	}
	return fmt.Errorf("cannot set device: cannot attach the eBPF program to %s: %w", dir.Name(), err)
}

// keepFiltering attaches a program that allows everything to the sub-tree, and
// so tells whether v2 can filter devices here. Containers need none of it, but
// the kernel patches its code when the first device program comes and when the
// last one goes, which each start and end of a lone container would pay for.
func (t *Tree) keepFiltering(h *hierarchy) error {
	attached, err := attachedPrograms(int(h.slice.Fd()))
	if err != nil {
		return err
	}
	closeAll(attached)
	if len(attached) > 0 {
		return nil
	}
	program, err := t.deviceProgram(&Limits{AllDevices: true})
	if err != nil {
		return err
	}
	return attachProgram(int(h.slice.Fd()), program, -1)
}

// setDeviceProgram attaches the program to the group in place of the one that
// is there, which a new group does not have.
func (g *Group) setDeviceProgram(h *hierarchy, l *Limits, isNew bool) error {
	return g.filterDevices(h, l.AllDevices, l.deviceRules(), isNew)
}

func (g *Group) filterDevices(h *hierarchy, allowRest bool, rules []DeviceRule, isNew bool) error {
	dir, err := openDirAt(h.slice, g.name)
	if err != nil {
		return err
	}
	defer dir.Close()
	var attached []int
	if !isNew {
		if attached, err = attachedPrograms(int(dir.Fd())); err != nil {
			return fmt.Errorf("cannot set device: cannot ask for the eBPF programs of %s: %w", dir.Name(), err)
		}
	}
	defer closeAll(attached)
	if allowRest && !slices.ContainsFunc(rules, func(r DeviceRule) bool { return !r.Allow }) {
		for _, p := range attached {
			if err := detachProgram(int(dir.Fd()), p); err != nil {
				return fmt.Errorf("cannot set device: cannot detach the eBPF program of %s: %w", dir.Name(), err)
			}
		}
		return nil
	}
	program, err := g.tree.deviceProgramFor(allowRest, rules)
	if err != nil {
		return &UnsupportedError{Key: "device", Reason: err.Error()}
	}
	replaced := -1
	if len(attached) > 0 {
		replaced = attached[0]
	}
	if err := attachProgram(int(dir.Fd()), program, replaced); err != nil {
		return cannotAttach(dir, err)
	}
	return nil
}

// attachNew loads a program and attaches it to a group that has none. The group
// alone keeps it afterwards.
func attachNew(group int, text []byte) error {
	program, err := loadProgram(text)
	if err != nil {
		return &UnsupportedError{Key: "device", Reason: cannotLoad(err).Error()}
	}
	defer unix.Close(program)
	return attachProgram(group, program, -1)
}
