package isolate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// bareScript prints what a bare container in a user namespace is to have.
const bareScript = `id -u; cat /proc/self/uid_map; stat -c '%u' / /dev /proc/self/; stat -c '%t,%T' /dev/null /dev/tty; echo x >/dev/null && echo null; ls /sys/class/net; hostname
	mkfifo /etc/pipe && echo pipe; touch /etc/new && stat -c %u /etc/new; ls /sys/fs/cgroup >/dev/null && echo groups; ls /dev/pts; cat /proc/kcore 2>/dev/null || echo masked`

func TestBareUserNamespace(t *testing.T) {
	needRoot(t)
	for name, mapped := range map[string]bool{"idmapped": true, "shifted": false} {
		t.Run(name, func(t *testing.T) {
			spec := bareSpec(t, bareScript)
			spec.Devices = []DeviceNode{{Path: "/run/fifo", Make: &Node{Type: 'p', Mode: 0o644}}, {Path: "/dev/full", Make: &Node{Type: 'c', Major: 1, Minor: 7, Mode: 0o666}}}
			m := ownIDs()
			spec.Namespaces.User = &UserNamespace{Map: m}
			if mapped {
				spec.RootFS.IDMap = &m
			} else {
				f, err := os.Open(spec.RootFS.Path)
				if err != nil {
					t.Fatal(err)
				}
				if err := shiftTree(f, &m); err != nil {
					t.Fatal(err)
				}
			}
			// Root of the user namespace need not get to the directory.
			if err := os.Chmod(filepath.Dir(spec.RootFS.Path), 0o700); err != nil {
				t.Fatal(err)
			}
			equal(t, "output", words(run(t, spec)), "0 0 300000 65536 0 0 0 1,3 5,0 null lo bare pipe 0 groups ptmx masked")
		})
	}
}

// What a node in a user namespace would be must be the host's at the same path.
func TestBareUserNamespaceDevices(t *testing.T) {
	needRoot(t)
	m := ownIDs()
	for _, c := range []struct {
		path  string
		node  Node
		errno unix.Errno
	}{{"/dev/null", Node{Type: 'c', Major: 1, Minor: 5}, unix.ENODEV}, {"/dev/not-there", Node{Type: 'c', Major: 1, Minor: 3}, unix.ENOENT},
		{"/dev/zero", Node{Type: 'b', Major: 1, Minor: 5}, unix.ENODEV}} {
		spec := bareSpec(t, "true")
		spec.Namespaces.User = &UserNamespace{Map: m}
		spec.RootFS.IDMap = &m
		spec.Devices = []DeviceNode{{Path: c.path, Make: &c.node}}
		if e := fails(t, spec); e.Errno != c.errno || e.Path != c.path {
			t.Errorf("%s: %v", c.path, e)
		}
	}
}

func TestBareUserNamespaceTimeAndSettings(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "cat /proc/self/timens_offsets; cat /proc/self/oom_score_adj; cat /proc/sys/net/core/somaxconn")
	m, oom := ownIDs(), 200
	spec.Namespaces.User, spec.RootFS.IDMap = &UserNamespace{Map: m}, &m
	spec.Namespaces.Time = &TimeNamespace{Monotonic: 1e9}
	spec.Process.Scheduling.OOMScoreAdjust = &oom
	spec.Sysctl = map[string]string{"net.core.somaxconn": "77"}
	equal(t, "output", words(run(t, spec)), "monotonic 1 0 boottime 0 0 200 77")
}

func TestBareUserNamespaceFailureAtEveryStepLeavesNothing(t *testing.T) {
	needRoot(t)
	spec := bareSpec(t, "echo executed >/etc/main")
	m := ownIDs()
	spec.Namespaces.User, spec.RootFS.IDMap = &UserNamespace{Map: m}, &m
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	spec.Mounts = append([]Mount{{Type: Bind, Source: dir, Target: "/etc"}}, spec.Mounts...)
	failEverywhere(t, spec)
}

func TestBareUnprivileged(t *testing.T) {
	ordinary(t, func(t *testing.T) {
		spec := bareSpec(t, strings.Replace(bareScript, "ls /sys/fs/cgroup >/dev/null && echo groups; ", "", 1))
		var mounts []Mount
		for _, m := range spec.Mounts {
			if m.Type == CgroupFS {
				continue // a user has a part of the groups only where one is delegated
			}
			if m.FSType == "devpts" {
				m.Data = m.Data[:3] // the group tty is not mapped
			}
			mounts = append(mounts, m)
		}
		spec.Mounts = mounts
		equal(t, "output", words(run(t, byUser(spec))), "0 0 1000 1 0 0 0 1,3 5,0 null lo bare pipe 0 ptmx masked")

		spec.Process.Args[2] = "touch /x; cat /etc/y"
		write(t, filepath.Join(spec.RootFS.Path, "etc/y"), "lower\n")
		spec.RootFS.Writable = Ephemeral
		equal(t, "ephemeral", run(t, spec), "lower")
		if _, err := os.Stat(filepath.Join(spec.RootFS.Path, "x")); err == nil {
			t.Error("it was written to the directory itself")
		}
	})
}

// A runtime that is root of a user namespace, as engines without privileges start it, makes no devices.
func TestBareNested(t *testing.T) {
	if os.Getenv("BERTH_NESTED") == "" {
		needRoot(t)
		nested(t)
		return
	}
	spec := bareSpec(t, "stat -c '%t,%T' /dev/null /dev/zero; echo x >/dev/null; id -u")
	equal(t, "output", words(run(t, spec)), "1,3 1,5 0")
}
