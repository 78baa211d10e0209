package main

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/isolate/runtime"
)

// A program that is not there is told at create, in the words that podman and
// docker make their exit codes 127 and 126 of, and nothing is left.
func TestMissingProgram(t *testing.T) {
	w := newWorld(t)
	for arg, want := range map[string]string{
		"nonexistent":       `unable to start container process: exec: "nonexistent": executable file not found in $PATH`,
		"/nonexistent":      `exec: "/nonexistent": stat /nonexistent: no such file or directory`,
		"/bin/true/nothing": `exec: "/bin/true/nothing": not a directory`,
		"/etc":              `exec: "/etc": permission denied`,
		"/config":           `exec: "/config": permission denied`,
	} {
		bundle := w.bundle(func(c *specs.Spec) {
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/config", Type: "bind", Source: "config.json", Options: []string{"bind"}})
		}, arg)
		for _, verb := range []string{"create", "run"} {
			id := w.id()
			w.fails(1, "berth-oci "+verb+" failed: ", verb, "-b", bundle, id)
			w.fails(1, want, verb, "-b", bundle, id)
			w.fails(1, "container does not exist", "state", id)
		}
	}
}

// A script whose interpreter is missing is not said to be missing itself: the
// interpreter is named, by whatever command finds out.
func TestMissingInterpreter(t *testing.T) {
	const want = `exec /bin/script: no such file or directory: its interpreter "/nonexistent" is not there`
	w := newWorld(t)
	script := func(bundle string) {
		w.shell(bundle, "printf '#! /nonexistent -x\\n' >rootfs/bin/script; chmod +x rootfs/bin/script")
	}
	for _, arg := range []string{"/bin/script", "script"} {
		bundle := w.bundle(func(c *specs.Spec) { c.Process.Env = []string{"PATH=/sbin:/bin"} }, arg)
		script(bundle)
		w.fails(1, want, "run", "-b", bundle, w.id())
		id := w.id()
		w.run("create", "-b", bundle, id)
		pid := w.state(id).PID
		w.fails(1, want, "start", id)
		w.ended(pid)
		w.run("delete", id)
	}
	bundle := w.bundle(func(c *specs.Spec) { c.Process.Env = []string{"PATH=/sbin:/bin"} }, "/bin/sleep", "1000")
	script(bundle)
	id := w.id()
	w.run("run", "-d", "-b", bundle, id)
	for _, arg := range []string{"/bin/script", "script", "bin/script"} {
		w.fails(255, want, "exec", id, arg)
	}
	w.run("delete", "-f", id)
}

// What only executing shows is told at start; the container is then stopped.
func TestStartFails(t *testing.T) {
	w := newWorld(t)
	bundle := w.bundle(func(c *specs.Spec) { c.Process.User = specs.User{UID: 1000, GID: 1000} }, "/secret/true")
	w.shell(bundle, "mkdir -m 700 rootfs/secret && cp rootfs/bin/busybox rootfs/secret/true")
	id := w.id()
	w.run("create", "-b", bundle, id)
	pid := w.state(id).PID
	w.fails(1, `exec: "/secret/true": permission denied`, "start", id)
	w.ended(pid)
	w.want(id, runtime.Stopped)
	w.fails(1, "cannot start a container that has stopped", "start", id)
	w.run("delete", id)
}
