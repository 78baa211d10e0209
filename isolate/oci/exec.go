package oci

import (
	"errors"
	"fmt"

	"berth/isolate"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TranslateExec gives a further process of the container that config describes.
// What p leaves out is the container's: capabilities, limits, labels, the OOM
// score adjustment, scheduler and I/O priority, the processors of exec, and the
// umask; the seccomp filter and the personality always are. config and p are not
// changed. The listener of the container's filter, if it has one, is that of
// Translate. For errors see Translate.
func TranslateExec(config *specs.Spec, p *specs.Process, opt Options) (*isolate.ExecSpec, error) {
	if p == nil {
		return nil, errors.New("cannot execute a process in the container: there is none given")
	}
	t := newTranslator(config, opt)
	t.namespaces()
	if !t.has(specs.MountNamespace) {
		t.fault("linux.namespaces", `start the container with {"type": "mount"}`, "there is no mount namespace, by which alone the container's root is found")
	}
	t.process(withDefaults(p, config.Process))
	t.seccomp(&t.spec.Process)
	if err := t.err(fmt.Sprintf("cannot execute a process in container %q", opt.ID)); err != nil {
		return nil, err
	}
	return &isolate.ExecSpec{
		Name: opt.ID, Process: t.spec.Process,
		PID: t.has(specs.PIDNamespace), Mount: t.has(specs.MountNamespace), UTS: t.has(specs.UTSNamespace),
		IPC: t.has(specs.IPCNamespace), CgroupNS: t.has(specs.CgroupNamespace), Network: t.has(specs.NetworkNamespace),
		User: t.has(specs.UserNamespace), Time: t.has(specs.TimeNamespace),
	}, nil
}

// withDefaults gives p with what it leaves out taken from the container's.
func withDefaults(p, container *specs.Process) *specs.Process {
	if container == nil {
		return p
	}
	out := *p
	if out.Capabilities == nil {
		out.Capabilities = container.Capabilities
	}
	if len(out.Rlimits) == 0 {
		out.Rlimits = container.Rlimits
	}
	if out.ApparmorProfile == "" {
		out.ApparmorProfile = container.ApparmorProfile
	}
	if out.SelinuxLabel == "" {
		out.SelinuxLabel = container.SelinuxLabel
	}
	if out.OOMScoreAdj == nil {
		out.OOMScoreAdj = container.OOMScoreAdj
	}
	if out.Scheduler == nil {
		out.Scheduler = container.Scheduler
	}
	if out.IOPriority == nil {
		out.IOPriority = container.IOPriority
	}
	if out.ExecCPUAffinity == nil {
		out.ExecCPUAffinity = container.ExecCPUAffinity
	}
	if out.User.Umask == nil {
		out.User.Umask = container.User.Umask
	}
	return &out
}
