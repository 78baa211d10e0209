package ocigroup

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"berth/isolate/cgroup"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// host is what translating resources needs to know about the group that they
// are for; *cgroup.Group is one.
type host interface {
	// Version tells how the group has a controller: 1, 2, or 0 and why not.
	Version(controller string) (int, string)
	Has(controller, file string) bool
	Read(controller, file string) (string, error)
}

// setting is one write to a control file.
type setting struct {
	key        string // as in config.json, below linux.resources
	controller string // "" is v2 itself
	file       string
	value      string
}

// settings collects what resources come to on a host, and what that cannot do.
type settings struct {
	host   host
	live   bool // processes may be in the group
	list   []setting
	failed []error
}

func (s *settings) add(key, controller, file, value string) {
	s.list = append(s.list, setting{key, controller, file, value})
}

func (s *settings) refuse(key, reason string) {
	s.failed = append(s.failed, &cgroup.UnsupportedError{Key: "linux.resources." + key, Reason: reason})
}

func (s *settings) invalid(key, format string, args ...any) {
	s.failed = append(s.failed, fmt.Errorf("cannot set linux.resources.%s: %s", key, fmt.Sprintf(format, args...)))
}

// version tells how the host has a controller; 0 is noted as refused.
func (s *settings) version(key, controller string) int {
	v, reason := s.host.Version(controller)
	if v == 0 {
		s.refuse(key, reason)
	}
	return v
}

// addIfThere adds a write to a file that not every kernel has.
func (s *settings) addIfThere(key, controller, file, value, without string) {
	if !s.host.Has(controller, file) {
		s.refuse(key, without)
		return
	}
	s.add(key, controller, file, value)
}

// translate gives what the resources, but for the devices, come to on a host.
func translate(h host, r *specs.LinuxResources, live bool) ([]setting, error) {
	s := &settings{host: h, live: live}
	if r.Memory != nil {
		s.memory(r.Memory)
	}
	if r.CPU != nil {
		s.cpu(r.CPU)
		s.cpuset(r.CPU)
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		s.pids(*r.Pids.Limit)
	}
	if r.BlockIO != nil {
		s.blockIO(r.BlockIO)
	}
	s.hugePages(r.HugepageLimits)
	if r.Network != nil {
		s.network(r.Network)
	}
	s.rdma(r.Rdma)
	s.unified(r.Unified)
	return s.list, errors.Join(s.failed...)
}

// needed gives the controllers, by their names on v2, that the resources need.
func needed(r *specs.LinuxResources) []string {
	set := map[string]bool{
		"memory":  r.Memory != nil && *r.Memory != (specs.LinuxMemory{}),
		"cpu":     r.CPU != nil && *r.CPU != specs.LinuxCPU{Cpus: r.CPU.Cpus, Mems: r.CPU.Mems},
		"cpuset":  r.CPU != nil && r.CPU.Cpus+r.CPU.Mems != "",
		"pids":    r.Pids != nil && r.Pids.Limit != nil,
		"io":      r.BlockIO != nil,
		"hugetlb": len(r.HugepageLimits) > 0,
		"rdma":    len(r.Rdma) > 0,
	}
	for key := range r.Unified {
		if controller, _, ok := strings.Cut(key, "."); ok && controller != "cgroup" {
			set[controller] = true
		}
	}
	maps.DeleteFunc(set, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(set))
}

// limits tells whether the resources ask for more than device rules.
func limits(r *specs.LinuxResources) bool {
	return len(needed(r)) > 0 || r.Network != nil || len(r.Unified) > 0
}

// fill sets everything before a process is in the group.
func (m *Making) fill(isNew bool) error {
	g, r := m.group, m.resources
	list, err := translate(g.group, r, false)
	if err != nil {
		return err
	}
	if err := g.write(list); err != nil {
		return err
	}
	if d := &m.making.Devices; d.Set {
		return g.devicesFailed(d.Err)
	}
	return g.setDevices(r.Devices, isNew)
}

// Set changes a living group: what r gives is set, all else stays. Device rules
// are replaced if r has any. Not everything may be set when an error comes back.
//
// The kernel may take a memory limit below what is in use: memory is then
// reclaimed, and on v2 processes are killed if that is not enough;
// checkBeforeUpdate refuses such a limit. v1 refuses it by itself with EBUSY.
func (g *Group) Set(r *specs.LinuxResources) error {
	if g.group == nil {
		if !limits(r) {
			return nil
		}
		return g.without
	}
	list, err := translate(g.group, r, true)
	if err != nil {
		return err
	}
	if err := g.write(list); err != nil {
		return err
	}
	if len(r.Devices) == 0 {
		return nil
	}
	return g.setDevices(r.Devices, false)
}

// write writes settings. Some are only taken together with others (a limit of
// memory is at most that of memory and swap, a burst at most a quota), and which
// goes first depends on what is there: so what the kernel calls invalid is tried
// again as long as others of the same controller get through.
func (g *Group) write(list []setting) error {
	for len(list) > 0 {
		var again []setting
		var first error
		for _, s := range list {
			err := g.group.Write(s.controller, s.file, s.value)
			if err == nil {
				continue
			}
			err = s.failure(err)
			if !errors.Is(err, unix.EINVAL) {
				return err
			}
			again = append(again, s)
			if first == nil {
				first = err
			}
		}
		if len(again) == len(list) {
			return first
		}
		list = again
	}
	return nil
}

func (s *setting) failure(err error) error {
	return fmt.Errorf("cannot set linux.resources.%s: cannot write %q: %w", s.key, s.value, err)
}

func (s *settings) pids(limit int64) {
	const key = "pids.limit"
	v := s.version(key, "pids")
	switch {
	case v == 0:
	case limit < 0:
		s.add(key, "pids", "pids.max", "max")
	case limit == 0 && v == 2 && !s.live:
		// Nobody is born in a group that may have no process; that none can be
		// forked comes to the same.
		s.add(key, "pids", "pids.max", "1")
	default:
		s.add(key, "pids", "pids.max", fmt.Sprint(limit))
	}
}

func (s *settings) hugePages(limits []specs.LinuxHugepageLimit) {
	for _, l := range limits {
		const key = "hugepageLimits"
		v := s.version(key, "hugetlb")
		if v == 0 {
			return
		}
		if strings.Trim(l.Pagesize, "0123456789KMGB") != "" {
			s.invalid(key, "%q is not a page size; one is written as 2MB or 1GB", l.Pagesize)
			continue
		}
		usage, reserved, value := ".limit_in_bytes", ".rsvd.limit_in_bytes", fmt.Sprint(l.Limit)
		if v == 2 {
			usage, reserved = ".max", ".rsvd.max"
		}
		prefix := "hugetlb." + l.Pagesize
		s.addIfThere(key, "hugetlb", prefix+usage, value, "there are no huge pages of "+l.Pagesize)
		if s.host.Has("hugetlb", prefix+reserved) { // since Linux 5.7
			s.add(key, "hugetlb", prefix+reserved, value)
		}
	}
}

func (s *settings) network(n *specs.LinuxNetwork) {
	const noV2 = "it is a controller of cgroup v1 that is not mounted; with cgroup v2, nftables can match a group instead"
	if n.ClassID != nil && *n.ClassID != 0 {
		if v, _ := s.host.Version("net_cls"); v == 1 {
			s.add("network.classID", "net_cls", "net_cls.classid", fmt.Sprint(*n.ClassID))
		} else {
			s.refuse("network.classID", noV2)
		}
	}
	for _, p := range n.Priorities {
		if v, _ := s.host.Version("net_prio"); v == 1 {
			s.add("network.priorities", "net_prio", "net_prio.ifpriomap", fmt.Sprintf("%s %d", p.Name, p.Priority))
		} else {
			s.refuse("network.priorities", noV2)
			return
		}
	}
}

func (s *settings) rdma(devices map[string]specs.LinuxRdma) {
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		const key = "rdma"
		if s.version(key, "rdma") == 0 {
			return
		}
		d, line := devices[name], name
		if d.HcaHandles != nil {
			line += fmt.Sprintf(" hca_handle=%d", *d.HcaHandles)
		}
		if d.HcaObjects != nil {
			line += fmt.Sprintf(" hca_object=%d", *d.HcaObjects)
		}
		if line == name {
			s.invalid(key, "%s has neither hcaHandles nor hcaObjects", name)
			continue
		}
		s.add(key, "rdma", "rdma.max", line)
	}
}

func (s *settings) unified(values map[string]string) {
	for _, file := range slices.Sorted(maps.Keys(values)) {
		key := "unified." + file
		if file == "" || strings.ContainsAny(file, "/\x00") || !strings.Contains(file, ".") {
			s.invalid(key, "that is not the name of a control file")
			continue
		}
		if v, _ := s.host.Version(""); v == 0 {
			s.refuse(key, "it needs cgroup v2")
			continue
		}
		controller, _, _ := strings.Cut(file, ".")
		if !s.host.Has("", file) {
			reason := "the group has no such control file"
			if v, why := s.host.Version(controller); v == 0 && controller != "cgroup" {
				reason = why
			} else if v == 1 {
				reason = "the " + controller + " controller is on cgroup v1"
			}
			s.refuse(key, reason)
			continue
		}
		// The kernel takes the line of one device at a time.
		for line := range strings.Lines(values[file]) {
			if line = strings.TrimSpace(line); line != "" {
				s.add(key, "", file, line)
			}
		}
	}
}
