package nsinit

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// host is a group in words: its control files by controller.
type host struct {
	versions map[string]int
	files    map[string]string
	gone     bool
	err      error
}

func (h host) Exists() bool                            { return !h.gone }
func (h host) Version(controller string) (int, string) { return h.versions[controller], "" }
func (h host) Read(_, file string) (string, error) {
	if h.err != nil {
		return "", h.err
	}
	if text, is := h.files[file]; is {
		return text, nil
	}
	return "", fs.ErrNotExist
}
func (h host) Files(string) ([]string, error) {
	var names []string
	for name := range h.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

const pressure = "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=567"

var hosts = map[string]host{
	"v1": {
		versions: map[string]int{"cpu": 1, "cpuacct": 1, "cpuset": 1, "memory": 1, "pids": 1, "blkio": 1, "hugetlb": 1},
		files: map[string]string{
			"cpuacct.usage": "3000000", "cpuacct.usage_sys": "1000000", "cpuacct.usage_user": "2000000",
			"cpuacct.usage_percpu": "1000000 2000000 ", "cpuacct.usage_percpu_sys": "400000 600000 ", "cpuacct.usage_percpu_user": "600000 1400000 ",
			"cpu.stat":    "nr_periods 10\nnr_throttled 3\nthrottled_time 70000",
			"cpuset.cpus": "0-2,5", "cpuset.mems": "0", "cpuset.sched_load_balance": "1", "cpuset.sched_relax_domain_level": "-1",
			"memory.stat": "cache 4096\nrss 8192", "memory.usage_in_bytes": "12288", "memory.max_usage_in_bytes": "20480", "memory.failcnt": "2", "memory.limit_in_bytes": "65536",
			"memory.memsw.usage_in_bytes": "16384", "memory.memsw.limit_in_bytes": "131072", "memory.kmem.usage_in_bytes": "512", "memory.kmem.tcp.usage_in_bytes": "64",
			"pids.current": "4", "pids.max": "max",
			"blkio.throttle.io_service_bytes_recursive": "8:0 Read 100\n8:0 Write 200\n8:0 Total 300\nTotal 300",
			"blkio.throttle.io_serviced_recursive":      "8:0 Read 1\n8:0 Write 2\nTotal 3",
			"blkio.bfq.io_service_bytes_recursive":      "Total 0",
			"hugetlb.2MB.limit_in_bytes":                "9", "hugetlb.2MB.usage_in_bytes": "2097152", "hugetlb.2MB.max_usage_in_bytes": "4194304", "hugetlb.2MB.failcnt": "1",
		},
	},
	"v2": {
		versions: map[string]int{"": 2, "cpu": 2, "cpuset": 2, "memory": 2, "pids": 2, "io": 2, "hugetlb": 2},
		files: map[string]string{
			"cpu.stat":       "usage_usec 3000\nuser_usec 2000\nsystem_usec 1000\nnr_periods 10\nnr_throttled 3\nthrottled_usec 70",
			"memory.stat":    "anon 8192\nfile 4096\nkernel 512",
			"memory.current": "12288", "memory.peak": "20480", "memory.max": "65536", "memory.events": "low 0\nmax 2\noom 1",
			"memory.swap.current": "4096", "memory.swap.max": "65536",
			"pids.current": "4", "pids.max": "9",
			"io.stat":         "8:0 rbytes=100 wbytes=200 rios=1 wios=2 dbytes=0 dios=0\n8:16",
			"hugetlb.2MB.max": "max", "hugetlb.2MB.rsvd.max": "max", "hugetlb.2MB.current": "0", "hugetlb.2MB.rsvd.current": "2097152", "hugetlb.2MB.events": "max 1",
			"cpu.pressure": pressure, "memory.pressure": pressure, "io.pressure": pressure,
		},
	},
	"bare": {versions: map[string]int{"": 2}, files: map[string]string{}},
}

// Both shapes, to the letter, for both versions.
func TestShapes(t *testing.T) {
	for name, h := range hosts {
		s, err := Read(h)
		if err != nil {
			t.Fatal(err)
		}
		links := []Interface{{Name: "eth0", RxBytes: 1, TxBytes: 2}}
		for form, v := range map[string]any{
			"nsinit": Container{Interfaces: links, Cgroup: s},
			"event":  NewEvent("web", s, nil),
		} {
			got, err := json.MarshalIndent(v, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			path := "testdata/" + name + "." + form + ".json"
			if *update {
				if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("%s:\n%s", path, diff)
			}
		}
	}
}

func TestReadFails(t *testing.T) {
	gone := hosts["bare"]
	gone.gone = true
	if _, err := Read(gone); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("of a group that is gone: %v", err)
	}
	broken := hosts["v2"]
	broken.err = errors.New("broken")
	if _, err := Read(broken); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("of a host that cannot read: %v", err)
	}
}

func TestUnlimited(t *testing.T) {
	h := host{versions: map[string]int{"memory": 2, "pids": 2}, files: map[string]string{"memory.max": "max", "memory.swap.max": "max", "memory.swap.current": "5", "memory.current": "7", "pids.max": "max"}}
	s, err := Read(h)
	if err != nil || s.Memory.Usage.Limit != math.MaxUint64 || s.Memory.Swap.Limit != math.MaxUint64 || s.Memory.Swap.Usage != 12 || s.Pids.Limit != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestInterfaces(t *testing.T) {
	text := `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:11 12 13 14 15 16 17 18 21 22 23 24 25 26 27 28
  odd: 1 2
`
	want := []Interface{{Name: "eth0", RxBytes: 11, RxPackets: 12, RxErrors: 13, RxDropped: 14, TxBytes: 21, TxPackets: 22, TxErrors: 23, TxDropped: 24}}
	if got := interfaces(text); !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
	if list, err := Interfaces(os.Getpid()); err != nil || len(list) != 0 {
		t.Errorf("this process has interfaces apart from its own: %v, %v", list, err)
	}
	if _, err := Interfaces(1 << 30); err == nil {
		t.Error("a process that there is not has interfaces")
	}
}

func FuzzRead(f *testing.F) {
	f.Add("8:0 =1", "", "=", ":")
	f.Add("8:0 rbytes=1", "0-3,5", "some avg10=1 total=2", "eth0: 1 2")
	f.Fuzz(func(t *testing.T, stat, set, psi, dev string) {
		h := host{versions: map[string]int{"": 2, "cpu": 2, "cpuset": 1, "memory": 2, "pids": 2, "io": 2}, files: map[string]string{
			"io.stat": stat, "cpuset.cpus": set, "cpu.pressure": psi, "memory.stat": stat, "cpu.stat": psi, "pids.max": set}}
		if _, err := Read(h); err != nil {
			t.Error(err)
		}
		interfaces(dev)
	})
}
