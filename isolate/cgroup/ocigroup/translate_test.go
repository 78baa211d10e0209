package ocigroup

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// fakeHost is a group that exists only in words.
type fakeHost struct {
	versions map[string]int // by controller
	files    map[string]string
}

func (h fakeHost) Version(controller string) (int, string) {
	return h.versions[controller], "there is no " + controller + " controller"
}

func (h fakeHost) Has(_, file string) bool { _, is := h.files[file]; return is }

func (h fakeHost) Read(_, file string) (string, error) {
	if text, is := h.files[file]; is {
		return text, nil
	}
	return "", fs.ErrNotExist
}

var v1Host = fakeHost{
	map[string]int{"memory": 1, "cpu": 1, "blkio": 1, "net_cls": 1, "rdma": 1},
	map[string]string{"blkio.weight": "", "blkio.leaf_weight": "", "blkio.weight_device": "", "blkio.leaf_weight_device": "", "blkio.throttle.read_bps_device": ""},
}

var v2Host = fakeHost{
	map[string]int{"": 2, "memory": 2, "cpu": 2, "io": 2, "rdma": 2},
	map[string]string{"io.weight": "", "io.max": "", "memory.swap.max": "", "memory.max": "max", "cpu.max": "", "memory.high": "", "hugetlb.1GB.max": ""},
}

// What no machine at hand has: translated on hosts of words.
func TestTranslate(t *testing.T) {
	weights := &specs.LinuxBlockIO{Weight: ptr(uint16(100)), WeightDevice: []specs.LinuxWeightDevice{{Weight: ptr(uint16(500)), LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: 8, Minor: 16}}}}
	leaf := &specs.LinuxBlockIO{LeafWeight: ptr(uint16(100)), WeightDevice: []specs.LinuxWeightDevice{{LeafWeight: ptr(uint16(300))}}}
	for _, c := range []struct {
		host fakeHost
		r    specs.LinuxResources
		want string // the writes, or the error
	}{
		{v1Host, specs.LinuxResources{BlockIO: weights}, "blkio.weight=100; blkio.weight_device=8:16 500"},
		{v2Host, specs.LinuxResources{BlockIO: weights}, "io.weight=default 910; io.weight=8:16 4950"},
		{v1Host, specs.LinuxResources{BlockIO: leaf}, "blkio.leaf_weight=100; blkio.leaf_weight_device=0:0 300"},
		{v2Host, specs.LinuxResources{BlockIO: leaf}, "CFQ"},
		{v1Host, specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{{}}}}, "neither weight nor leafWeight"},
		{v2Host, specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{{Rate: 0}}}}, "io.max=0:0 rbps=max"},
		{v2Host, specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"b": {HcaHandles: ptr(uint32(3)), HcaObjects: ptr(uint32(4))}, "a": {HcaObjects: ptr(uint32(1))}}},
			"rdma.max=a hca_object=1; rdma.max=b hca_handle=3 hca_object=4"},
		{v1Host, specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"a": {}}}, "neither hcaHandles nor hcaObjects"},
		{v2Host, specs.LinuxResources{Unified: map[string]string{"io.max": "8:0 rbps=1\n8:16 wiops=2", "hugetlb.1GB.max": "3"}}, "hugetlb.1GB.max=3; io.max=8:0 rbps=1; io.max=8:16 wiops=2"},
		{v2Host, specs.LinuxResources{Unified: map[string]string{"pids.max": "1"}}, "there is no pids controller"},
		{v2Host, specs.LinuxResources{Unified: map[string]string{"memory.nothing": "1"}}, "no such control file"},
		{v2Host, specs.LinuxResources{Unified: map[string]string{"../x.y": "1"}}, "not the name"},
		{v1Host, specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}}, "needs cgroup v2"},
		{v2Host, specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(5))}}, "set memory.limit too"},
		{v2Host, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(9)), Swap: ptr(int64(5))}}, "is less than the 9"},
		{v2Host, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(5)), Swap: ptr(int64(5))}}, "memory.swap.max=0; memory.max=5"},
		{v2Host, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(5)), Swap: ptr(int64(-1))}}, "memory.swap.max=max; memory.max=5"},
		{v2Host, specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: ptr(uint64(5))}}, "memory.swappiness is not supported"},
		{v2Host, specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: ptr(true)}}, "memory.disableOOMKiller is not supported"},
		{v2Host, specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: ptr(false)}}, ""},
		{v1Host, specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: ptr(uint64(101))}}, "not between 0 and 100"},
		{v1Host, specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(5))}}, "swapaccount"},
		{v1Host, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(-1))}}, "memory.limit_in_bytes=-1"},
		{v1Host, specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(1))}}, "cpu.shares=2"},
		{v1Host, specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(1 << 19))}}, "is more than 262144"},
		{v1Host, specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimePeriod: ptr(uint64(1))}}, "CONFIG_RT_GROUP_SCHED"},
		{v2Host, specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: ptr(int64(1))}}, "realtimeRuntime is not supported"},
		{v1Host, specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: ptr(int64(2))}}, "must be 0 or 1"},
		{v1Host, specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0"}}, "there is no cpuset controller"},
		{v1Host, specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(0)), Quota: ptr(int64(0)), Period: ptr(uint64(0))}}, ""},
		{v2Host, specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(1))}}, "network.classID is not supported"},
		{v1Host, specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(7))}}, "net_cls.classid=7"},
		{v1Host, specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(7))}}, "there is no pids controller"},
		{v1Host, specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB"}}}, "there is no hugetlb controller"},
		{v1Host, specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, Pids: &specs.LinuxPids{}, BlockIO: &specs.LinuxBlockIO{}, Network: &specs.LinuxNetwork{}}, ""},
	} {
		list, err := translate(c.host, &c.r, false)
		if err != nil {
			if c.want == "" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q is not in the error %q", c.want, err)
			}
			continue
		}
		var writes []string
		for _, s := range list {
			writes = append(writes, s.file+"="+s.value)
		}
		if got := strings.Join(writes, "; "); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// A group on v2 is given those controllers that its resources need.
func TestNeeded(t *testing.T) {
	r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0"}, Pids: &specs.LinuxPids{Limit: ptr(int64(1))}, Unified: map[string]string{"memory.high": "1", "cgroup.max.depth": "1"}}
	if got := needed(r); !slices.Equal(got, []string{"cpuset", "memory", "pids"}) {
		t.Errorf("needed gives %v", got)
	}
	for _, r := range []*specs.LinuxResources{{}, {Devices: []specs.LinuxDeviceCgroup{{}}}, {Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}}} {
		if limits(r) {
			t.Errorf("%+v limits something", r)
		}
	}
	if !limits(&specs.LinuxResources{Unified: map[string]string{"cgroup.max.depth": "1"}}) {
		t.Error("cgroup.max.depth limits nothing")
	}
}

// Only what comes after the last rule about everything has an effect, in order,
// and the default rules come last.
func TestDeviceRules(t *testing.T) {
	a := func(allow bool, access string) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: allow, Type: "a", Access: access}
	}
	c := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr(int64(10)), Minor: ptr(int64(229)), Access: "rw"}
	for _, d := range []struct {
		list []specs.LinuxDeviceCgroup
		want string
	}{
		{nil, "false"},
		{[]specs.LinuxDeviceCgroup{c}, "false +c 10:229 rw"},
		{[]specs.LinuxDeviceCgroup{a(true, "rwm"), c, a(false, "rwm"), c}, "false +c 10:229 rw"},
		{[]specs.LinuxDeviceCgroup{c, {Allow: true}}, "true"},
		{[]specs.LinuxDeviceCgroup{a(false, "m")}, "false -b *:* m -c *:* m"},
	} {
		allowRest, rules, err := deviceRules(d.list)
		got := fmt.Sprint(allowRest)
		for _, r := range rules[:max(0, len(rules)-len(defaultRules))] {
			got += " " + map[bool]string{true: "+", false: "-"}[r.Allow] + r.String()
		}
		if err != nil || got != d.want || !slices.Equal(rules[len(rules)-len(defaultRules):], defaultRules) {
			t.Errorf("got %q, want %q: %v", got, d.want, err)
		}
	}
	for _, bad := range []specs.LinuxDeviceCgroup{{Type: "p"}, {Access: "x"}} {
		if _, _, err := deviceRules([]specs.LinuxDeviceCgroup{bad}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
