package units

import (
	"reflect"
	"slices"
	"testing"
)

func TestDiffTellsKeysAndClasses(t *testing.T) {
	base := minimal + "[unit]\ndescription = \"a\"\n[cgroup]\nmemory-max = \"1G\"\n[limits]\nnofile = 10\n[service.environment]\nA = \"1\"\n"
	for _, c := range []struct {
		dropIn string
		want   []KeyChange
		class  Class
	}{
		{"", nil, None},
		{"[unit]\ndescription = \"b\"\n", []KeyChange{{"unit.description", None, `"a"`, `"b"`}}, None},
		{"[cgroup]\nmemory-max = \"2G\"\npids-max = 5\n", []KeyChange{{"cgroup.memory-max", Live, `"1G"`, `"2G"`}, {"cgroup.pids-max", Live, "", `"5"`}}, Live},
		{"[service]\ncommand = [\"/x\", \"y\"]\n", []KeyChange{{"service.command", RestartClass, `["/bin/true"]`, `["/x", "y"]`}}, RestartClass},
		{"[limits]\ncore = \"0:unlimited\"\n", []KeyChange{{"limits.core", RestartClass, "", `"0:unlimited"`}}, RestartClass},
		{"[service.environment]\nA = \"2\"\n", []KeyChange{{"service.environment.A", RestartClass, `"1"`, `"2"`}}, RestartClass},
		{"[restart.limit]\nburst = 3\n[log]\nkeep = 1\nstream = \"socket\"\n", []KeyChange{{"restart.limit.burst", Live, "10", "3"}, {"log.stream", RestartClass, `"pipe"`, `"socket"`}, {"log.keep", Live, "5", "1"}}, RestartClass},
		{"[[mount]]\ntype = \"tmpfs\"\ntarget = \"/t\"\n", []KeyChange{{"mount", RestartClass, "[]", `[{ target = "/t", type = "tmpfs", propagation = "private" }]`}}, RestartClass},
		{"[unit]\nrequires = [\"db\"]\nafter = [\"db\"]\n[stop]\ntimeout = \"1m\"\n", []KeyChange{{"unit.requires", Live, "[]", `["db"]`}, {"unit.after", Live, "[]", `[{ unit = "db", is = "ready" }]`}, {"stop.timeout", Live, `"10s"`, `"1m"`}}, Live},
	} {
		old, _ := decodeText(t, "web", base)
		changed, ds := Decode("web", []Source{{"web.toml", []byte(base)}, {"10.toml", []byte(c.dropIn)}})
		if ds.HasErrors() {
			t.Errorf("%q: %v", c.dropIn, ds)
			continue
		}
		got := Diff(old, changed)
		if !slices.Equal(got, c.want) || Heaviest(got) != c.class {
			t.Errorf("%q:\ngot  %+v %v\nwant %+v %v", c.dropIn, got, Heaviest(got), c.want, c.class)
		}
	}
}

func TestDropInsMerge(t *testing.T) {
	u, ds := Decode("web", []Source{
		{"web.toml", []byte(minimal + "[unit]\nrequires = [\"a\", \"b\"]\n[service.environment]\nA = \"1\"\nB = \"1\"\n[[mount]]\ntype = \"tmpfs\"\ntarget = \"/a\"\n[restart]\nlimit = { burst = 3, within = \"1m\" }\n")},
		{"10.toml", []byte("service.environment.B = \"2\"\nunit.requires = [\"c\"]\n[[mount]]\ntype = \"tmpfs\"\ntarget = \"/b\"\n[restart.limit]\nburst = 7\n[service.reload]\nsignal = \"sighup\"\n")},
		{"20.toml", []byte("service.command = \"/x 'a b'\"\n")},
	})
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	if !reflect.DeepEqual(u.Unit.Requires, []string{"c"}) || !reflect.DeepEqual(u.Service.Environment, map[string]string{"A": "1", "B": "2"}) ||
		len(u.Mounts) != 1 || u.Mounts[0].Target != "/b" || u.Restart.Limit.Burst != 7 || u.Restart.Limit.Within.String() != "1m" ||
		u.Service.Reload == nil || u.Service.Reload.Signal != "HUP" || !slices.Equal(u.Service.Command, Command{"/x", "a b"}) {
		t.Errorf("%+v", u)
	}
}

func TestTemplates(t *testing.T) {
	text := "[unit]\ninstances = [\"us\", \"eu\", \"eu\"]\nrequires = [\"db@%i\"]\n[service]\ncommand = \"/w --name %n --of %p '100%%' 5%\"\nterminal = \"/dev/tty%i\"\n[rootfs]\nhost = true\n[cgroup]\ncpu-max = \"150%\"\n"
	sources := []Source{{"worker@.toml", []byte(text)}}
	if got := Instances(sources); !slices.Equal(got, []string{"eu", "us"}) {
		t.Errorf("instances %v", got)
	}
	u, ds := Decode("worker@eu", sources)
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	if u.Name != "worker@eu" || u.Unit.Requires[0] != "db@eu" || u.Service.Terminal != "/dev/ttyeu" || u.Cgroup.CPUMax == nil || *u.Cgroup.CPUMax != 1500 ||
		!slices.Equal(u.Service.Command, Command{"/w", "--name", "worker@eu", "--of", "worker", "100%", "5%"}) {
		t.Errorf("%+v", u)
	}
	if u, ds := Decode("worker@", sources); ds.HasErrors() || u.Unit.Requires[0] != "db@instance" {
		t.Errorf("the template itself: %v %v", u.Unit.Requires, ds)
	}
	for _, name := range []string{"", "Web", "a@b@c", "-a", "a/b", "@x", "web@e u"} {
		if _, ds := decodeText(t, name, minimal); len(ds) != 1 || ds[0].Code != "U022" {
			t.Errorf("the name %q: %v", name, ds)
		}
	}
	if _, ds := Decode("web", nil); !ds.HasErrors() {
		t.Error("a unit without sources is accepted")
	}
}

func TestNotations(t *testing.T) {
	u, ds := decodeText(t, "web", minimal+`
[stop]
signal = "SIGRTMIN+3"
timeout = "infinity"
[cgroup]
memory-max = "1.5G"
memory-swap-max = 0
cpu-max = 1.5
pids-max = "max"
[capabilities]
keep = ["cap_net_admin", "CHOWN"]
[limits]
nofile = "1K:unlimited"
core = 0
as = { soft = "1G", hard = "max" }
[log]
rate = "0"
max-size = 4096
[scheduling]
nice = 0
`)
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	c := u.Cgroup
	if u.Stop.Signal != "RTMIN+3" || u.Stop.Timeout != Infinity || *c.MemoryMax != 3<<29 || *c.MemorySwapMax != 0 || *c.CPUMax != 1500 || *c.PidsMax != Max ||
		!slices.Equal(u.Capabilities.Keep, []string{"NET_ADMIN", "CHOWN"}) ||
		!reflect.DeepEqual(u.Limits, map[string]Limit{"nofile": {1024, Max}, "core": {0, 0}, "as": {1 << 30, Max}}) ||
		u.Log.Rate != (Rate{}) || u.Log.MaxSize != 4096 || u.Scheduling.Nice == nil {
		t.Errorf("%+v", u)
	}
	checkReadsBack(t, u)
	for name, want := range map[string]int{"TERM": 15, "sigkill": 9, "RTMIN+3": 37, "RTMAX": 64, "RTMIN+40": 0, "RTMIN3": 0, "X": 0, "": 0} {
		if n, ok := SignalNumber(name); n != want || ok != (want != 0) {
			t.Errorf("SignalNumber(%q) = %d, %v", name, n, ok)
		}
	}
	if n, ok := RlimitNumber("nofile"); n != 7 || !ok {
		t.Error("RlimitNumber", n, ok)
	}
}

func TestExpandAndEscape(t *testing.T) {
	e := newExpansion("w@i")
	for _, s := range []string{"", "%", "%%", "a%", "%i%n%p", "100%%d%", "%%%"} {
		if out, bad := e.expand(escapePercent(s)); out != s || bad != "" {
			t.Errorf("%q comes back as %q, %q", s, out, bad)
		}
	}
}
