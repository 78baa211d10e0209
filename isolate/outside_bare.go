package isolate

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
	"berth/isolate/user"
)

type targetModeData struct {
	rootFD int
	target string
	list   int
}

// lookupUser finds who the program runs as. With ids given, nothing that the
// root file system says can fail the start: a home that cannot be found is /.
func lookupUser(root int, d lookupData) (*user.User, error) {
	if d.given == nil {
		return user.Lookup(root, d.user, d.group, d.groups)
	}
	u := &user.User{UID: d.given.UID, GID: d.given.GID, Groups: d.given.Groups, Home: "/"}
	if d.rootFD == program.None || hasHome(d.env) {
		return u, nil
	}
	if found, err := user.Lookup(root, strconv.FormatUint(uint64(d.given.UID), 10), "", nil); err == nil && found.UID == u.UID && !strings.ContainsRune(found.Home, 0) {
		u.Home = found.Home
	}
	return u, nil
}

func hasEnv(env []string, name string) bool {
	for _, e := range env {
		if strings.HasPrefix(e, name+"=") {
			return true
		}
	}
	return false
}

// hasHome tells whether env has a HOME with something in it. An empty one says
// as little as none.
func hasHome(env []string) bool { return hasEnv(env, "HOME") && !slices.Contains(env, "HOME=") }

// withHome gives env with HOME, if it has none.
func withHome(env []string, home string) []string {
	if hasHome(env) {
		return env
	}
	rest := slices.DeleteFunc(slices.Clone(env), func(e string) bool { return e == "HOME=" })
	return append(rest, "HOME="+home)
}

// targetMode finds the mode of the directory that a tmpfs is to lie on, if it is there.
func (pr *Prepared) targetMode(d targetModeData) error {
	how := unix.OpenHow{Flags: pathDir, Resolve: inRoot}
	fd, err := unix.Openat2(int(pr.regs[d.rootFD]), d.target, &how)
	if err != nil {
		return nil // it is made, or its failure told, when it is mounted on
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	pr.lists[d.list-1] = append(pr.lists[d.list-1], listItem{path: "0" + strconv.FormatUint(uint64(st.Mode&0o7777), 8), fd: -1})
	return nil
}
