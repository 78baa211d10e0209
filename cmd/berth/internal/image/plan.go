package image

import (
	"debug/elf"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"berth/config"
	"berth/isolate/fsimage"
	"berth/isolate/octal"
	"berth/units"
)

// Places in the image.
const (
	unitsDir     = "/etc/berth/units"
	settingsFile = "/etc/berth/berthd.toml"
	berthdPath   = "/usr/sbin/berthd"
	berthPath    = "/usr/bin/berth"
	loadFile     = "/etc/modules-load.d/berth-image.conf"
)

// Plan is an image that could be written. It holds the directories open that go
// into it, until Close.
type Plan struct {
	// Release is the kernel's, "" where its image does not tell and there are no
	// modules.
	Release string
	// Modules are the kernel modules in it, with those that others need.
	Modules []string
	// Cmdline is what the boot loader gives the kernel.
	Cmdline string
	// Warnings are what may not be as it was meant.
	Warnings []string

	options  Options
	set      *config.Set
	settings config.Settings
	mounts   []string // mount points of the fstab
	system   *fsimage.Tree
	handover *fsimage.Tree // the initramfs before the system; nil: there is none
	modules  *modules
	opened   []io.Closer
}

// New reads and checks everything that an image is made of. What is wrong with
// unit files is a units.Diagnostics with place and hint. The caller closes the
// plan.
func New(o Options) (*Plan, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &Plan{options: o, system: fsimage.New()}
	if err := p.make(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close gives back what the plan holds open.
func (p *Plan) Close() {
	for _, r := range p.opened {
		_ = r.Close() // it was only read
	}
	p.opened = nil
}

func (p *Plan) make() error {
	for _, step := range []func() error{
		p.readUnits, p.readSettings, p.readKernel,
		p.addBase, p.addUnits, p.addRoots, p.addPrograms, p.addFiles, p.addFstab, // the later go over the earlier
		p.addModules, p.addHandover,
		p.checkUnits, p.checkState, p.clampTimes,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	p.Cmdline = p.options.Cmdline
	if p.handover != nil && !slices.ContainsFunc(strings.Fields(p.Cmdline), func(w string) bool { return strings.HasPrefix(w, "root=") }) {
		p.Cmdline = strings.TrimSpace(p.rootWords() + " " + p.Cmdline)
	}
	return nil
}

// rootWords tell the initramfs where the root file system is, unless the command
// line has a root= already. A squashfs has no name to be found by: it is taken
// from the first virtio disk.
func (p *Plan) rootWords() string {
	if p.options.Format == Squashfs {
		return "root=/dev/vda rootfstype=squashfs ro"
	}
	return "root=LABEL=" + Label + " rootfstype=ext4 rw"
}

func (p *Plan) readUnits() error {
	dir, err := filepath.Abs(p.options.Units)
	if err != nil {
		return err
	}
	if st, err := os.Stat(dir); err != nil {
		return fmt.Errorf("cannot read the unit files: %w", err)
	} else if !st.IsDir() {
		return fmt.Errorf("cannot read the unit files: %s is not a directory", dir)
	}
	p.options.Units = dir
	if p.set, err = config.Load(config.Options{Dirs: []string{dir}}); err != nil {
		return err
	}
	if err := p.set.Diagnostics.Err(); err != nil {
		return err
	}
	if len(p.set.Units) == 0 {
		return fmt.Errorf("there are no units in %s: an image without any would do nothing", dir)
	}
	return nil
}

func (p *Plan) readSettings() error {
	p.settings = config.DefaultSettings()
	if p.options.Settings == "" {
		return nil
	}
	text, err := os.ReadFile(p.options.Settings)
	if err != nil {
		return fmt.Errorf("cannot read the settings: %w", err)
	}
	settings, diagnostics := config.ParseSettings(p.options.Settings, text)
	p.settings = settings
	return diagnostics.Err()
}

func (p *Plan) readKernel() error {
	var err error
	if p.Release, err = kernelRelease(p.options.Kernel); err != nil {
		return err
	}
	if dir := p.options.Modules; dir != "" {
		// A link, or a "..", has another name than the directory itself.
		if p.options.Modules, err = filepath.EvalSymlinks(dir); err != nil {
			return fmt.Errorf("cannot read the kernel's modules: %w", err)
		}
		release := filepath.Base(p.options.Modules)
		if p.Release != "" && p.Release != release {
			return fmt.Errorf("the kernel %s is release %s, and the modules in %s are of %s: it would not load them", p.options.Kernel, p.Release, dir, release)
		}
		p.Release = release
	}
	p.modules, err = openModules(p.options.Modules)
	return err
}

// inImage gives where a path of the unit files is in the image: they have been
// read elsewhere, and what they name relative to themselves lies beside them.
func (p *Plan) inImage(path string) string {
	if below, ok := strings.CutPrefix(path, p.options.Units+"/"); ok {
		return unitsDir + "/" + below
	}
	return path
}

func (p *Plan) add(path string, n *fsimage.Inode) error { return p.system.Add(path, n) }

// lacking adds what is not there yet.
func (p *Plan) lacking(path string, n *fsimage.Inode) error {
	if p.system.Lookup(path) != nil {
		return nil
	}
	return p.add(path, n)
}

// addBase begins with a root directory that was given for "/", and adds what
// every system has.
func (p *Plan) addBase() error {
	for _, m := range p.options.Roots {
		if filepath.Clean(m.To) == "/" {
			if err := p.addDir("/", m.From); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"usr/bin", "usr/sbin", "usr/lib"} {
		if err := p.lacking(name, fsimage.Directory(0o755)); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "sbin", "lib"} {
		if err := p.lacking(name, fsimage.Link("usr/"+name)); err != nil {
			return err
		}
	}
	for _, d := range []struct {
		name string
		mode uint32
	}{
		{"dev", 0o755}, {"etc", 0o755}, {"etc/berth", 0o755}, {"mnt", 0o755}, {"proc", 0o555}, {"root", 0o700}, {"run", 0o755}, {"srv", 0o755},
		{"sys", 0o555}, {"tmp", 0o1777}, {"var", 0o755}, {"var/lib", 0o755}, {strings.TrimPrefix(p.settings.StateDir, "/"), 0o755}, {"var/log", 0o755}, {"var/tmp", 0o1777},
	} {
		if err := p.lacking(d.name, fsimage.Directory(d.mode)); err != nil {
			return err
		}
	}
	hostname := p.options.Hostname
	if hostname == "" {
		hostname = "berth"
	}
	for name, text := range map[string]string{
		"etc/passwd":     "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"etc/group":      "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
		"etc/hosts":      "127.0.0.1 localhost\n::1 localhost\n",
		"etc/hostname":   hostname + "\n",
		"etc/machine-id": "", // it gets its own when it first boots
	} {
		put := p.lacking
		if name == "etc/hostname" && p.options.Hostname != "" {
			put = p.add
		}
		if err := put(name, fsimage.Text(text, 0o644)); err != nil {
			return err
		}
	}
	// The kernel opens it before anything is mounted on /dev.
	return p.lacking("dev/console", fsimage.Device(fsimage.KindChar, 0o600, 5, 1))
}

// addDir adds a directory of this machine or a tar archive, whose files keep their
// owners.
func (p *Plan) addDir(to, from string) error {
	if st, err := os.Stat(from); err == nil && st.Mode().IsRegular() {
		archive, err := os.Open(from)
		if err != nil {
			return fmt.Errorf("cannot read the root file system for %s: %w", to, err)
		}
		p.opened = append(p.opened, archive)
		return p.system.AddTar(to, archive)
	}
	root, err := os.OpenRoot(from)
	if err != nil {
		return fmt.Errorf("cannot read the root file system for %s: %w", to, err)
	}
	p.opened = append(p.opened, root)
	return p.system.AddDir(to, root)
}

// addUnits adds the directory of unit files with all that is in it. berthd does
// what they say as root, so root is whom they belong to.
func (p *Plan) addUnits() error {
	if err := p.addDir(unitsDir, p.options.Units); err != nil {
		return err
	}
	for _, e := range p.system.Entries() {
		if "/"+e.Path != unitsDir && !strings.HasPrefix("/"+e.Path, unitsDir+"/") {
			continue
		}
		e.UID, e.GID = 0, 0
		if e.Kind() != fsimage.KindLink {
			e.Mode &^= 0o022
		}
	}
	if p.options.Settings == "" {
		return nil
	}
	if err := p.system.AddFile(settingsFile, p.options.Settings); err != nil {
		return err
	}
	p.system.Lookup(settingsFile).Mode &^= 0o022
	return nil
}

// addRoots adds root file systems: those that were given, and those that lie
// beside the unit files, with their owners.
func (p *Plan) addRoots() error {
	for _, name := range slices.Sorted(maps.Keys(p.set.Units)) {
		for _, path := range rootPaths(p.set.Units[name]) {
			if st, err := os.Stat(path); p.inImage(path) != path && err == nil && st.IsDir() {
				if err := p.addDir(p.inImage(path), path); err != nil {
					return err
				}
			}
		}
	}
	for _, m := range p.options.Roots {
		to := m.To
		switch u := p.set.Units[to]; {
		case filepath.Clean(to) == "/":
			continue
		case filepath.IsAbs(to):
		case u == nil:
			return fmt.Errorf("--root %s=%s: there is no unit %s, and a path begins with /", m.To, m.From, to)
		case u.RootFS.Path == "":
			return fmt.Errorf("--root %s=%s: the unit has no rootfs.path: name the path that it is for", m.To, m.From)
		default:
			to = p.inImage(u.RootFS.Path)
		}
		if err := p.addDir(to, m.From); err != nil {
			return err
		}
	}
	return nil
}

// rootPaths are the root file system of a unit, or its layers.
func rootPaths(u *units.Unit) []string {
	if u.RootFS.Path != "" {
		return []string{u.RootFS.Path}
	}
	return u.RootFS.Layers
}

func (p *Plan) addPrograms() error {
	for to, from := range map[string]string{berthdPath: p.options.Berthd, berthPath: p.options.Berth} {
		if err := static(from); err != nil {
			return err
		}
		if err := p.system.AddFile(to, from); err != nil {
			return err
		}
		p.system.Lookup(to).Mode = fsimage.KindRegular | 0o755
	}
	if err := p.lacking("/usr/sbin/init", fsimage.Link("berthd")); err != nil {
		return err
	}
	if p.system.Stat("/sbin/init") != p.system.Stat(berthdPath) {
		p.Warnings = append(p.Warnings, "the /sbin/init of the root file system given for / is kept, which is not berthd: boot with init="+berthdPath)
	}
	return nil
}

// static refuses a program that needs a loader, which the image may not have.
func static(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read the program %s: %w; build both with make build, or name them with --berthd and --berth", path, err)
	}
	defer f.Close()
	for _, prog := range f.Progs {
		if prog.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically, and may not run in the image: build it with CGO_ENABLED=0 (make build)", path)
		}
	}
	return nil
}

func (p *Plan) addFiles() error {
	for _, m := range p.options.Files {
		if err := p.system.AddFile(m.To, m.From); err != nil {
			return err
		}
	}
	return nil
}

// addFstab adds the fstab, and the directories that it mounts something on.
func (p *Plan) addFstab() error {
	if p.options.Fstab != "" {
		if err := p.system.AddFile("/etc/fstab", p.options.Fstab); err != nil {
			return err
		}
		p.system.Lookup("/etc/fstab").Mode = fsimage.KindRegular | 0o644
	}
	text, err := read(p.system.Stat("/etc/fstab"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		at := octal.Unescape(fields[1])
		if !filepath.IsAbs(at) || filepath.Clean(at) == "/" {
			continue
		}
		p.mounts = append(p.mounts, filepath.Clean(at))
		if err := p.lacking(at, fsimage.Directory(0o755)); err != nil {
			return err
		}
		bind := len(fields) > 3 && strings.Contains(fields[3], "bind") // which may be of a file
		if n := p.system.Stat(at); n == nil || n.Kind() != fsimage.KindDir && !bind {
			return fmt.Errorf("the fstab mounts something on %s, which is not a directory in the image", at)
		}
		p.wanted(fields[2])
	}
	return nil
}

// wanted adds a module to those asked for, if it is one.
func (p *Plan) wanted(name string) {
	if p.modules.paths[moduleName(name)] != "" && !slices.Contains(p.options.ModuleNames, name) {
		p.options.ModuleNames = append(p.options.ModuleNames, name)
	}
}

// clampTimes gives what was made here a time, and nothing one later than that.
func (p *Plan) clampTimes() error {
	var trees []*fsimage.Tree
	for _, t := range []*fsimage.Tree{p.system, p.handover} {
		if t != nil {
			trees = append(trees, t)
		}
	}
	epoch := p.options.Epoch
	if epoch.IsZero() {
		epoch = time.Unix(0, 0)
		for _, t := range trees {
			for _, e := range t.Entries() {
				if e.ModTime.After(epoch) {
					epoch = e.ModTime
				}
			}
		}
	}
	for _, t := range trees {
		for _, e := range t.Entries() {
			if e.ModTime.IsZero() || e.ModTime.After(epoch) {
				e.ModTime = epoch
			}
			e.ModTime = e.ModTime.Truncate(time.Second)
		}
	}
	return nil
}
