package ocigroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"berth/isolate/cgroup"
	"berth/isolate/vmtest"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// readback is one resource and what is then found in the control files: by
// v1 controller, "v2" standing for v2.
type readback struct {
	name string
	r    specs.LinuxResources
	want map[string]map[string]string
}

const mib = 1 << 20

var readbacks = []readback{
	{"memory.limit", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(64 * mib))}},
		map[string]map[string]string{"memory": {"memory.limit_in_bytes": "67108864"}, "v2": {"memory.max": "67108864"}}},
	{"memory.reservation", specs.LinuxResources{Memory: &specs.LinuxMemory{Reservation: ptr(int64(32 * mib))}},
		map[string]map[string]string{"memory": {"memory.soft_limit_in_bytes": "33554432"}, "v2": {"memory.low": "33554432"}}},
	{"memory.swap", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(64 * mib)), Swap: ptr(int64(96 * mib))}},
		map[string]map[string]string{"memory": {"memory.memsw.limit_in_bytes": "100663296"}, "v2": {"memory.swap.max": "33554432"}}},
	{"memory.unlimited", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(-1)), Swap: ptr(int64(-1))}},
		map[string]map[string]string{"memory": {"memory.limit_in_bytes": "9223372036854771712"}, "v2": {"memory.max": "max", "memory.swap.max": "max"}}},
	{"memory.swappiness", specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: ptr(uint64(50))}},
		map[string]map[string]string{"memory": {"memory.swappiness": "50"}}},
	{"memory.disableOOMKiller", specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: ptr(true)}},
		map[string]map[string]string{"memory": {"memory.oom_control": "oom_kill_disable 1"}}},
	{"memory.kernelTCP", specs.LinuxResources{Memory: &specs.LinuxMemory{KernelTCP: ptr(int64(8 * mib))}},
		map[string]map[string]string{"memory": {"memory.kmem.tcp.limit_in_bytes": "8388608"}}},
	//lint:ignore SA1019 bundles have it still
	{"memory.useHierarchy", specs.LinuxResources{Memory: &specs.LinuxMemory{UseHierarchy: ptr(true), Kernel: ptr(int64(mib))}},
		map[string]map[string]string{"memory": {"memory.use_hierarchy": "1"}, "v2": {}}},
	{"cpu.shares", specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(512))}},
		map[string]map[string]string{"cpu": {"cpu.shares": "512"}, "v2": {"cpu.weight": "59"}}},
	{"cpu.quota", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(20_000)), Period: ptr(uint64(50_000)), Burst: ptr(uint64(10_000))}},
		map[string]map[string]string{
			"cpu": {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "50000", "cpu.cfs_burst_us": "10000"},
			"v2":  {"cpu.max": "20000 50000", "cpu.max.burst": "10000"}}},
	{"cpu.period", specs.LinuxResources{CPU: &specs.LinuxCPU{Period: ptr(uint64(50_000))}},
		map[string]map[string]string{"cpu": {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "50000"}, "v2": {"cpu.max": "max 50000"}}},
	{"cpu.idle", specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: ptr(int64(1)), Shares: ptr(uint64(512))}},
		map[string]map[string]string{"cpu": {"cpu.idle": "1"}, "v2": {"cpu.idle": "1"}}},
	{"cpu.realtime", specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimePeriod: ptr(uint64(500_000)), RealtimeRuntime: ptr(int64(1000))}},
		map[string]map[string]string{"cpu": {"cpu.rt_period_us": "500000", "cpu.rt_runtime_us": "1000"}}},
	{"cpu.cpus", specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0", Mems: "0"}},
		map[string]map[string]string{"cpuset": {"cpuset.cpus": "0", "cpuset.mems": "0"}, "v2": {"cpuset.cpus": "0", "cpuset.mems": "0"}}},
	{"pids.limit", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(42))}},
		map[string]map[string]string{"pids": {"pids.max": "42"}, "v2": {"pids.max": "42"}}},
	{"pids.unlimited", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}},
		map[string]map[string]string{"pids": {"pids.max": "max"}, "v2": {"pids.max": "max"}}},
	{"pids.none", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(0))}},
		map[string]map[string]string{"pids": {"pids.max": "0"}, "v2": {"pids.max": "1"}}},
	{"hugepageLimits", specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 * mib}}},
		map[string]map[string]string{
			"hugetlb": {"hugetlb.2MB.limit_in_bytes": "4194304", "hugetlb.2MB.rsvd.limit_in_bytes": "4194304"},
			"v2":      {"hugetlb.2MB.max": "4194304", "hugetlb.2MB.rsvd.max": "4194304"}}},
	{"blockIO.throttle", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
		ThrottleReadBpsDevice: throttled(1024), ThrottleWriteBpsDevice: throttled(2048), ThrottleReadIOPSDevice: throttled(10), ThrottleWriteIOPSDevice: throttled(20)}},
		map[string]map[string]string{
			"blkio": {"blkio.throttle.read_bps_device": "1024", "blkio.throttle.write_bps_device": "2048", "blkio.throttle.read_iops_device": "10", "blkio.throttle.write_iops_device": "20"},
			"v2":    {"io.max": "rbps=1024 wbps=2048 riops=10 wiops=20"}}},
	{"blockIO.weight", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(500))}},
		map[string]map[string]string{"blkio": {"blkio.bfq.weight": "500"}, "v2": {"io.bfq.weight": "default 500", "io.weight": "default 4950"}}},
	{"network.classID", specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(0x100001))}},
		map[string]map[string]string{"net_cls": {"net_cls.classid": "1048577"}}},
	{"network.priorities", specs.LinuxResources{Network: &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "lo", Priority: 5}}}},
		map[string]map[string]string{"net_prio": {"net_prio.ifpriomap": "lo 5"}}},
	{"rdma", specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"mlx5_1": {HcaHandles: ptr(uint32(3))}}}, nil},
	{"unified", specs.LinuxResources{Unified: map[string]string{"memory.high": "67108864", "cgroup.max.depth": "3"}},
		map[string]map[string]string{"v2": {"memory.high": "67108864", "cgroup.max.depth": "3"}}},
}

// disk is a block device that can be throttled, if there is one.
func disk() (major, minor int64) {
	for _, pattern := range []string{"vda", "sda", "nvme0n1", "loop0"} {
		if text, err := os.ReadFile("/sys/block/" + pattern + "/dev"); err == nil {
			_, _ = fmt.Sscanf(string(text), "%d:%d", &major, &minor)
			return major, minor
		}
	}
	return 0, 0
}

func throttled(rate uint64) []specs.LinuxThrottleDevice {
	major, minor := disk()
	return []specs.LinuxThrottleDevice{{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: major, Minor: minor}, Rate: rate}}
}

// Every resource is found again in the control files of those hierarchies that
// can have it; what none can is refused by its name, and nothing is left behind.
func TestResources(t *testing.T) {
	major, _ := disk()
	for _, c := range readbacks {
		if c.name == "blockIO.throttle" && major == 0 {
			t.Log("this machine has no block device to throttle")
			continue
		}
		for _, live := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", c.name, live), func(t *testing.T) {
				g := newGroup(t, Options{ID: newID()})
				var err error
				if live {
					// v2 hands a new group only what it needs: it needs all of this.
					if err = g.Create(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(100))}}); err != nil {
						t.Fatal(err)
					}
					start(t, g, "wait")
					err = g.Set(&c.r)
				} else {
					err = g.Create(&c.r)
				}
				var unsupported *cgroup.UnsupportedError
				if errors.As(err, &unsupported) {
					key, _, _ := strings.Cut(c.name, ".")
					if !strings.HasPrefix(unsupported.Key, "linux.resources."+key) || !live && g.Exists() {
						t.Errorf("%v; the group exists: %v", err, g.Exists())
					}
					if vmtest.Current() == "" && slices.Contains([]string{"memory.limit", "memory.swap", "cpu.shares", "cpu.quota", "cpu.cpus", "pids.limit"}, c.name) {
						t.Error(err)
					}
					t.Log(err)
					return
				}
				if errors.Is(err, unix.EINVAL) && c.name == "memory.useHierarchy" && live {
					return // only while it has no child groups
				}
				if errors.Is(err, unix.EINVAL) && c.name == "cpu.realtime" {
					return // the parent's share may be given away
				}
				if errors.Is(err, unix.ENODEV) && c.name == "rdma" {
					return // the machine has the controller and no such device
				}
				if err != nil {
					t.Fatal(err)
				}
				g.check(t, &c, live)
			})
		}
	}
}

func (g *Group) check(t *testing.T, c *readback, live bool) {
	t.Helper()
	checked := c.want != nil && len(c.want["v2"]) == 0
	for controller, files := range c.want {
		for file, want := range files {
			if live && c.name == "pids.none" {
				want = "0"
			}
			name := controller
			if controller == "v2" {
				name = ""
			} else if v, _ := g.group.Version(controller); v != 1 {
				continue
			}
			if !g.group.Has(name, file) {
				continue
			}
			text, err := g.group.Read(name, file)
			if err != nil || !strings.Contains("\n"+text+"\n", want) {
				t.Errorf("%s holds %q and not %q: %v", file, text, want, err)
			}
			checked = true
		}
	}
	if !checked {
		t.Errorf("%s was taken, and is found nowhere", c.name)
	}
}

// Limits that the kernel takes only in an order are changed in both directions.
func TestSetOrder(t *testing.T) {
	memory := func(limit, swap int64) *specs.LinuxResources {
		return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(limit), Swap: ptr(swap)}}
	}
	cpu := func(quota int64, period, burst uint64) *specs.LinuxResources {
		return &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(quota), Period: ptr(period), Burst: ptr(burst)}}
	}
	g := create(t, memory(64*mib, 64*mib))
	for _, r := range []*specs.LinuxResources{
		memory(128*mib, 160*mib), memory(32*mib, 32*mib), memory(-1, -1), memory(32*mib, 64*mib),
		{Memory: &specs.LinuxMemory{Limit: ptr(int64(-1))}}, memory(16*mib, 32*mib), {Memory: &specs.LinuxMemory{Swap: ptr(int64(48 * mib))}},
		cpu(10_000, 100_000, 10_000), cpu(90_000, 100_000, 80_000), cpu(5_000, 10_000, 1_000), cpu(-1, 100_000, 0), {CPU: &specs.LinuxCPU{Period: ptr(uint64(20_000))}},
		{CPU: &specs.LinuxCPU{Idle: ptr(int64(1))}}, {CPU: &specs.LinuxCPU{Idle: ptr(int64(0)), Shares: ptr(uint64(300))}},
		{Pids: &specs.LinuxPids{Limit: ptr(int64(9))}},
	} {
		if err := g.Set(r); err != nil {
			t.Errorf("%+v %+v: %v", r.Memory, r.CPU, err)
		}
	}
	for _, want := range []struct{ controller, file1, value1, file2, value2 string }{
		{"memory", "memory.limit_in_bytes", "16777216", "memory.max", "16777216"},
		{"memory", "memory.memsw.limit_in_bytes", "50331648", "memory.swap.max", "33554432"},
		{"cpu", "cpu.cfs_period_us", "20000", "cpu.max", "max 20000"},
		{"cpu", "cpu.shares", "300", "cpu.weight", "39"},
		{"pids", "pids.max", "9", "pids.max", "9"},
	} {
		file, value := want.file1, want.value1
		if v, _ := g.group.Version(want.controller); v == 2 {
			file, value = want.file2, want.value2
		}
		if text, err := g.group.Read(want.controller, file); text != value {
			t.Errorf("%s holds %q and not %q: %v", file, text, value, err)
		}
	}
}

func TestCheckBeforeUpdate(t *testing.T) {
	g := create(t, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(256 * mib))}})
	start(t, g, "hog", "64")
	err := g.Set(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(16 * mib)), CheckBeforeUpdate: ptr(true)}})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a limit below what is in use: %v", err)
	}
	if err := g.Set(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(200 * mib)), CheckBeforeUpdate: ptr(true)}}); err != nil {
		t.Error(err)
	}
}

// Shares and weight meet at the least, the default and the most, and between
// them the order is kept.
func TestWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 1, 2: 1, 1024: 100, 262144: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("%d shares are weight %d and not %d", shares, got, want)
		}
	}
	for shares := uint64(2); shares < mostShares; shares += 77 {
		if weight(shares) > weight(shares+77) || weight(shares) < 1 || weight(shares) > 10000 {
			t.Fatalf("%d shares are weight %d, 77 more are %d", shares, weight(shares), weight(shares+77))
		}
	}
	for in, want := range map[uint16]uint16{10: 1, 1000: 10000, 5: 1, 2000: 10000} {
		if got := ioWeight(in); got != want {
			t.Errorf("block weight %d is %d and not %d", in, got, want)
		}
	}
}
