package isolate

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

func (r *RootFS) empty() bool { return !r.Host && r.Path == "" && len(r.Layers) == 0 }

// validateBare checks what only a bare container has, and what it cannot have.
func (s *Spec) validateBare() error {
	for what, hooks := range map[string][]Hook{"createContainer": s.CreateContainer, "startContainer": s.StartContainer} {
		for i := range hooks {
			if err := hooks[i].check(); err != nil {
				return fmt.Errorf("%s hook %d: %w", what, i+1, err)
			}
		}
	}
	if !s.Bare {
		return s.checkBuiltin()
	}
	if s.RootFS.Host {
		return errors.New("a bare container on the host's root: give the path / instead")
	}
	if u := s.Namespaces.User; u != nil && u.Join == nil && s.Namespaces.Mount.Mode == NSJoin {
		return errors.New("a container with a new user namespace cannot join a mount namespace, which belongs to another one")
	}
	if s.Namespaces.User != nil && s.Namespaces.Mount.Mode == NSHost {
		return errors.New("a container with a user namespace cannot be in the host's mount namespace, where it may not mount")
	}
	if s.Namespaces.Mount.Mode == NSHost && slices.ContainsFunc(s.Mounts, func(m Mount) bool { return m.Propagation&^unix.MS_REC == unix.MS_UNBINDABLE }) {
		return errors.New("an unbindable mount cannot be taken to the host's mount namespace: give the container one of its own")
	}
	if s.keepsRoot() && len(s.Mounts)+len(s.Devices)+len(s.MaskedPaths)+len(s.ReadonlyPaths)+len(s.CreateContainer) > 0 {
		return errors.New("a container that keeps the root of the mount namespace it joins cannot have mounts, devices, masks and createContainer hooks")
	}
	for i := range s.Mounts {
		if err := s.Mounts[i].checkBare(); err != nil {
			return fmt.Errorf("mount %d: %w", i+1, err)
		}
	}
	for _, d := range s.Devices {
		if d.Make == nil {
			return fmt.Errorf("device %s: in a bare container it needs its type and number", d.Path)
		}
	}
	if s.Process.Console {
		i := slices.IndexFunc(s.Mounts, func(m Mount) bool {
			return m.Type == FileSystem && m.FSType == "devpts" && path.Clean(m.Target) == "/dev/pts" && !m.long()
		})
		if i < 0 || s.bindsDev() {
			return errors.New("a console needs a devpts of the container's own on /dev/pts, and no /dev of the host")
		}
	}
	return nil
}

// checkBuiltin refuses what a container with the built-in mounts does not have.
func (s *Spec) checkBuiltin() error {
	for _, f := range []struct {
		name string
		set  bool
	}{{"NoPivot", s.NoPivot}, {"CreateContainer", len(s.CreateContainer) > 0}, {"SyncRuntime", s.SyncRuntime}, {"another mount namespace than a new one", s.Namespaces.Mount.Mode != NSNew},
		{"Process.Console", s.Process.Console}} {
		if f.set {
			return fmt.Errorf("%s is for bare containers only", f.name)
		}
	}
	for i := range s.Mounts {
		m := &s.Mounts[i]
		if m.Type > Volume || m.FSType != "" || m.Data != nil || m.Set|m.Clear|m.SetRecursive|m.ClearRecursive != 0 || m.CopyUp || m.NoSymlinks {
			return fmt.Errorf("mount %d: its type or one of its options is for bare containers only", i+1)
		}
	}
	for _, d := range s.Devices {
		if d.Make != nil {
			return fmt.Errorf("device %s: a node with a number of its own is for bare containers only", d.Path)
		}
	}
	return nil
}
