package cmdline

import (
	"fmt"
	"time"
)

// Options are what the command line asks of berthd. The zero value is what an
// empty one asks for, but for [Root.ReadOnly] and Coldplug; use [Parse].
type Options struct {
	// Units are directories of unit files, highest first, in place of the
	// settings'; nil: the settings hold.
	Units []string
	// LogLevel is debug, info, warn or error, LogTarget kmsg, console or auto;
	// "": the settings hold.
	LogLevel, LogTarget string
	// Emergency asks for the emergency shell before file systems and units,
	// Single for one after the boot duties, before units.
	Emergency, Single bool
	// Target is the unit that is started with what it needs in place of all that
	// start at boot; "": those.
	Target string
	// Hostname is over /etc/hostname; "": that holds.
	Hostname string
	Root     Root
	// Overlay is where what is written to a read-only root goes: tmpfs, or a
	// device as root's source; "": to the root itself.
	Overlay string
	// Init is the program that the root file system is handed to; "": the usual.
	Init string
	// Check tells when file systems are checked: auto, force or skip; Repair what
	// the check may repair by itself: preen, yes or no. Never empty.
	Check, Repair string
	// Modules are kernel modules to load, Coldplug whether those for the machine's
	// devices are loaded too.
	Modules  []string
	Coldplug bool
	// Quiet asks for as little as possible on the console.
	Quiet bool
	// Problems are sentences about words that are berthd's and cannot be used;
	// they are otherwise without effect.
	Problems []string
}

// Root is the root file system as the kernel's own words describe it.
type Root struct {
	// Source is a device's path, or UUID=, PARTUUID=, LABEL= and the like; "":
	// none was named.
	Source string
	Type   string // "": found out
	Flags  string // of mount(8), with commas
	// ReadOnly holds unless rw was said, as for the kernel's own root.
	ReadOnly bool
	// Wait asks to wait for the device, for at most WaitLimit where that is above
	// 0, else for ever. Delay is waited in any case.
	Wait      bool
	WaitLimit time.Duration
	Delay     time.Duration
}

// Parse reads a command line, of any length and content. Where a key comes
// several times, the last counts.
func Parse(line string) Options {
	o := Options{Root: Root{ReadOnly: true}, Check: "auto", Repair: "preen", Coldplug: true}
	table := Keys()
	for _, w := range words(line) {
		k := find(table, w.key)
		if k == nil {
			if own(w.key) {
				o.Problems = append(o.Problems, fmt.Sprintf("%q is not known: berthd obeys %s", w.key, ownKeys(table)))
			}
			continue
		}
		if problem := k.apply(&o, w); problem != "" {
			o.Problems = append(o.Problems, fmt.Sprintf("%s=%s: %s", k.Name, w.value, problem))
		}
	}
	return o
}
