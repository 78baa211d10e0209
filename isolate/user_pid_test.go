package isolate

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A container with a user namespace of its own in the PID namespace of another one:
// what it shows and may is as without, and what is sent into it is in both.
func TestNewUsersInAJoinedPIDNamespace(t *testing.T) {
	needRoot(t)
	if !ShowsPIDNamespaces() {
		t.Skip("this kernel shows a PID namespace to those in it only (before Linux 6.17)")
	}
	first, target := background(t, hostSpec("sleep", "300"))
	ids := IDMap{UIDs: []IDRange{{0, 300000, 65536}}, GIDs: []IDRange{{0, 300000, 65536}}}
	const look = `readlink /proc/self/ns/pid; tr '\0' ' ' </proc/1/cmdline; echo; cat /proc/self/uid_map | tr -s ' '; id -u; grep CapBnd /proc/self/status
		for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern; do (echo x >$f) 2>/dev/null && echo "written: $f"; done
		head -c1 /proc/kcore /proc/1/environ /proc/1/mem 2>/dev/null; ls /proc/1/root/ /proc/1/fd 2>/dev/null; exit 0`
	want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first.PID))
	if err != nil {
		t.Fatal(err)
	}
	want += "\nsleep 300 \n 0 300000 65536\n0\nCapBnd:\t0000000000000000"
	spec := shell(look)
	spec.Namespaces.PID = Namespace{Mode: NSJoin, Process: "first"}
	spec.Namespaces.User = &UserNamespace{Map: ids}
	files := Files{Processes: map[string]*os.File{"first": target}}
	equal(t, "inside", strings.ReplaceAll(runWith(t, spec, files), "==> /proc/kcore <==\n", ""), want)
	spec.Process.Args = []string{"sleep", "300"}
	_, second := backgroundWith(t, spec, files)
	out, ws, err := execInUsers(t, second, &Process{Args: []string{"/bin/sh", "-c", look}})
	if err != nil || ws != 0 {
		t.Fatalf("%#x, %v", uint32(ws), err)
	}
	equal(t, "exec", strings.ReplaceAll(strings.TrimSpace(out), "==> /proc/kcore <==\n", ""), want)
}
