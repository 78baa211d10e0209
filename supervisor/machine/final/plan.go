package final

import (
	"slices"
	"strings"
)

// Op is what a step does.
type Op string

// The operations.
const (
	OpUnmount  Op = "unmount"       // umount2(2)
	OpSwapOff  Op = "swap off"      // swapoff(2)
	OpLoop     Op = "detach loop"   // LOOP_CLR_FD, loop(4)
	OpDM       Op = "remove dm"     // DM_DEV_REMOVE
	OpMD       Op = "stop md"       // STOP_ARRAY
	OpReadOnly Op = "read-only"     // mount(2) with MS_REMOUNT
	OpLazy     Op = "detach lazily" // umount2(2) with MNT_DETACH
)

// Step is one of a plan.
type Step struct {
	Op     Op
	Target string // mount point, swap, or name of the device
	Label  string // of a dm device
	Type   string // of a mount's file system
	// Force: a file system whose server may not answer is cut off from it.
	Force bool
}

func (s Step) String() string {
	text := string(s.Op) + " " + s.Target
	if s.Type != "" {
		text += " (" + s.Type + ")"
	}
	if s.Label != "" {
		text += " (" + s.Label + ")"
	}
	if s.Force {
		text += ", by force"
	}
	return text
}

// kernelTypes are file systems without a disk, a server or a program behind them.
var kernelTypes = []string{
	"autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
	"fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "ramfs", "rootfs", "rpc_pipefs", "securityfs",
	"selinuxfs", "smackfs", "sysfs", "tmpfs", "tracefs",
}

func ofKernel(fs string) bool { return slices.Contains(kernelTypes, fs) }

// remoteTypes are those that wait for somebody else, who may be gone by now.
func remote(fs string) bool {
	return slices.Contains([]string{"9p", "afs", "ceph", "cifs", "nfs", "nfs4", "smb3", "virtiofs"}, fs) || strings.HasPrefix(fs, "fuse")
}

// readOnly tells whether the file system can be written; nothing is to be done
// for one that cannot.
func (m *Mount) readOnly() bool { return m.Super == "ro" || strings.HasPrefix(m.Super, "ro,") }

// under tells whether a path is a directory or below it.
func under(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// nextRoot is the root file system to go on with after a soft reboot, if
// something is mounted there (systemd-soft-reboot.service(8)).
const nextRoot = "/run/nextroot"

// Plan gives the steps that leave nothing but the root and what is kept, in an
// order in which each finds nothing in its way: children before what they are
// mounted on, file systems before the devices below, a device before those that
// it is made of, a loop device before the file system that holds its file, an
// overlay before its layers. What the root itself rests on is left alone. force
// has file systems of servers and programs cut off from them.
func Plan(h Host, soft, force bool) []Step {
	p := planner{host: h, soft: soft, force: force, stays: map[node]bool{}, users: map[node][]node{}, done: map[node]bool{}}
	p.findKept()
	p.findUsers()
	for _, n := range p.nodes() {
		p.emit(n)
	}
	return p.steps
}

// ReadOnlyPlan gives the steps that make what is mounted read-only, as far as
// that saves anything: the disks of others are safe without.
func ReadOnlyPlan(h Host) []Step {
	var steps []Step
	for i := len(h.Mounts) - 1; i >= 0; i-- {
		if m := h.Mounts[i]; !ofKernel(m.Type) && !remote(m.Type) && !m.readOnly() {
			steps = append(steps, Step{Op: OpReadOnly, Target: m.Point, Type: m.Type})
		}
	}
	return steps
}

// LazyPlan gives the steps for what a server or a program has that does not
// answer, and that is in the way of what it is mounted on: it is taken out of
// sight, and the other may go. With what is on a disk that would save nothing.
func LazyPlan(h Host, soft bool) []Step {
	left := map[string]bool{}
	for _, s := range Plan(h, soft, false) {
		left[s.Target] = s.Op == OpUnmount
	}
	points := map[int]string{}
	for _, m := range h.Mounts {
		points[m.ID] = m.Point
	}
	var steps []Step
	for i := len(h.Mounts) - 1; i >= 0; i-- {
		if m := h.Mounts[i]; remote(m.Type) && left[m.Point] && left[points[m.Parent]] {
			steps = append(steps, Step{Op: OpLazy, Target: m.Point, Type: m.Type})
		}
	}
	return steps
}

// node is one thing that is in use.
type node struct {
	kind  int
	index int // in the Host's list of the kind
}

const (
	mountNode = iota
	swapNode
	deviceNode
)

type planner struct {
	host        Host
	soft, force bool
	stays       map[node]bool
	users       map[node][]node // what rests on it, and has to go before
	done        map[node]bool
	steps       []Step
}

// emit adds the step for n after those for all that rests on it.
func (p *planner) emit(n node) {
	if p.done[n] {
		return
	}
	p.done[n] = true // a circle, which there should not be, is cut here
	for _, on := range p.users[n] {
		p.emit(on)
	}
	if !p.stays[n] {
		p.steps = append(p.steps, p.step(n))
	}
}

func (p *planner) step(n node) Step {
	switch n.kind {
	case mountNode:
		m := p.host.Mounts[n.index]
		return Step{Op: OpUnmount, Target: m.Point, Type: m.Type, Force: p.force && remote(m.Type)}
	case swapNode:
		return Step{Op: OpSwapOff, Target: p.host.Swaps[n.index]}
	}
	d := p.host.Devices[n.index]
	switch {
	case isLoop(d.Name):
		return Step{Op: OpLoop, Target: d.Name}
	case isDM(d.Name):
		return Step{Op: OpDM, Target: d.Name, Label: d.Label}
	}
	return Step{Op: OpMD, Target: d.Name}
}

// nodes gives all there are, what is mounted last first.
func (p *planner) nodes() []node {
	var out []node
	for i := range p.host.Mounts {
		out = append(out, node{mountNode, len(p.host.Mounts) - 1 - i})
	}
	for i := range p.host.Swaps {
		out = append(out, node{swapNode, i})
	}
	for i := range p.host.Devices {
		out = append(out, node{deviceNode, i})
	}
	return out
}

// findUsers turns around what rests on what.
func (p *planner) findUsers() {
	for _, n := range p.nodes() {
		for _, basis := range p.basis(n) {
			p.users[basis] = append(p.users[basis], n)
		}
		if n.kind == mountNode && p.host.Mounts[n.index].Type == "tmpfs" && !p.stays[n] {
			// Memory that it has in swap need not be read back if it goes first.
			for i := range p.host.Swaps {
				p.users[node{swapNode, i}] = append(p.users[node{swapNode, i}], n)
			}
		}
	}
}

// basis gives what n directly rests on.
func (p *planner) basis(n node) []node {
	var out []node
	switch n.kind {
	case mountNode:
		m := p.host.Mounts[n.index]
		for i, other := range p.host.Mounts {
			if other.ID == m.Parent && i != n.index {
				out = append(out, node{mountNode, i})
			}
		}
		out = append(out, p.deviceOf(m.Device)...)
		for _, layer := range layers(m) {
			out = append(out, p.mountOf(layer)...)
		}
	case swapNode:
		path := p.host.Swaps[n.index]
		name := strings.TrimPrefix(path, "/dev/")
		if named := p.deviceNamed(name); len(named) > 0 {
			return named
		}
		if under(path, "/dev") {
			return nil
		}
		out = p.mountOf(path)
	case deviceNode:
		d := p.host.Devices[n.index]
		for _, name := range d.Under {
			out = append(out, p.deviceNamed(name)...)
		}
		if d.File != "" {
			out = append(out, p.mountOf(d.File)...)
		}
	}
	return out
}

func (p *planner) deviceOf(number string) []node {
	for i, d := range p.host.Devices {
		if slices.Contains(d.Numbers, number) {
			return []node{{deviceNode, i}}
		}
	}
	return nil
}

// deviceNamed finds a device by its name, that of a partition of it, or that of
// device-mapper.
func (p *planner) deviceNamed(name string) []node {
	for i, d := range p.host.Devices {
		if d.Name == name || slices.Contains(d.Parts, name) || d.Label != "" && "mapper/"+d.Label == name {
			return []node{{deviceNode, i}}
		}
	}
	return nil
}

// mountOf gives the mount that a path is in: of the longest mount points, the one
// that was mounted last.
func (p *planner) mountOf(path string) []node {
	best := -1
	for i, m := range p.host.Mounts {
		if under(path, m.Point) && (best < 0 || len(m.Point) >= len(p.host.Mounts[best].Point)) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	return []node{{mountNode, best}}
}

// layers gives the directories that an overlay is made of.
func layers(m Mount) []string {
	if m.Type != "overlay" {
		return nil
	}
	var out []string
	for option := range strings.SplitSeq(m.Super, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir":
			for dir := range strings.SplitSeq(value, ":") {
				if strings.HasPrefix(dir, "/") {
					out = append(out, dir)
				}
			}
		}
	}
	return out
}

// findKept marks what stays, and all that it rests on: the root, and what the
// kernel shows of itself. For another start of berthd under the same kernel the
// next root stays too, with all that is mounted there.
func (p *planner) findKept() {
	parents := map[int]int{}
	for i, m := range p.host.Mounts {
		parents[m.ID] = i
	}
	var mark func(n node)
	mark = func(n node) {
		if p.stays[n] {
			return
		}
		p.stays[n] = true
		for _, basis := range p.basis(n) {
			mark(basis)
		}
	}
	for i, m := range p.host.Mounts {
		if m.Point == "/" || p.soft && under(m.Point, nextRoot) || p.ofKernelOnly(m, parents) {
			mark(node{mountNode, i})
		}
	}
}

// ofKernelOnly tells whether a mount is one of the kernel's file systems in its
// place, on nothing but others of them and the root. What is inside a container's
// root or on a disk that is mounted there is not.
func (p *planner) ofKernelOnly(m Mount, parents map[int]int) bool {
	if !slices.ContainsFunc([]string{"/proc", "/sys", "/dev", "/run"}, func(dir string) bool { return under(m.Point, dir) }) {
		return false
	}
	for range p.host.Mounts { // no chain is longer
		if m.Point == "/" {
			return true
		}
		up, ok := parents[m.Parent]
		if !ofKernel(m.Type) || !ok {
			return false
		}
		m = p.host.Mounts[up]
	}
	return false
}
