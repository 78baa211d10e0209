package isolate

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, p *program.Program) {
	t.Helper()
	var b bytes.Buffer
	if err := p.Format(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".golden")
	if *update {
		os.MkdirAll("testdata", 0o755)
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s differs; look at the difference after go test -update:\n%s", file, b.Bytes())
	}
}

func TestGoldenPrograms(t *testing.T) {
	nice, oom := -5, 200
	const netBind = 1 << unix.CAP_NET_BIND_SERVICE
	for name, spec := range map[string]*Spec{
		"host": hostSpec("/usr/sbin/nginx", "-g", "daemon off;"),
		"full": {
			Name:   "shop@eu",
			RootFS: RootFS{Layers: []string{"/srv/base", "/srv/app"}, Writable: Persistent, StateDir: "/var/lib/berth/state/shop"},
			Mounts: []Mount{
				{Type: Bind, Source: "/srv/www", Target: "/var/www", ReadOnly: true, NoSuid: true, NoDev: true, Recursive: true},
				{Type: Tmpfs, Target: "/var/cache/app", Size: 64 << 20, Mode: 0o700, User: "web"},
				{Type: Volume, Source: "/var/lib/berth/volumes/data", Target: "/data", User: "web", Group: "web"},
			},
			Process: Process{
				Args: []string{"app", "--serve"}, Env: []string{"PATH=/app/bin:/usr/bin", "TZ=UTC"}, Dir: "/data",
				User: "web", Groups: []string{"ssl"}, NoNewPrivileges: true, Seccomp: make([]byte, 80), SeccompFlags: unix.SECCOMP_FILTER_FLAG_LOG, Umask: 0o27, ExtraFiles: 2,
				Capabilities: Capabilities{Bounding: netBind, Effective: netBind, Permitted: netBind, Inheritable: netBind, Ambient: netBind},
				Rlimits:      []Rlimit{{unix.RLIMIT_NOFILE, "nofile", 1024, 65536}, {unix.RLIMIT_CORE, "core", ^uint64(0), ^uint64(0)}},
				Scheduling:   Scheduling{Nice: &nice, OOMScoreAdjust: &oom},
			},
			PreStart:    [][]string{{"/bin/mkdir", "-p", "/run/app"}},
			Init:        true,
			MaskedPaths: []string{"/etc/secret"}, ReadonlyPaths: []string{"/etc"},
			Devices: []DeviceNode{{Path: "/dev/fuse"}},
			Sysctl:  map[string]string{"net.core.somaxconn": "4096"},
			Cgroup:  Cgroup{Unified: true, Legacy: []string{"pids", "memory"}, Optional: []string{"cpuset"}},
		},
		"joined": {
			Name:   "side",
			RootFS: RootFS{Path: "/srv/side", Writable: Direct, Propagation: unix.MS_SLAVE},
			Namespaces: Namespaces{PID: Namespace{Mode: NSJoin, Process: "web"}, Network: Namespace{Mode: NSJoin, Path: "/run/netns/web"},
				UTS: Namespace{Mode: NSHost}, IPC: Namespace{Mode: NSJoin, Process: "web"}, Cgroup: Namespace{Mode: NSHost}},
			Process: Process{Args: []string{"/bin/getty"}, Terminal: true},
		},
		"listener": {
			Name:    "agent",
			RootFS:  RootFS{Path: "/srv/agent"},
			Process: Process{Args: []string{"/app"}, NoNewPrivileges: true, Seccomp: []byte{6, 0, 0, 0, 0, 0, 0xff, 0x7f}, SeccompListener: true},
		},
		"user": inUserNS(&Spec{
			Name:       "shop",
			RootFS:     RootFS{Path: "/srv/shop", Writable: Persistent, StateDir: "/var/lib/berth/layers/shop"},
			Mounts:     []Mount{{Type: Volume, Source: "/var/lib/berth/volumes/data", Target: "/data", User: "web"}, {Type: Tmpfs, Target: "/var/cache"}},
			Namespaces: Namespaces{Network: Namespace{Mode: NSJoin, Process: "web"}},
			Process:    Process{Args: []string{"/app"}, User: "web", NoNewPrivileges: true, Rlimits: []Rlimit{{unix.RLIMIT_NOFILE, "nofile", 1024, 65536}}, Scheduling: Scheduling{Nice: &nice, OOMScoreAdjust: &oom}},
		}),
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Compile(spec)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, p)
		})
	}
	t.Run("exec", func(t *testing.T) {
		p, err := CompileExec(&ExecSpec{Name: "web", Process: Process{Args: []string{"sh"}, NoNewPrivileges: true}, Cgroup: Cgroup{Unified: true},
			PID: true, Mount: true, UTS: true, IPC: true, CgroupNS: true, Network: true})
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "exec", p)
	})
}
