package sysctl

import (
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPlan shows settings by what is written.
func TestPlan(t *testing.T) {
	have := []string{"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/eth0/rp_filter", "net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/lo/rp_filter"}
	list := func(pattern string) (found []string) {
		for _, p := range have {
			if ok, _ := path.Match(pattern, p); ok {
				found = append(found, p)
			}
		}
		return found
	}
	for _, c := range []struct{ text, want string }{
		{"# a\n; b\n\n kernel.domainname = a b  \n", "kernel/domainname=a b"},
		{"a.b=1\nc/d=2\na/b=3\n", "c/d=2 a/b=3"},
		{"net.ipv4.conf.eth0/1.rp_filter = 2", "net/ipv4/conf/eth0.1/rp_filter=2"},
		{"net/ipv4/conf/eth0.1/rp_filter = 2", "net/ipv4/conf/eth0.1/rp_filter=2"},
		{"-a.b = 1", "-a/b=1"},
		{"/proc/sys/a/b = 1", "a/b=1"},
		{"a.b =", "a/b="},
		{"net.ipv4.conf.*.rp_filter = 2\nnet.ipv4.conf.all.rp_filter = 1\n-net.ipv4.conf.lo.rp_filter\n",
			"net/ipv4/conf/eth0/rp_filter=2 net/ipv4/conf/eth0.1/rp_filter=2 net/ipv4/conf/all/rp_filter=1"},
		{"net.ipv4.conf.none*.rp_filter = 2", ""},
		{"a.b", `!the line has no "="`},
		{"= 3", `!"" is not the name`},
		{"a..b = 3", "!is not the name"},
		{"../../etc/passwd = 3", "!is not the name"},
		{"a/../b = 3", "!is not the name"},
		{"a.[b = 3\nc=1", "!a bracket is not closed"},
	} {
		settings, problems := Parse("f", c.text)
		if want, ok := strings.CutPrefix(c.want, "!"); ok {
			if len(problems) != 1 || !strings.Contains(problems[0].String(), "f:1: ") || !strings.Contains(problems[0].What, want) {
				t.Errorf("%q: %v, want %q", c.text, problems, want)
			}
			continue
		}
		var got []string
		for _, s := range Plan(settings, list) {
			one := s.Path + "=" + s.Value
			if s.IgnoreFailure {
				one = "-" + one
			}
			got = append(got, one)
		}
		if strings.Join(got, " ") != c.want || len(problems) > 0 {
			t.Errorf("%q: %q, want %q (%v)", c.text, got, c.want, problems)
		}
	}
}

// TestApply sets parameters of a network namespace of its own.
func TestApply(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root, for a network namespace")
		}
		t.Skip("needs root, for a network namespace")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for name, text := range map[string]string{
		"usr/lib/sysctl.d/10.conf": "net.ipv4.ip_forward = 0\nnet.ipv4.conf.*.rp_filter = 2\n",
		"etc/sysctl.d/20.conf":     "net.ipv4.ip_forward = 1\nnet.core.no_such = 1\n-net.core.nothing = 1\nnet.ipv4.conf.lo.rp_filter = 1\n",
		"etc/sysctl.conf":          "net.ipv4.ip_default_ttl = 300\n",
	} {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	problems := Apply(t.Context(), root)
	want := []string{
		"/etc/sysctl.d/20.conf:2: cannot set net/core/no_such: this kernel has no such parameter; load",
		"/etc/sysctl.conf:1: cannot set net/ipv4/ip_default_ttl to \"300\": invalid argument; look",
	}
	if len(problems) != len(want) {
		t.Fatalf("%v", problems)
	}
	for i, w := range want {
		if !strings.HasPrefix(problems[i].String(), w) || problems[i].Minor {
			t.Errorf("%v (minor %t), want %s", problems[i], problems[i].Minor, w)
		}
	}
	for p, want := range map[string]string{"ip_forward": "1", "conf/all/rp_filter": "2", "conf/default/rp_filter": "2", "conf/lo/rp_filter": "1"} {
		got, err := os.ReadFile("/proc/sys/net/ipv4/" + p)
		if strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %s, want %s (%v)", p, got, want, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a.b = 1\n-c/d\n#x\nnet.*.x=2")
	f.Fuzz(func(t *testing.T, text string) {
		settings, _ := Parse("f", text)
		for _, s := range Plan(settings, func(p string) []string { return []string{p} }) {
			if p := s.Path; p == "" || path.Clean("/"+p) != "/"+p || strings.ContainsAny(p+s.Value, "\x00\n") {
				t.Errorf("%q: writes to %q", text, p)
			}
		}
	})
}
