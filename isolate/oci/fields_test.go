package oci

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// What becomes of a field.
const (
	spec    = "part of the container"
	groups  = "limits of its control groups"
	caller  = "done by the command line"
	exec    = "for processes that are added"
	refused = "refused"
)

// decisions is every field that the runtime-spec has for Linux.
var decisions = map[string]string{
	"ociVersion": "checked", "annotations": caller, "hostname": spec, "domainname": spec,
	"windows": refused, "solaris": refused, "vm": refused, "zos": refused, "freebsd": refused,
	"root.path": spec, "root.readonly": spec,

	"process.terminal": spec, "process.consoleSize.height": spec, "process.consoleSize.width": spec,
	"process.user.uid": spec, "process.user.gid": spec, "process.user.umask": spec, "process.user.additionalGids": spec, "process.user.username": refused,
	"process.args": spec, "process.commandLine": refused, "process.env": spec, "process.cwd": spec,
	"process.capabilities.bounding": spec, "process.capabilities.effective": spec, "process.capabilities.inheritable": spec,
	"process.capabilities.permitted": spec, "process.capabilities.ambient": spec,
	"process.rlimits[].type": spec, "process.rlimits[].hard": spec, "process.rlimits[].soft": spec,
	"process.noNewPrivileges": spec, "process.apparmorProfile": spec, "process.selinuxLabel": spec, "process.oomScoreAdj": spec,
	"process.scheduler.policy": spec, "process.scheduler.nice": spec, "process.scheduler.priority": spec, "process.scheduler.flags": spec,
	"process.scheduler.runtime": spec, "process.scheduler.deadline": spec, "process.scheduler.period": spec,
	"process.ioPriority.class": spec, "process.ioPriority.priority": spec,
	"process.execCPUAffinity.initial": exec, "process.execCPUAffinity.final": exec,

	"mounts[].destination": spec, "mounts[].type": spec, "mounts[].source": spec, "mounts[].options": spec,
	"mounts[].uidMappings[].containerID": spec, "mounts[].uidMappings[].hostID": spec, "mounts[].uidMappings[].size": spec,
	"mounts[].gidMappings[].containerID": spec, "mounts[].gidMappings[].hostID": spec, "mounts[].gidMappings[].size": spec,

	"linux.uidMappings[].containerID": spec, "linux.uidMappings[].hostID": spec, "linux.uidMappings[].size": spec,
	"linux.gidMappings[].containerID": spec, "linux.gidMappings[].hostID": spec, "linux.gidMappings[].size": spec,
	"linux.sysctl": spec, "linux.cgroupsPath": groups, "linux.resources": groups,
	"linux.namespaces[].type": spec, "linux.namespaces[].path": spec,
	"linux.devices[].path": spec, "linux.devices[].type": spec, "linux.devices[].major": spec, "linux.devices[].minor": spec,
	"linux.devices[].fileMode": spec, "linux.devices[].uid": spec, "linux.devices[].gid": spec,
	"linux.netDevices": caller, "linux.intelRdt": refused,
	"linux.memoryPolicy.mode": spec, "linux.memoryPolicy.nodes": spec, "linux.memoryPolicy.flags": spec,
	"linux.seccomp.defaultAction": spec, "linux.seccomp.defaultErrnoRet": spec, "linux.seccomp.architectures": spec, "linux.seccomp.flags": spec,
	"linux.seccomp.listenerPath": caller, "linux.seccomp.listenerMetadata": caller,
	"linux.seccomp.syscalls[].names": spec, "linux.seccomp.syscalls[].action": spec, "linux.seccomp.syscalls[].errnoRet": spec,
	"linux.seccomp.syscalls[].args[].index": spec, "linux.seccomp.syscalls[].args[].value": spec,
	"linux.seccomp.syscalls[].args[].valueTwo": spec, "linux.seccomp.syscalls[].args[].op": spec,
	"linux.rootfsPropagation": spec, "linux.maskedPaths": spec, "linux.readonlyPaths": spec, "linux.mountLabel": spec,
	"linux.personality.domain": spec, "linux.personality.flags": refused,
	"linux.timeOffsets[].secs": spec, "linux.timeOffsets[].nanosecs": spec,

	"hooks.prestart": caller, "hooks.createRuntime": caller, "hooks.poststart": caller, "hooks.poststop": caller,
	"hooks.createContainer[].path": spec, "hooks.createContainer[].args": spec, "hooks.createContainer[].env": spec, "hooks.createContainer[].timeout": spec,
	"hooks.startContainer[].path": spec, "hooks.startContainer[].args": spec, "hooks.startContainer[].env": spec, "hooks.startContainer[].timeout": spec,
}

// fieldPaths lists the leaves of a type, but for what was decided on as a whole.
func fieldPaths(t reflect.Type, path string, out map[string]bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if _, whole := decisions[path]; whole {
		out[path] = true
		return
	}
	switch {
	case t.Kind() == reflect.Struct:
		for _, f := range reflect.VisibleFields(t) {
			if !f.Anonymous {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				fieldPaths(f.Type, dot(path, name), out)
			}
		}
	case (t.Kind() == reflect.Slice || t.Kind() == reflect.Map) && t.Elem().Kind() == reflect.Struct:
		fieldPaths(t.Elem(), path+"[]", out)
	default:
		out[path] = true
	}
}

// TestEveryFieldIsDecidedOn fails when the runtime-spec has gained a field.
func TestEveryFieldIsDecidedOn(t *testing.T) {
	found := map[string]bool{}
	fieldPaths(reflect.TypeFor[specs.Spec](), "", found)
	for _, path := range slices.Sorted(maps.Keys(found)) {
		if decisions[path] == "" {
			t.Errorf("%s: nobody has decided what becomes of it", path)
		}
	}
	for path := range decisions {
		if !found[path] {
			t.Errorf("%s is not a field of the runtime-spec", path)
		}
	}
}
