package runtime

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestGroupOwner(t *testing.T) {
	cgroupNS := specs.LinuxNamespace{Type: specs.CgroupNamespace}
	userNS := specs.LinuxNamespace{Type: specs.UserNamespace}
	mount := func(options ...string) []specs.Mount {
		return []specs.Mount{{Source: "cgroup", Destination: "/sys/fs/cgroup", Type: "cgroup", Options: options}}
	}
	for name, c := range map[string]struct {
		namespaces []specs.LinuxNamespace
		mounts     []specs.Mount
		user       uint32
		want       int // 0: nobody
	}{
		"user":         {[]specs.LinuxNamespace{cgroupNS}, mount("rw"), 1000, 1000},
		"root":         {[]specs.LinuxNamespace{cgroupNS}, mount(), 0, 0},
		"mapped root":  {[]specs.LinuxNamespace{cgroupNS, userNS}, mount(), 0, 100000},
		"mapped user":  {[]specs.LinuxNamespace{cgroupNS, userNS}, mount(), 5, 100005},
		"unmapped":     {[]specs.LinuxNamespace{cgroupNS, userNS}, mount(), 10, 0},
		"read-only":    {[]specs.LinuxNamespace{cgroupNS}, mount("nosuid", "ro"), 1000, 0},
		"no mount":     {[]specs.LinuxNamespace{cgroupNS}, nil, 1000, 0},
		"no namespace": {nil, mount(), 1000, 0},
		"joined":       {[]specs.LinuxNamespace{{Type: specs.CgroupNamespace, Path: "/proc/1/ns/cgroup"}}, mount(), 1000, 0},
		"joined user":  {[]specs.LinuxNamespace{cgroupNS, {Type: specs.UserNamespace, Path: "/proc/1/ns/user"}}, mount(), 1000, 0},
	} {
		s := &specs.Spec{
			Process: &specs.Process{User: specs.User{UID: c.user}}, Mounts: c.mounts,
			Linux: &specs.Linux{Namespaces: c.namespaces, UIDMappings: []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 10}}},
		}
		uid, ok := groupOwner(s)
		if ok != (c.want != 0) || ok && uid != c.want {
			t.Errorf("%s: %d, %v", name, uid, ok)
		}
	}
	if _, ok := groupOwner(&specs.Spec{}); ok {
		t.Error("an empty bundle's group has an owner")
	}
}
