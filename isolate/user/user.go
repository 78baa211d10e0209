// Package user looks users and groups up in the /etc/passwd and /etc/group of
// a root file system that is not trusted: files are opened inside it only, must
// be regular, are read up to a bound, and entries that make no sense are no entries.
package user

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read of a file; maxGroups is NGROUPS_MAX of the kernel.
// maxTries is how often a look-up is tried that others' renames and mounts disturb.
const (
	maxFile   = 8 << 20
	maxGroups = 65536
	maxTries  = 100
)

// User is who a process runs as.
type User struct {
	Name   string // "" when an id has no entry
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary
	Home   string
	Shell  string
}

// entry is a line of /etc/passwd.
type entry struct {
	name        string
	uid, gid    uint32
	home, shell string
}

// group is a line of /etc/group.
type group struct {
	name    string
	gid     uint32
	members []string
}

// Lookup finds a user by name or id; "" is root. An id needs no entry: its
// home is then / and its group, unless one is given, has the same number as it.
// groupName is a name or id too, "" the user's primary group. Groups are those
// that list the user, and extra. root is a descriptor of the root directory.
func Lookup(root int, userName, groupName string, extra []string) (*User, error) {
	if userName == "" {
		userName = "0"
	}
	passwd, err := read(root, "etc/passwd")
	if err != nil {
		return nil, err
	}
	u := &User{Home: "/"}
	if e, ok := findUser(passwd, userName); ok {
		*u = User{Name: e.name, UID: e.uid, GID: e.gid, Home: e.home, Shell: e.shell}
		if !strings.HasPrefix(u.Home, "/") {
			u.Home = "/"
		}
	} else if id, ok := number(userName); ok {
		u.UID, u.GID = id, id
	} else {
		return nil, fmt.Errorf("there is no user %q in the root's /etc/passwd", userName)
	}
	file, err := read(root, "etc/group")
	if err != nil {
		return nil, err
	}
	groups := parseGroups(file)
	if groupName != "" {
		if u.GID, err = findGroup(groups, groupName); err != nil {
			return nil, err
		}
	}
	for _, g := range groups {
		if u.Name != "" && slices.Contains(g.members, u.Name) {
			u.Groups = append(u.Groups, g.gid)
		}
	}
	for _, name := range extra {
		gid, err := findGroup(groups, name)
		if err != nil {
			return nil, err
		}
		u.Groups = append(u.Groups, gid)
	}
	slices.Sort(u.Groups)
	u.Groups = slices.Compact(u.Groups)
	if len(u.Groups) > maxGroups {
		return nil, fmt.Errorf("user %q is in %d groups, the kernel takes %d", userName, len(u.Groups), maxGroups)
	}
	return u, nil
}

// findUser prefers a name to an id, as chown(1) does.
func findUser(passwd []byte, want string) (entry, bool) {
	id, isID := number(want)
	var byID *entry
	for line := range bytes.Lines(passwd) {
		f := strings.Split(strings.TrimRight(string(line), "\n"), ":")
		if len(f) < 7 || f[0] == "" {
			continue
		}
		uid, ok := number(f[2])
		gid, ok2 := number(f[3])
		if !ok || !ok2 {
			continue
		}
		e := entry{f[0], uid, gid, f[5], f[6]}
		if e.name == want {
			return e, true
		}
		if isID && uid == id && byID == nil {
			byID = &e
		}
	}
	if byID != nil {
		return *byID, true
	}
	return entry{}, false
}

func parseGroups(file []byte) []group {
	var groups []group
	for line := range bytes.Lines(file) {
		f := strings.Split(strings.TrimRight(string(line), "\n"), ":")
		if len(f) < 4 || f[0] == "" {
			continue
		}
		if gid, ok := number(f[2]); ok {
			groups = append(groups, group{f[0], gid, strings.Split(f[3], ",")})
		}
	}
	return groups
}

func findGroup(groups []group, want string) (uint32, error) {
	for _, g := range groups {
		if g.name == want {
			return g.gid, nil
		}
	}
	if id, ok := number(want); ok {
		return id, nil
	}
	return 0, fmt.Errorf("there is no group %q in the root's /etc/group", want)
}

// number parses an id. The highest value means "leave unchanged" to the kernel and is none.
func number(s string) (uint32, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 10, 32)
	return uint32(v), err == nil && uint32(v) != ^uint32(0)
}

// read reads a regular file inside root. One that is not there is empty.
func read(root int, name string) ([]byte, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(root, name, &how)
	for tries := 0; err == unix.EAGAIN && tries < maxTries; tries++ { // a rename or mount met a ".." on the way
		fd, err = unix.Openat2(root, name, &how)
	}
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the root's /%s: %w", name, err)
	}
	defer unix.Close(fd)
	// Only a regular file is opened for real: opening a device or FIFO has effects.
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("cannot open the root's /%s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("the root's /%s is not a regular file", name)
	}
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the root's /%s: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the root's /%s: %w", name, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("the root's /%s is larger than %d MiB", name, maxFile>>20)
	}
	return data, nil
}
