package runtime

import (
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/isolate/program"
)

// Record is what is kept of a container between commands: state.json.
type Record struct {
	Version     string            `json:"ociVersion"` // of its config.json
	ID          string            `json:"id"`
	Bundle      string            `json:"bundle"` // absolute
	Rootfs      string            `json:"rootfs"` // absolute
	Created     time.Time         `json:"created"`
	Owner       int               `json:"owner"` // uid of who made it
	Annotations map[string]string `json:"annotations,omitempty"`

	// Creator is the command that makes the container, until it has: nil afterwards.
	Creator *Identity `json:"creator,omitempty"`
	// Process is the container's first process; nil until it is forked.
	Process *Identity `json:"process,omitempty"`
	// Gate tells that the process waits at the FIFO of that name until Start, or did.
	Gate bool `json:"gate,omitempty"`
	// SharedPID tells that the container has no PID namespace of its own, so that
	// its processes do not end with the first one.
	SharedPID bool `json:"sharedPid,omitempty"`

	// Groups are the directories of its control groups by v1 controller, and by ""
	// on v2. They may be none, and need not exist any more.
	Groups map[string]string `json:"groups,omitempty"`

	Poststart []specs.Hook `json:"poststart,omitempty"`
	Poststop  []specs.Hook `json:"poststop,omitempty"`

	// Steps are those of the process from the gate on, so that Start can tell what
	// failed, and Args what it executes; nothing for a container without process.
	Steps []Step   `json:"steps,omitempty"`
	Args  []string `json:"args,omitempty"`
}

// Step is a step of the process' start that a report can be about.
type Step struct {
	Number  int           `json:"number"` // of the program's inside steps
	Sys     program.Sys   `json:"sys"`
	Path    string        `json:"path,omitempty"`
	Why     string        `json:"why"`
	Hint    string        `json:"hint,omitempty"`
	Want    uint64        `json:"want,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"`
}

// State is what `state` prints of a container, and `list` a line of.
type State struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"` // 0 when it is stopped
	Status      Status            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

// Status is where in its life a container is.
type Status string

// The statuses: those of the OCI runtime-spec, and paused.
const (
	Creating Status = "creating"
	Created  Status = "created"
	Running  Status = "running"
	Paused   Status = "paused"
	Stopped  Status = "stopped"
)

// hookState is the state as hooks get it on standard input.
func (r *Record) hookState(status Status, pid int) specs.State {
	return specs.State{
		Version: specs.Version, ID: r.ID, Status: specs.ContainerState(status), Pid: pid,
		Bundle: r.Bundle, Annotations: r.Annotations,
	}
}
