package isolate

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A container looks for a way out by control groups: their files on /sys, and
// hierarchies that it mounts itself, of v1 for the sake of release_agent, which
// the kernel executes on the host.
func TestControlGroupsAreNoWayOut(t *testing.T) {
	needRoot(t)
	const admin = uint64(1) << unix.CAP_SYS_ADMIN
	attack := `
		find /sys/fs/cgroup -type f -perm /222 2>/dev/null | while read f; do (echo 0 >$f) 2>/dev/null && echo "written: $f"; done
		find / -xdev -name release_agent 2>/dev/null
		mkdir /tmp/g
		for kind in "cgroup2 none" "cgroup none -o memory" "cgroup none -o pids" "cgroup none -o none,name=berth" "cgroup none -o rdma"; do
			mount -t $kind /tmp/g 2>/dev/null || continue
			echo "mounted: $kind"
			for f in /tmp/g/release_agent /tmp/g/cgroup.procs /tmp/g/notify_on_release; do (echo 0 >$f) 2>/dev/null && echo "written: $f"; done
			umount /tmp/g
		done
		exit 0`
	unified := "/sys/fs/cgroup/unified"
	if _, err := os.Stat(unified + "/cgroup.procs"); err != nil {
		unified = "/sys/fs/cgroup"
	}
	group := unified + "/berth-isolate-attack"
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skip("no group of the test's own can be made:", err)
	}
	defer os.Remove(group)
	dir, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	users := func(s *Spec) {
		s.Namespaces.User = &UserNamespace{Map: IDMap{UIDs: []IDRange{{0, 300000, 65536}}, GIDs: []IDRange{{0, 300000, 65536}}}}
		s.Process.Capabilities = Capabilities{Bounding: admin, Permitted: admin, Effective: admin}
	}
	for name, change := range map[string]func(*Spec){
		"default":                  func(*Spec) {},
		"root of a user namespace": users,
		"of the host's groups":     func(s *Spec) { s.Namespaces.Cgroup.Mode = NSHost },
	} {
		t.Run(name, func(t *testing.T) {
			spec := shell(attack)
			spec.Cgroup.Unified = true
			change(spec)
			for line := range strings.Lines(runWith(t, spec, Files{CgroupDir: dir})) {
				// The kernel lets root of a user namespace mount its own part of a hierarchy,
				// in which nothing is its own to write.
				if !strings.HasPrefix(line, "mounted: ") || name != "root of a user namespace" {
					t.Error(line)
				}
			}
		})
	}
}
