// Package mount mounts file systems by the mount API of Linux 5.2 and later, which
// tells in words why one cannot be mounted, and by mount(2) where there is none.
//
// options.go tells apart what mount(8)'s options are for: attributes of the mount,
// flags and parameters of the file system, and what is for the one who mounts
// only. mount.go does it.
package mount

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Options are mount options by what they are for.
type Options struct {
	// Set and Clear are attributes of the mount, MOUNT_ATTR_*.
	Set, Clear uint64
	// FS are parameters of the file system, "key" or "key=value", "ro" and "rw"
	// among them.
	FS []string
	// Bind, Recursive, Remount: another kind of mount than a new one.
	Bind, Recursive, Remount bool
	// Propagation is MS_SHARED and the like, 0 for as it comes.
	Propagation uint64
	// User are options that are for programs: noauto, nofail, _netdev, x-…
	User []string
}

// attributes are the options that belong to a mount. One that is cleared is of
// none of the bits, as relatime is no bit.
var attributes = map[string]struct{ set, clear uint64 }{
	"ro":            {unix.MOUNT_ATTR_RDONLY, 0},
	"rw":            {0, unix.MOUNT_ATTR_RDONLY},
	"nosuid":        {unix.MOUNT_ATTR_NOSUID, 0},
	"suid":          {0, unix.MOUNT_ATTR_NOSUID},
	"nodev":         {unix.MOUNT_ATTR_NODEV, 0},
	"dev":           {0, unix.MOUNT_ATTR_NODEV},
	"noexec":        {unix.MOUNT_ATTR_NOEXEC, 0},
	"exec":          {0, unix.MOUNT_ATTR_NOEXEC},
	"nodiratime":    {unix.MOUNT_ATTR_NODIRATIME, 0},
	"diratime":      {0, unix.MOUNT_ATTR_NODIRATIME},
	"noatime":       {unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME},
	"relatime":      {unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME},
	"atime":         {unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME},
	"norelatime":    {unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME},
	"strictatime":   {unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME},
	"nosymfollow":   {unix.MOUNT_ATTR_NOSYMFOLLOW, 0},
	"symfollow":     {0, unix.MOUNT_ATTR_NOSYMFOLLOW},
	"user":          {unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC, 0},
	"users":         {unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC, 0},
	"owner":         {unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, 0},
	"group":         {unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, 0},
	"defaults":      {},
	"nostrictatime": {unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME},
}

var propagations = map[string]uint64{
	"shared": unix.MS_SHARED, "slave": unix.MS_SLAVE, "private": unix.MS_PRIVATE, "unbindable": unix.MS_UNBINDABLE,
	"rshared": unix.MS_SHARED | unix.MS_REC, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"rprivate": unix.MS_PRIVATE | unix.MS_REC, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// userOptions mean nothing to the kernel.
var userOptions = map[string]bool{"auto": true, "noauto": true, "nouser": true, "nofail": true, "fail": true, "_netdev": true, "user": true, "users": true, "owner": true, "group": true}

// uncovered are options of mount(8) that take more than mounting.
var uncovered = map[string]string{
	"loop":      "set up the loop device in a unit, with losetup",
	"offset":    "set up the loop device in a unit, with losetup",
	"sizelimit": "set up the loop device in a unit, with losetup",
	"helper":    "", "uhelper": "",
	"verity.hashdevice": "set the device up in a unit, with veritysetup", "verity.roothash": "set the device up in a unit, with veritysetup",
}

// Split splits the fourth field of fstab(5) at its commas, but for those in
// quotes, which belong to a value.
func Split(field string) []string {
	var list []string
	quoted, from := false, 0
	for i := 0; i <= len(field); i++ {
		switch {
		case i == len(field) || field[i] == ',' && !quoted:
			if i > from {
				list = append(list, field[from:i])
			}
			from = i + 1
		case field[i] == '"':
			quoted = !quoted
		}
	}
	return list
}

// Parse tells options apart; a later one wins over an earlier. One that is known
// and not covered is an error.
func Parse(list []string) (Options, error) {
	var o Options
	for _, word := range list {
		key, value, valued := strings.Cut(word, "=")
		if try, ok := uncovered[key]; ok {
			if try != "" {
				try = "; " + try
			}
			return o, fmt.Errorf("the option %s is not covered%s", key, try)
		}
		if a, ok := attributes[key]; ok && (!valued || key == "user") {
			o.Set = o.Set&^a.clear | a.set
			o.Clear = o.Clear&^a.set | a.clear
		}
		switch {
		case key == "ro" || key == "rw":
			o.FS = append(o.FS, key)
		case userOptions[key], strings.HasPrefix(key, "x-"), strings.HasPrefix(key, "X-"), key == "comment":
			o.User = append(o.User, word)
		case attributes[key] != struct{ set, clear uint64 }{} && !valued, key == "defaults":
		case key == "bind" || key == "rbind":
			o.Bind, o.Recursive = true, o.Recursive || key == "rbind"
		case key == "remount":
			o.Remount = true
		case propagations[key] != 0 && !valued:
			o.Propagation = propagations[key]
		default:
			if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
				word = key + "=" + value[1:len(value)-1]
			}
			o.FS = append(o.FS, word)
		}
	}
	return o, nil
}

// ReadOnly tells whether the mount is asked to be read-only.
func (o *Options) ReadOnly() bool { return o.Set&unix.MOUNT_ATTR_RDONLY != 0 }

// Has tells whether an option for programs is there.
func (o *Options) Has(key string) bool {
	_, ok := o.Value(key)
	return ok
}

// Value gives the value of an option for programs; of several the last.
func (o *Options) Value(key string) (value string, ok bool) {
	for _, word := range o.User {
		if k, v, _ := strings.Cut(word, "="); k == key {
			value, ok = v, true
		}
	}
	return value, ok
}
