package container

import (
	"os"
	"strings"
	"testing"

	"berth/isolate"

	"golang.org/x/sys/unix"
)

func TestLandlock(t *testing.T) {
	for _, c := range []struct {
		more string
		want *isolate.Landlock
	}{
		{"", nil},
		{"[security]\nlandlock-best-effort = true\n", nil},
		{"[security]\nlandlock = [{ path = '/usr', access = 'rx' }, { path = '/srv' }, { path = '/var/x', access = 'wr' }]\n",
			&isolate.Landlock{Rules: []isolate.LandlockRule{{Path: "/usr", Read: true, Execute: true}, {Path: "/srv", Read: true}, {Path: "/var/x", Read: true, Write: true}}}},
		{"[security]\nlandlock-tcp-bind = []\nlandlock-scope = ['signals']\n", &isolate.Landlock{TCPBind: []uint16{}, ScopeSignals: true}},
		{"[security]\nlandlock-tcp-connect = [443, 65535]\nlandlock-scope = ['abstract-unix-sockets']\nlandlock-best-effort = true\n",
			&isolate.Landlock{TCPConnect: []uint16{443, 65535}, ScopeAbstractUnix: true, BestEffort: true}},
	} {
		built := build(t, "web", base+c.more)
		same(t, c.more, built.Spec.Process.Landlock, c.want)
		if _, err := isolate.Compile(built.Spec); err != nil {
			t.Errorf("%s: %v", c.more, err)
		}
	}
	_, spec := config(t, unit(t, "web", base+"[security]\nlandlock = [{ path = '/usr', access = 'rx' }]\nlandlock-tcp-bind = []\n"))
	same(t, "the annotation", spec.Annotations["berth.landlock"], `{"rules":[{"path":"/usr","read":true,"execute":true}],"tcp-bind":[]}`)
}

func TestSeccompLog(t *testing.T) {
	u := unit(t, "web", base+"[security]\nseccomp-log = true\n")
	built, err := Build(u, Environment{StateDir: stateDir})
	if err != nil || built.Spec.Process.SeccompFlags&unix.SECCOMP_FILTER_FLAG_LOG == 0 {
		t.Errorf("%+v, %v", built, err)
	}
	_, spec := config(t, u)
	same(t, "the flags", string(spec.Linux.Seccomp.Flags[0]), "SECCOMP_FILTER_FLAG_LOG")
}

func TestUnknownCalls(t *testing.T) {
	profile := t.TempDir() + "/p.json"
	text := `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","frobnicate"],"action":"SCMP_ACT_ERRNO"}]}`
	if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	same(t, "the unknown calls", build(t, "web", base+"[security]\nseccomp = '"+profile+"'\n").UnknownCalls, []string{"frobnicate"})
	same(t, "those of the built-in profile", build(t, "web", base).UnknownCalls, []string(nil))
}

func TestNotifyNeedsAnAgent(t *testing.T) {
	profile := t.TempDir() + "/p.json"
	text := `{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}`
	if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Build(unit(t, "web", base+"[security]\nseccomp = '"+profile+"'\n"), Environment{StateDir: stateDir})
	if err == nil || !strings.Contains(err.Error(), "SCMP_ACT_NOTIFY needs an agent") {
		t.Error(err)
	}
}
