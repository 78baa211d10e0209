package runtime

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"berth/isolate"
	"berth/isolate/cgroup/ocigroup"
)

// Runtime is a place where containers are kept. Its methods may be used by any
// number of processes and goroutines at the same time.
type Runtime struct {
	store     *store
	inherited int
	rootless  bool // groups that cannot be made are gone without
	warn      func(message string)
}

// Options says how to open a Runtime.
type Options struct {
	// Root is the directory that has one for each container; "" is
	// /run/berth-oci, and for others than root $XDG_RUNTIME_DIR/berth-oci.
	Root string
	// Rootless tells whether missing privileges over control groups are
	// passed over; nil: only where this user, or its user namespace, has none.
	Rootless *bool
	// Inherited is what the function of that name gave.
	Inherited int
	// Warn takes what is worth saying but no failure; nil: nobody.
	Warn func(message string)
}

// New opens the root directory, and makes it if it is missing.
func New(o Options) (*Runtime, error) {
	root := o.Root
	if root == "" {
		root = "/run/berth-oci"
		if dir := os.Getenv("XDG_RUNTIME_DIR"); os.Geteuid() != 0 && dir != "" {
			if !filepath.IsAbs(dir) {
				return nil, fmt.Errorf("cannot keep containers below XDG_RUNTIME_DIR: %q is not an absolute path", dir)
			}
			root = filepath.Join(dir, "berth-oci")
		}
	}
	s, err := openStore(root)
	if err != nil {
		return nil, err
	}
	rt := &Runtime{store: s, inherited: o.Inherited, warn: o.Warn}
	if rt.warn == nil {
		rt.warn = func(string) {}
	}
	if o.Rootless != nil {
		rt.rootless = *o.Rootless
	} else {
		nested, _ := isolate.InUserNamespace()
		rt.rootless = os.Geteuid() != 0 || nested
	}
	return rt, nil
}

// group gives the control groups of a container. The caller closes them.
func (r *Record) group() (*ocigroup.Group, error) { return ocigroup.Load(r.Groups) }

// withGroup does something to the control groups of a container.
func (rt *Runtime) withGroup(r *Record, do func(*ocigroup.Group) error) error {
	g, err := r.group()
	if err != nil {
		return err
	}
	defer g.Close()
	return do(g)
}

// status finds out where in its life a container is, and gives a pidfd of its
// first process while that lives, else -1. The caller closes it.
func (rt *Runtime) status(r *Record) (Status, int, error) {
	pidfd := -1
	if r.Process != nil {
		fd, err := r.Process.open()
		if err != nil && err != errGone {
			return "", -1, err
		}
		pidfd = fd
	}
	if r.Creator != nil {
		making, err := r.Creator.alive()
		if err != nil {
			closeFD(pidfd)
			return "", -1, err
		}
		if making || pidfd >= 0 {
			return Creating, pidfd, nil
		}
	}
	if pidfd < 0 {
		return Stopped, -1, nil
	}
	group, err := r.group()
	if err != nil {
		closeFD(pidfd)
		return "", -1, err
	}
	defer group.Close()
	if frozen, err := group.Frozen(); err == nil && frozen {
		return Paused, pidfd, nil
	} else if err != nil {
		rt.warn(fmt.Sprintf("cannot tell whether container %q is paused: %v", r.ID, err))
	}
	if r.Gate && rt.atGate(r.ID) {
		return Created, pidfd, nil
	}
	return Running, pidfd, nil
}

// look reads a container's record and asks for its status. The caller closes the
// pidfd with closeFD; it is -1 where there is no process.
func (rt *Runtime) look(id string) (r *Record, status Status, pidfd int, err error) {
	if r, err = rt.store.read(id); err != nil {
		return nil, "", -1, err
	}
	if status, pidfd, err = rt.status(r); err != nil {
		return nil, "", -1, err
	}
	return r, status, pidfd, nil
}

// state describes a container.
func (rt *Runtime) state(r *Record) (*State, error) {
	status, pidfd, err := rt.status(r)
	if err != nil {
		return nil, err
	}
	closeFD(pidfd)
	s := &State{
		Version: r.Version, ID: r.ID, Status: status, Bundle: r.Bundle, Rootfs: r.Rootfs,
		Created: r.Created, Annotations: r.Annotations,
	}
	if r.Process != nil && status != Stopped {
		s.PID = r.Process.PID
	}
	return s, nil
}

// State describes a container. ErrNotExist if there is none of that name.
func (rt *Runtime) State(id string) (*State, error) {
	r, err := rt.store.read(id)
	if err != nil {
		return nil, err
	}
	return rt.state(r)
}

// List describes all containers, in the order of their names, with their
// owners. One that is deleted meanwhile is left out.
func (rt *Runtime) List() ([]State, error) {
	ids, err := rt.store.ids()
	if err != nil {
		return nil, err
	}
	var all []State
	for _, id := range ids {
		r, err := rt.store.read(id)
		if err == ErrNotExist {
			continue
		}
		var s *State
		if err == nil {
			s, err = rt.state(r)
		}
		if err != nil {
			rt.warn(err.Error())
			continue
		}
		s.Owner = ownerName(r.Owner)
		all = append(all, *s)
	}
	return all, nil
}

func ownerName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "#" + strconv.Itoa(uid)
}
