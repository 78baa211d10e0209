package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Chown hands the group to a user, for a container with delegate = true: its v2
// directory and the control files through which one makes, fills and limits
// groups below it, as the kernel lists them in /sys/kernel/cgroup/delegate
// (cgroups(7)). The limits of the group itself stay out of reach. v1 groups are
// not handed over: there, one could raise one's own limits. Without v2 that is
// an UnsupportedError.
func (g *Group) Chown(uid, gid int) error {
	h := g.tree.unified()
	if h == nil {
		return &UnsupportedError{Key: "delegate", Reason: "cgroup v1 groups cannot be handed over safely", Soft: true}
	}
	dir, err := g.dir(h)
	if err != nil {
		return fmt.Errorf("cannot delegate %s: %w", g.name, err)
	}
	defer dir.Close()
	files := []string{"cgroup.procs", "cgroup.threads", "cgroup.subtree_control"}
	if text, err := os.ReadFile("/sys/kernel/cgroup/delegate"); err == nil {
		files = strings.Fields(string(text))
	}
	for _, file := range append(files, ".") {
		if strings.Contains(file, "/") {
			continue
		}
		// A file of a controller that is not here is no loss.
		err := unix.Fchownat(int(dir.Fd()), file, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot delegate %s: %w", g.name, &os.PathError{Op: "chown", Path: dir.Name() + "/" + file, Err: err})
		}
	}
	return nil
}
