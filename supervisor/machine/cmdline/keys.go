package cmdline

import (
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Key is a word of the command line that berthd obeys.
type Key struct {
	Name string
	// Also are other words that mean the same.
	Also []string
	// Value describes what stands behind "="; "": nothing does.
	Value string
	Help  string

	// apply takes the word up and gives what is wrong with its value, or "".
	apply func(*Options, word) string
}

// Keys gives all of them, in the order of the documentation.
func Keys() []Key {
	return []Key{
		{Name: "berth.units", Value: "DIR[,DIR...]", Help: "Directories of unit files, highest first, in place of those in the settings.", apply: setUnits},
		{Name: "berth.target", Value: "UNIT", Help: "Start this unit and what it needs, in place of all units that start at boot. When there is no such unit, all of them start and the log says so.",
			apply: text(func(o *Options) *string { return &o.Target })},
		{Name: "berth.log", Value: "LEVEL|TARGET[,...]", Help: "The level (debug, info, warn, error) and the target (kmsg, console, auto) of the daemon's own log, over the settings.", apply: setLog},
		{Name: "berth.emergency", Also: []string{"emergency"}, Value: "[yes|no]", Help: "An emergency shell before file systems are mounted and units are started. When it ends, the boot goes on.",
			apply: flag(func(o *Options) *bool { return &o.Emergency })},
		{Name: "single", Also: []string{"s", "S", "1", "rescue"}, Help: "An emergency shell after the boot duties and before units are started. When it ends, the boot goes on.",
			apply: bare(func(o *Options) { o.Single = true })},
		{Name: "berth.hostname", Value: "NAME", Help: "The name of the machine, over /etc/hostname.",
			apply: text(func(o *Options) *string { return &o.Hostname })},
		{Name: "modules_load", Also: []string{"rd.modules_load"}, Value: "MODULE[,MODULE...]", Help: "Load these kernel modules, besides those of /etc/modules-load.d; may come several times.", apply: addModules},
		{Name: "berth.coldplug", Value: "yes|no", Help: "Load kernel modules for the devices that there are and that appear later, as udev would; yes unless said otherwise.",
			apply: flag(func(o *Options) *bool { return &o.Coldplug })},
		{Name: "fsck.mode", Value: "auto|force|skip", Help: "When file systems of /etc/fstab are checked: as it says there, always, or never.",
			apply: oneOf(func(o *Options) *string { return &o.Check }, "auto", "force", "skip")},
		{Name: "fsck.repair", Value: "preen|yes|no", Help: "What a check repairs by itself: what is safe, everything, or nothing.",
			apply: oneOf(func(o *Options) *string { return &o.Repair }, "preen", "yes", "no")},
		{Name: "ro", Help: "The root file system is mounted read-only. So it is where neither this nor rw is said.",
			apply: bare(func(o *Options) { o.Root.ReadOnly = true })},
		{Name: "rw", Help: "The root file system is mounted for reading and writing.",
			apply: bare(func(o *Options) { o.Root.ReadOnly = false })},
		{Name: "root", Value: "DEVICE", Help: "The root file system that an initramfs hands over to: a path, or UUID=, PARTUUID=, LABEL=, PARTLABEL=.",
			apply: text(func(o *Options) *string { return &o.Root.Source })},
		{Name: "rootfstype", Value: "TYPE", Help: "Its type.", apply: text(func(o *Options) *string { return &o.Root.Type })},
		{Name: "rootflags", Value: "OPTIONS", Help: "Its mount options.", apply: text(func(o *Options) *string { return &o.Root.Flags })},
		{Name: "rootwait", Value: "[SECONDS]", Help: "Wait for its device, for at most so long, or for ever.", apply: setWait},
		{Name: "rootdelay", Value: "SECONDS", Help: "Wait so long before it is mounted.", apply: setDelay},
		{Name: "berth.overlay", Value: "tmpfs|DEVICE", Help: "An initramfs mounts the root file system read-only, and over it a tmpfs, or a file system named as for root, that takes what is written.",
			apply: text(func(o *Options) *string { return &o.Overlay })},
		{Name: "init", Value: "PATH", Help: "The program on it that an initramfs executes.", apply: text(func(o *Options) *string { return &o.Init })},
		{Name: "quiet", Help: "Only warnings and errors on the console.", apply: bare(func(o *Options) { o.Quiet = true })},
	}
}

// find gives the key of a word. As for the kernel's own parameters, dashes and
// underscores are the same.
func find(table []Key, name string) *Key {
	name = canonical(name)
	i := slices.IndexFunc(table, func(k Key) bool {
		return k.Name == name || slices.Contains(k.Also, name)
	})
	if i < 0 {
		return nil
	}
	return &table[i]
}

func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// own tells whether a word is addressed to berthd.
func own(name string) bool { return strings.HasPrefix(canonical(name), "berth.") }

func ownKeys(table []Key) string {
	var names []string
	for _, k := range table {
		if own(k.Name) {
			names = append(names, k.Name)
		}
	}
	return strings.Join(names, ", ")
}

const noValue = "there is no value"

func text(of func(*Options) *string) func(*Options, word) string {
	return func(o *Options, w word) string {
		if w.value == "" {
			return noValue
		}
		*of(o) = w.value
		return ""
	}
}

func oneOf(of func(*Options) *string, values ...string) func(*Options, word) string {
	return func(o *Options, w word) string {
		if !slices.Contains(values, w.value) {
			return "it is one of " + strings.Join(values, ", ")
		}
		*of(o) = w.value
		return ""
	}
}

// bare is for words without a value; one with a value is another's.
func bare(set func(*Options)) func(*Options, word) string {
	return func(o *Options, w word) string {
		if !w.valued {
			set(o)
		}
		return ""
	}
}

func flag(of func(*Options) *bool) func(*Options, word) string {
	return func(o *Options, w word) string {
		switch strings.ToLower(w.value) {
		case "1", "yes", "y", "true", "t", "on":
			*of(o) = true
		case "0", "no", "n", "false", "f", "off":
			*of(o) = false
		default:
			if w.valued {
				return "it is yes or no"
			}
			*of(o) = true
		}
		return ""
	}
}

func addModules(o *Options, w word) string {
	for name := range strings.SplitSeq(w.value, ",") {
		if name != "" {
			o.Modules = append(o.Modules, name)
		}
	}
	return ""
}

func setUnits(o *Options, w word) string {
	var dirs []string
	for dir := range strings.SplitSeq(w.value, ",") {
		switch {
		case dir == "":
			continue
		case !path.IsAbs(dir) || slices.Contains(strings.Split(dir, "/"), ".."):
			return strconv.Quote(dir) + " is not an absolute path without \"..\""
		}
		dirs = append(dirs, dir)
	}
	if dirs == nil {
		return noValue
	}
	o.Units = dirs
	return ""
}

func setLog(o *Options, w word) string {
	var level, target string
	for part := range strings.SplitSeq(w.value, ",") {
		switch part {
		case "debug", "info", "warn", "error":
			level = part
		case "kmsg", "console", "auto":
			target = part
		default:
			return strconv.Quote(part) + " is neither a level (debug, info, warn, error) nor a target (kmsg, console, auto)"
		}
	}
	if level != "" {
		o.LogLevel = level
	}
	if target != "" {
		o.LogTarget = target
	}
	return ""
}

func setWait(o *Options, w word) string {
	limit := time.Duration(0)
	if w.valued {
		var problem string
		if limit, problem = seconds(w.value); problem != "" {
			return problem
		}
	}
	o.Root.Wait, o.Root.WaitLimit = true, limit
	return ""
}

func setDelay(o *Options, w word) string {
	delay, problem := seconds(w.value)
	if problem == "" {
		o.Root.Delay = delay
	}
	return problem
}

func seconds(value string) (time.Duration, string) {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil || n > math.MaxInt32 {
		return 0, "it is a number of seconds"
	}
	return time.Duration(n) * time.Second, ""
}
