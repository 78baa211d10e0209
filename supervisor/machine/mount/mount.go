package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is what to mount where.
type Mount struct {
	Source  string // a device's path, or whatever the type takes
	Target  string // a directory, or for a bind mount of a file a file
	Type    string
	Options Options
}

// Error is that the kernel refused a mount.
type Error struct {
	Mount *Mount
	What  string // the step that failed
	Says  string // the kernel's words, or ""
	Err   error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("cannot mount %s on %s", e.Mount.Source, e.Mount.Target)
	if e.Mount.Type != "" {
		s += " as " + e.Mount.Type
	}
	s += ": "
	if e.What != "" {
		s += e.What + ": "
	}
	s += e.Err.Error()
	if e.Says != "" {
		s += " (" + e.Says + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// maxValue is how long a parameter's value may be for fsconfig(2).
const maxValue = 255

// Do mounts, binds, or remounts. A type that has a program mount.TYPE, as those of
// networks have, is mounted by that, as mount(8) does; ctx ends it. What is mounted
// already is mounted once more on top.
func (m *Mount) Do(ctx context.Context) error {
	var err error
	switch {
	case m.Options.Remount && !m.Options.Bind:
		err = m.remount()
	case m.Options.Remount:
		err = m.setAttributes(unix.AT_FDCWD, m.Target, 0)
	case m.Options.Bind:
		err = m.bind()
	default:
		if helper := m.helper(); helper != "" {
			err = m.run(ctx, helper)
		} else {
			err = m.fresh()
		}
	}
	if err == nil && m.Options.Propagation != 0 {
		if e := unix.Mount("", m.Target, "", uintptr(m.Options.Propagation), ""); e != nil {
			err = m.fault("setting its propagation", e, "")
		}
	}
	return err
}

func (m *Mount) fault(what string, err error, says string) error {
	return &Error{Mount: m, What: what, Err: err, Says: says}
}

// fresh makes a new file system instance.
func (m *Mount) fresh() error {
	fs, err := unix.Fsopen(m.Type, unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || m.long() {
		if err == nil {
			unix.Close(fs)
		}
		return m.old()
	}
	if errors.Is(err, unix.ENODEV) {
		return m.fault("", err, "the kernel does not know this type, and no module brings it")
	}
	if err != nil {
		return m.fault("opening the type", err, "")
	}
	defer unix.Close(fs)
	if m.Source != "" {
		if err := unix.FsconfigSetString(fs, "source", m.Source); err != nil {
			return m.fault("the source", err, words(fs))
		}
	}
	if err := m.configure(fs); err != nil {
		return err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return m.fault("", err, words(fs))
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(m.Options.Set))
	if err != nil {
		return m.fault("attributes", err, words(fs))
	}
	defer unix.Close(fd)
	return m.attach(fd)
}

// configure gives the file system its parameters.
func (m *Mount) configure(fs int) error {
	for _, word := range m.Options.FS {
		key, value, valued := strings.Cut(word, "=")
		var err error
		if valued {
			err = unix.FsconfigSetString(fs, key, value)
		} else {
			err = unix.FsconfigSetFlag(fs, key)
		}
		if err != nil {
			return m.fault("the option "+word, err, words(fs))
		}
	}
	return nil
}

// words reads what a file system context has to say. Each message begins with e, w
// or i and a blank (fs/fs_context.c).
func words(fs int) string {
	var all []string
	buf := make([]byte, 1024)
	for {
		n, err := unix.Read(fs, buf)
		if err != nil || n <= 0 {
			return strings.Join(all, "; ")
		}
		text := strings.TrimSpace(string(buf[:n]))
		if len(text) > 2 && text[1] == ' ' {
			text = text[2:]
		}
		all = append(all, text)
	}
}

func (m *Mount) attach(fd int) error {
	err := unix.MoveMount(fd, "", unix.AT_FDCWD, m.Target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
	if err != nil {
		return m.fault("attaching it", err, "")
	}
	return nil
}

// bind shows a directory or file in another place.
func (m *Mount) bind() error {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if m.Options.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, flags)
	if err != nil {
		return m.fault("opening the source", err, "")
	}
	defer unix.Close(fd)
	if err := m.setAttributes(fd, "", unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	return m.attach(fd)
}

// setAttributes changes a mount (mount_setattr(2), Linux 5.12).
func (m *Mount) setAttributes(dir int, path string, flags uint) error {
	attr := unix.MountAttr{Attr_set: m.Options.Set, Attr_clr: m.Options.Clear}
	if attr.Attr_set == 0 && attr.Attr_clr == 0 {
		return nil
	}
	if m.Options.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(dir, path, flags, &attr); err != nil {
		return m.fault("attributes", err, "")
	}
	return nil
}

// remount changes a file system, and the attributes of its mount. What no option
// speaks of stays.
func (m *Mount) remount() error {
	fs, err := unix.Fspick(unix.AT_FDCWD, m.Target, unix.FSPICK_CLOEXEC)
	if err != nil {
		return m.fault("opening it", err, "")
	}
	defer unix.Close(fs)
	if len(m.Options.FS) > 0 {
		if err := m.configure(fs); err != nil {
			return err
		}
		if err := unix.FsconfigReconfigure(fs); err != nil {
			return m.fault("", err, words(fs))
		}
	}
	return m.setAttributes(unix.AT_FDCWD, m.Target, 0)
}

// long tells whether a value is too long for fsconfig.
func (m *Mount) long() bool {
	for _, word := range m.Options.FS {
		if _, value, _ := strings.Cut(word, "="); len(value) > maxValue {
			return true
		}
	}
	return len(m.Source) > maxValue
}

// flags are what mount(2) has for attributes.
var flags = map[uint64]uintptr{
	unix.MOUNT_ATTR_RDONLY: unix.MS_RDONLY, unix.MOUNT_ATTR_NOSUID: unix.MS_NOSUID, unix.MOUNT_ATTR_NODEV: unix.MS_NODEV,
	unix.MOUNT_ATTR_NOEXEC: unix.MS_NOEXEC, unix.MOUNT_ATTR_NODIRATIME: unix.MS_NODIRATIME, unix.MOUNT_ATTR_NOATIME: unix.MS_NOATIME,
	unix.MOUNT_ATTR_STRICTATIME: unix.MS_STRICTATIME, unix.MOUNT_ATTR_NOSYMFOLLOW: unix.MS_NOSYMFOLLOW,
}

// superFlags are parameters that mount(2) has flags for.
var superFlags = map[string]uintptr{"sync": unix.MS_SYNCHRONOUS, "dirsync": unix.MS_DIRSYNC, "lazytime": unix.MS_LAZYTIME, "mand": unix.MS_MANDLOCK,
	"ro": 0, "rw": 0, "async": 0, "nolazytime": 0, "nomand": 0}

// old mounts by mount(2).
func (m *Mount) old() error {
	var bits uintptr
	for attr, flag := range flags {
		if m.Options.Set&attr != 0 {
			bits |= flag
		}
	}
	var data []string
	for _, word := range m.Options.FS {
		if flag, ok := superFlags[word]; ok {
			bits |= flag
		} else {
			data = append(data, word)
		}
	}
	if err := unix.Mount(m.Source, m.Target, m.Type, bits, strings.Join(data, ",")); err != nil {
		return m.fault("", err, "")
	}
	return nil
}

// helper gives the program that mounts a type.
func (m *Mount) helper() string {
	if m.Type == "" || strings.ContainsAny(m.Type, "/\x00") {
		return ""
	}
	for _, dir := range []string{"/sbin", "/usr/sbin"} {
		p := dir + "/mount." + m.Type
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// attributeWords are the attributes' names for a helper.
var attributeWords = []struct {
	bit  uint64
	word string
}{{unix.MOUNT_ATTR_NOSUID, "nosuid"}, {unix.MOUNT_ATTR_NODEV, "nodev"}, {unix.MOUNT_ATTR_NOEXEC, "noexec"}, {unix.MOUNT_ATTR_NOATIME, "noatime"}, {unix.MOUNT_ATTR_NODIRATIME, "nodiratime"}, {unix.MOUNT_ATTR_STRICTATIME, "strictatime"}}

// run runs a helper. That os/exec may be used here is told in package fsck.
func (m *Mount) run(ctx context.Context, helper string) error {
	list := m.Options.FS
	for _, a := range attributeWords {
		if m.Options.Set&a.bit != 0 {
			list = append(list[:len(list):len(list)], a.word)
		}
	}
	args := []string{m.Source, m.Target}
	if len(list) > 0 {
		args = append(args, "-o", strings.Join(list, ","))
	}
	cmd := exec.CommandContext(ctx, helper, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return m.fault(helper, err, strings.TrimSpace(string(out[max(0, len(out)-1024):])))
	}
	return nil
}

// At tells whether something is mounted at a path (statx(2), Linux 5.8).
func At(path string) bool {
	var stx unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, 0, 0, &stx)
	return err == nil && stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
