package oci

import (
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"berth/isolate"
	"berth/isolate/netdevice"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Options is what Translate must know beyond the configuration.
type Options struct {
	Bundle string // the bundle's directory, absolute
	ID     string // the container's

	NoPivot      bool // isolate.Spec.NoPivot
	NoNewKeyring bool // the session keyring is the starter's
	Rootless     bool // the starter has no privileges of its own
	PreserveFDs  int  // how many descriptors beyond 0–2 are passed on
	// Console tells that the caller takes the master of a terminal
	// (isolate.Files.Console); without it process.terminal is refused.
	Console bool

	// Host tells what can be granted: capabilities and labels beyond it are left
	// out with a warning. nil: everything. ThisHost gives it.
	Host *Host
	// NoProcess takes a configuration without process, whose container is created
	// and never started. Its child fails to execute what is not there.
	NoProcess bool
	// Filter is what DecodeConfig gave. Translate keeps the filter that it compiles
	// there for the next start, which is the only file that it touches; nil: it
	// compiles always, and keeps nothing.
	Filter *Filter
}

// Container is a configuration translated.
type Container struct {
	Spec *isolate.Spec // Cgroup is left to the caller

	CgroupsPath string // as it stands there; "": the caller's choice
	Resources   *specs.LinuxResources

	// These are run in the runtime's namespaces, in order: Prestart and
	// CreateRuntime when Spec.SyncRuntime has the child wait, Poststart after the
	// program was started, Poststop after the container was deleted.
	Prestart, CreateRuntime, Poststart, Poststop []specs.Hook

	// NetDevices are moved to the network namespace before those hooks, when
	// Spec.SyncRuntime has the child wait.
	NetDevices []netdevice.Device

	Listener *Listener // where the seccomp listener goes; nil: there is none

	// Warnings are what the runtime-spec wants passed over, or what has no effect
	// here; each begins with its JSON path.
	Warnings []string
}

// Listener is the agent that decides on the system calls of SCMP_ACT_NOTIFY.
type Listener struct {
	Path     string // a unix stream socket
	Metadata string // handed on as it is
}

// nothing is what stands for the program of a container that is made without
// one. Beginning in the working directory, it is not looked up.
const nothing = "./none"

// translator goes through one configuration.
type translator struct {
	report
	config *specs.Spec
	linux  *specs.Linux // never nil
	opt    Options
	out    *Container
	spec   *isolate.Spec
}

// Translate gives the container that config describes. It opens nothing (but
// for Options.Filter) and looks nothing up: whether paths exist is seen by
// isolate.Prepare. The error has a Fault for every value that cannot be used. config is not changed, and
// parts of it are shared with the result.
func Translate(config *specs.Spec, opt Options) (*Container, error) {
	t := newTranslator(config, opt)
	t.version()
	t.platforms()
	t.root()
	t.names()
	t.namespaces()
	t.mounts()
	p := config.Process
	if p == nil && opt.NoProcess {
		p = &specs.Process{Cwd: "/", Args: []string{nothing}}
	}
	t.process(p)
	// The runtime-spec has these for processes that are added, not for the first one.
	s := &t.spec.Process.Scheduling
	s.InitialAffinity, s.FinalAffinity, s.AnyProcessor = nil, nil, true
	t.limits()
	t.hooks()
	t.devices()
	t.settings()
	t.seccomp(&t.spec.Process)
	if err := t.err(fmt.Sprintf("cannot use the configuration of container %q", opt.ID)); err != nil {
		return nil, err
	}
	t.out.Warnings = t.warnings
	return t.out, nil
}

func newTranslator(config *specs.Spec, opt Options) *translator {
	t := &translator{config: config, linux: config.Linux, opt: opt}
	if t.linux == nil {
		t.linux = &specs.Linux{}
	}
	t.spec = &isolate.Spec{Name: opt.ID, Bare: true, NoPivot: opt.NoPivot, Unprivileged: opt.Rootless}
	t.out = &Container{Spec: t.spec}
	return t
}

// semVer takes a version apart by SemVer 2.0.0, without the finer rules for what
// may follow the three numbers. It is no regular expression: making one takes
// longer than all the rest of a translation.
func semVer(v string) (major, minor int, ok bool) {
	core, build, hasBuild := strings.Cut(v, "+")
	core, pre, hasPre := strings.Cut(core, "-")
	if hasBuild && !versionLabel(build) || hasPre && !versionLabel(pre) {
		return 0, 0, false
	}
	var numbers [3]int
	parts := strings.Split(core, ".")
	if len(parts) != len(numbers) {
		return 0, 0, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 30)
		if err != nil || p[0] == '0' && p != "0" {
			return 0, 0, false
		}
		numbers[i] = int(n)
	}
	return numbers[0], numbers[1], true
}

// Minor gives the second number of an ociVersion that Translate has taken, for
// what the runtime-spec has changed since.
func Minor(version string) int {
	_, minor, _ := semVer(version)
	return minor
}

func versionLabel(s string) bool {
	return s != "" && strings.Trim(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.-") == ""
}

// version takes every 1.x, also those before 1.0.0 was final.
func (t *translator) version() {
	const path = "ociVersion"
	v := t.config.Version
	major, minor, ok := semVer(v)
	switch {
	case v == "":
		t.fault(path, fmt.Sprintf("write %q", specs.Version), "it is missing")
	case !ok:
		t.fault(path, fmt.Sprintf("write it like %q", specs.Version), "%s is not a version", quote(v))
	case major != 1:
		t.fault(path, "", "version %s of the runtime-spec is not supported, only 1.x is", quote(v))
	default:
		if minor > specs.VersionMinor {
			t.warn(path, "%s is newer than %d.%d, which berth knows: fields that it does not know are passed over", v, specs.VersionMajor, specs.VersionMinor)
		}
	}
}

// platforms refuses what is meant for another kind of machine.
func (t *translator) platforms() {
	c := t.config
	for _, p := range []struct {
		name string
		set  bool
	}{{"solaris", c.Solaris != nil}, {"windows", c.Windows != nil}, {"vm", c.VM != nil}, {"zos", c.ZOS != nil}, {"freebsd", c.FreeBSD != nil}} {
		if p.set {
			t.fault(p.name, "leave it out", "it is for another platform than Linux")
		}
	}
}

func (t *translator) root() {
	if !filepath.IsAbs(t.opt.Bundle) {
		t.fault("", "", "the bundle's directory %s is not an absolute path", quote(t.opt.Bundle))
	}
	root := t.config.Root
	if root == nil || root.Path == "" {
		t.fault("root.path", `write "rootfs" and put the root file system there`, "it is missing")
		return
	}
	r := &t.spec.RootFS
	r.Path = t.path("root.path", root.Path)
	r.Writable = isolate.Direct
	if root.Readonly {
		r.Writable = isolate.ReadOnly
	}
	if p := t.linux.RootfsPropagation; p != "" {
		flag, ok := propagations[p]
		if !ok {
			t.fault("linux.rootfsPropagation", "write shared, slave, private or unbindable", "unknown propagation %s", quote(p))
		}
		r.Propagation = flag
	}
}

// path gives a path of the host, which may be relative to the bundle.
func (t *translator) path(where, p string) string {
	t.checkPath(where, p)
	if !filepath.IsAbs(p) {
		return filepath.Join(t.opt.Bundle, p)
	}
	return filepath.Clean(p)
}

// maxPath is PATH_MAX of linux/limits.h, with the NUL at the end.
const maxPath = 4096

func (t *translator) checkPath(where, p string) {
	switch {
	case strings.ContainsRune(p, 0):
		t.fault(where, "", "%s has a NUL in it", quote(p))
	case len(p) >= maxPath:
		t.fault(where, "", "it is a path of more than %d bytes", maxPath-1)
	}
}

// absolute checks a path inside the container, and cleans it.
func (t *translator) absolute(where, p string) string {
	if !path.IsAbs(p) {
		t.fault(where, "begin it with a slash", "%s is not an absolute path", quote(p))
		return p
	}
	t.checkPath(where, p)
	return path.Clean(p)
}

// names are those of the UTS namespace.
func (t *translator) names() {
	c, s := t.config, t.spec
	s.Hostname, s.Domainname = c.Hostname, c.Domainname
	for _, n := range []struct{ path, value string }{{"hostname", c.Hostname}, {"domainname", c.Domainname}} {
		switch {
		case n.value == "":
		case len(n.value) > 64 || strings.ContainsRune(n.value, 0):
			t.fault(n.path, "", "%s is longer than 64 bytes or has a NUL in it", quote(n.value))
		case !t.has(specs.UTSNamespace):
			t.fault(n.path, `add {"type": "uts"} to linux.namespaces`, "it would be the machine's: there is no UTS namespace")
		}
	}
}

// has tells whether the container has a namespace of its own, new or joined.
func (t *translator) has(kind specs.LinuxNamespaceType) bool {
	for _, n := range t.linux.Namespaces {
		if n.Type == kind {
			return true
		}
	}
	return false
}
