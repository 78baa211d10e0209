package runtime

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/isolate/cgroup/ocigroup"
)

// Update changes the limits of a container that has not stopped. What resources
// leaves out stays as it is.
func (rt *Runtime) Update(id string, resources *specs.LinuxResources) error {
	return rt.change(id, func(r *Record, status Status, g *ocigroup.Group) error {
		if status == Stopped {
			return ErrNotRunning
		}
		return g.Set(resources)
	})
}
