package oci

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestFeaturesAreTrue holds that what Features lists is taken, and by Translate.
func TestFeaturesAreTrue(t *testing.T) {
	f := Features()
	for _, v := range []string{f.OCIVersionMin, f.OCIVersionMax} {
		config := small()
		config.Version = v
		if out, err := Translate(config, options); err != nil || len(out.Warnings) > 0 {
			t.Errorf("version %s: %v", v, err)
		}
	}
	for _, o := range f.MountOptions {
		config := full()
		m := specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs", Options: []string{o}}
		if strings.HasPrefix(o, "remount") || o == "bind" || o == "rbind" {
			m.Source = "/src"
		}
		config.Mounts = []specs.Mount{m}
		out, err := Translate(config, options)
		if err != nil {
			t.Errorf("mount option %s: %v", o, err)
			continue
		}
		if data := out.Spec.Mounts[0].Data; len(data) > 0 && superBlock[o] == "" && o != "dirsync" {
			t.Errorf("mount option %s is handed to the file system: %v", o, data)
		}
	}
	if len(f.Linux.Namespaces) != 8 {
		t.Errorf("the namespaces are %v", f.Linux.Namespaces)
	}
	full := full()
	full.Process.Capabilities = &specs.LinuxCapabilities{Bounding: f.Linux.Capabilities}
	if out, err := Translate(full, options); err != nil || len(out.Warnings) > 0 || len(f.Linux.Capabilities) < 41 {
		t.Errorf("capabilities %v: %v, %v", f.Linux.Capabilities, err, out)
	}
	s := f.Linux.Seccomp
	seccomp := func(name string, profile specs.LinuxSeccomp) {
		t.Helper()
		config := small()
		profile.ListenerPath = "/agent"
		config.Linux.Seccomp = &profile
		if _, err := Translate(config, options); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(s.Actions) != 9 || len(s.Operators) != 7 || len(s.KnownFlags) != 4 || len(s.Archs) < 10 {
		t.Errorf("seccomp has %+v", s)
	}
	for _, a := range s.Actions {
		seccomp(a, specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.LinuxSeccompAction(a)}}})
	}
	for _, o := range s.Operators {
		seccomp(o, specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: "SCMP_ACT_ERRNO", Args: []specs.LinuxSeccompArg{{Op: specs.LinuxSeccompOperator(o)}}}}})
	}
	for _, a := range s.Archs {
		seccomp(a, specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", Architectures: []specs.Arch{specs.Arch(a)}})
	}
	for _, flag := range s.KnownFlags {
		seccomp(flag, specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlag(flag)}})
	}
	for _, flag := range s.SupportedFlags {
		if !slices.Contains(s.KnownFlags, flag) {
			t.Errorf("flag %s is supported and not known", flag)
		}
	}
	for what, on := range map[string]*bool{"intelRdt": f.Linux.IntelRdt.Enabled, "systemd": f.Linux.Cgroup.Systemd} {
		if on == nil || *on {
			t.Errorf("%s is on", what)
		}
	}
	if text, err := json.Marshal(f); err != nil || len(text) < 1000 {
		t.Errorf("as JSON it is %s, %v", text, err)
	}
}
