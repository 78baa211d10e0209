package cgroup

import (
	"testing"
)

func TestLocate(t *testing.T) {
	for _, c := range []struct {
		root, group string
		dir         string // "": not visible
	}{
		{"/", "/", "/mnt"},
		{"/", "/system.slice/x.service", "/mnt/system.slice/x.service"},
		{"/docker/1", "/docker/1", "/mnt"},
		{"/docker/1", "/docker/1/a", "/mnt/a"},
		{"/docker/1", "/docker/12", ""},
		{"/docker/1", "/", ""},
		{"/", "/../other", ""},
		{"/..", "/..", ""},
		{"/", "/..x", "/mnt/..x"},
	} {
		dir, ok := locate(mountPoint{root: c.root, dir: "/mnt"}, c.group)
		if ok != (c.dir != "") || dir != c.dir {
			t.Errorf("the group %s below a mount of %s is at %q, %v; not %q", c.group, c.root, dir, ok, c.dir)
		}
	}
}

func TestParseMountinfo(t *testing.T) {
	mounts := parseMountinfo(`23 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw shared:4 - tmpfs tmpfs rw,mode=755
32 31 0:29 /docker/a\040b /sys/fs/cgroup/cpu,cpuacct ro,relatime master:1 - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/uni\134fied rw,relatime - cgroup2 cgroup2 rw
broken line
`)
	if len(mounts) != 2 {
		t.Fatalf("%d mounts are found", len(mounts))
	}
	if m := mounts[0]; m.unified || !m.ro || m.root != "/docker/a b" || m.dir != "/sys/fs/cgroup/cpu,cpuacct" {
		t.Errorf("the first is %+v", m)
	}
	if m := mounts[1]; !m.unified || m.ro || m.dir != `/sys/fs/cgroup/uni\fied` {
		t.Errorf("the second is %+v", m)
	}
}

// Hosts without anything to use are told so.
func TestNothingMounted(t *testing.T) {
	for _, mountinfo := range []string{
		"",
		"41 31 0:38 / /nowhere/at/all rw - cgroup2 cgroup2 rw\n",
		"41 31 0:38 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n",
		"41 31 0:38 / /tmp rw - cgroup2 cgroup2 rw\n",
	} {
		tree, err := open(Options{}, mountinfo, "0::/\n")
		if err == nil {
			tree.Close()
			t.Errorf("there are groups with %q", mountinfo)
			continue
		}
		t.Log(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "1:cpu:/a\n0::/\n", "some avg10=0.00 total=1\n")
	f.Fuzz(func(t *testing.T, mountinfo, membership, pressure string) {
		for _, m := range parseMountinfo(mountinfo) {
			for _, group := range parseMembership(membership) {
				if dir, ok := locate(m, group); ok && dir == "" {
					t.Errorf("an empty path for %q", group)
				}
			}
		}
		_, _ = parsePressure(pressure)
		_ = parseKeyed(pressure)
	})
}
