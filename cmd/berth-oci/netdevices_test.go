package main

import (
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// linux.netDevices come to the container with their addresses and up, before hooks
// of the runtime's namespaces run; one that is not there ends the start.
func TestNetDevices(t *testing.T) {
	w := newWorld(t)
	goruntime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"link add v0 type veth peer name v1", "addr add 192.0.2.1/24 dev v0", "link set v1 up"} {
		if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", c, err, out)
		}
	}
	seen := w.dir + "/seen"
	with := func(devices map[string]specs.LinuxNetDevice) func(*specs.Spec) {
		return func(c *specs.Spec) {
			c.Linux.NetDevices = devices
			c.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "ip link > " + seen}, Env: []string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin"}}}}
		}
	}
	id := w.id()
	w.fails(1, "cannot move the network device v9: there is none of that name", "create", "-b", w.bundle(with(map[string]specs.LinuxNetDevice{"v0": {}, "v9": {}}), "true"), id)
	if out, err := exec.Command("ip", "addr", "show", "dev", "v0").CombinedOutput(); err != nil || !strings.Contains(string(out), "192.0.2.1/24") {
		t.Errorf("v0 is not as it was: %v: %s", err, out)
	}
	out := w.run("run", "-b", w.bundle(with(map[string]specs.LinuxNetDevice{"v0": {Name: "eth9"}}), "busybox", "ip", "addr", "show", "eth9"), id)
	for _, want := range []string{",UP", "192.0.2.1/24"} {
		if !strings.Contains(out, want) {
			t.Errorf("in the container there is no %s: %s", want, out)
		}
	}
	if text, err := os.ReadFile(seen); err != nil || strings.Contains(string(text), "v0") || !strings.Contains(string(text), "v1") {
		t.Errorf("a hook has seen %v: %s", err, text)
	}
}
