package oci

import "golang.org/x/sys/unix"

// propagations are the names for rootfsPropagation and for mounts.
var propagations = map[string]uint64{
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
	"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// attribute is what an option does to the mount itself: one of MOUNT_ATTR_* is
// set or cleared. The options of the access time share a field, which is
// cleared as a whole and then set (mount_setattr(2)).
type attribute struct {
	bit   uint64
	clear bool
}

// attributes are the options of a mount; with an r before the name they hold for
// the mounts below it too.
var attributes = map[string]attribute{
	"ro": {unix.MOUNT_ATTR_RDONLY, false}, "rw": {unix.MOUNT_ATTR_RDONLY, true},
	"nosuid": {unix.MOUNT_ATTR_NOSUID, false}, "suid": {unix.MOUNT_ATTR_NOSUID, true},
	"nodev": {unix.MOUNT_ATTR_NODEV, false}, "dev": {unix.MOUNT_ATTR_NODEV, true},
	"noexec": {unix.MOUNT_ATTR_NOEXEC, false}, "exec": {unix.MOUNT_ATTR_NOEXEC, true},
	"nodiratime": {unix.MOUNT_ATTR_NODIRATIME, false}, "diratime": {unix.MOUNT_ATTR_NODIRATIME, true},
	"nosymfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, false}, "symfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, true},
	"noatime": {unix.MOUNT_ATTR_NOATIME, false}, "atime": {unix.MOUNT_ATTR_NOATIME, true},
	"strictatime": {unix.MOUNT_ATTR_STRICTATIME, false}, "nostrictatime": {unix.MOUNT_ATTR_STRICTATIME, true},
	"relatime": {unix.MOUNT_ATTR_RELATIME, false}, "norelatime": {unix.MOUNT_ATTR_RELATIME, true},
}

// ofAccessTime tells whether an attribute is in the shared field. Relatime is
// the field's zero.
func (a attribute) ofAccessTime() bool { return a.bit&^unix.MOUNT_ATTR__ATIME == 0 }

// attributeChange is what a list of options makes of a mount.
type attributeChange struct{ set, clear uint64 }

// apply adds one option; the last one counts.
func (c *attributeChange) apply(a attribute) {
	if a.ofAccessTime() {
		c.clear |= unix.MOUNT_ATTR__ATIME
		c.set &^= unix.MOUNT_ATTR__ATIME
		if !a.clear {
			c.set |= a.bit
		}
		return
	}
	if a.clear {
		c.set, c.clear = c.set&^a.bit, c.clear|a.bit
	} else {
		c.set, c.clear = c.set|a.bit, c.clear&^a.bit
	}
}

// superBlock are the options of a file system rather than of a mount that every
// file system takes, with what takes each of them back.
var superBlock = map[string]string{"sync": "async", "dirsync": "", "lazytime": "nolazytime", "mand": "nomand"}

// noEffect are options that are recognized and need nothing to be done: they are
// the default, are for mount(8) alone, or tell how loud the kernel is to be.
// Since Linux 5.x file systems decide about their change counter (iversion) themselves.
var noEffect = []string{"defaults", "silent", "loud", "iversion", "noiversion", "auto", "noauto", "nofail", "_netdev"}

// noEffectPrefixes are those of options that mount(8) keeps to itself.
var noEffectPrefixes = []string{"x-", "X-", "comment="}
