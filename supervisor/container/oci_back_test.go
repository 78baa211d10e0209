package container

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/isolate"
	"berth/isolate/oci"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestOCIBack holds that a unit written as an OCI configuration, and read by
// berth-oci, is the same container as the unit is, but for what an OCI
// configuration cannot say.
func TestOCIBack(t *testing.T) {
	file, err := os.ReadFile("testdata/full.toml")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := filepath.Abs("testdata/profile.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"full": strings.Replace(string(file), "/PROFILE", profile, 1), "base": base} {
		t.Run(name, func(t *testing.T) {
			u := unit(t, "web@eu", text)
			built, err := Build(u, Environment{StateDir: stateDir})
			if err != nil {
				t.Fatal(err)
			}
			_, config := config(t, u)
			back, err := oci.Translate(config, oci.Options{ID: "web@eu", Bundle: "/bundle"})
			if err != nil {
				t.Fatal(err)
			}
			if len(back.Warnings) > 0 {
				t.Errorf("warnings: %v", back.Warnings)
			}
			if _, err := isolate.Compile(back.Spec); err != nil {
				t.Errorf("the translation cannot be compiled: %v", err)
			}
			want, got := *built.Spec, *back.Spec
			sameProcess(t, &want.Process, &got.Process)
			same(t, "the hostname", got.Hostname, want.Hostname)
			same(t, "the clocks", ociOffsets(got.Namespaces.Time), ociOffsets(want.Namespaces.Time))
			same(t, "the namespaces", plainNamespaces(got.Namespaces), plainNamespaces(want.Namespaces))
			settings := map[string]string{}
			for k, v := range want.Sysctl {
				settings[strings.ReplaceAll(k, ".", "/")] = v
			}
			if len(settings) > 0 {
				same(t, "the settings", got.Sysctl, settings)
			}
			for _, p := range want.MaskedPaths {
				if !slices.Contains(got.MaskedPaths, p) {
					t.Errorf("%s is not masked", p)
				}
			}
			for _, p := range want.ReadonlyPaths {
				if !slices.Contains(got.ReadonlyPaths, p) {
					t.Errorf("%s is not read-only", p)
				}
			}
			for _, d := range want.Devices {
				if !slices.ContainsFunc(got.Devices, func(o isolate.DeviceNode) bool { return o.Path == d.Path }) {
					t.Errorf("there is no device %s", d.Path)
				}
			}
			sameMounts(t, want.Mounts, got.Mounts[len(got.Mounts)-len(want.Mounts):])
		})
	}
}

func sameProcess(t *testing.T, want, got *isolate.Process) {
	t.Helper()
	same(t, "the command", got.Args, want.Args)
	same(t, "the directory", got.Dir, max("/", want.Dir))
	for _, e := range want.Env {
		if !slices.Contains(got.Env, e) {
			t.Errorf("the environment has no %s", e)
		}
	}
	same(t, "the capabilities", got.Capabilities, want.Capabilities)
	same(t, "no new privileges", got.NoNewPrivileges, want.NoNewPrivileges)
	same(t, "the labels", got.AppArmor+" "+got.SELinux, want.AppArmor+" "+want.SELinux)
	same(t, "the umask", got.Umask, want.Umask)
	same(t, "the limits", got.Rlimits, want.Rlimits)
	nice := 0
	if want.Scheduling.Policy != nil && want.Scheduling.Nice == nil {
		want.Scheduling.Nice = &nice // the runtime-spec's default
	}
	want.Scheduling.AnyProcessor = true // of whoever runs it; berthd has units inherit its own
	if diff := cmp.Diff(want.Scheduling, got.Scheduling); diff != "" {
		t.Errorf("the scheduling (-unit +OCI):\n%s", diff)
	}
	same(t, "a filter", len(got.Seccomp) > 0, len(want.Seccomp) > 0)
	same(t, "the filter's flags", got.SeccompFlags, want.SeccompFlags)
}

// plainNamespaces are namespaces without those of other units, which are new ones.
func plainNamespaces(n isolate.Namespaces) []isolate.Namespace {
	out := []isolate.Namespace{n.PID, n.UTS, n.IPC, n.Cgroup, n.Network, n.Mount}
	for i := range out {
		if out[i].Process != "" {
			out[i] = isolate.Namespace{}
		}
	}
	return out
}

func sameMounts(t *testing.T, want, got []isolate.Mount) {
	t.Helper()
	for i := range want {
		w, g := &want[i], &got[i]
		what := "mount on " + w.Target
		same(t, what, g.Target, w.Target)
		if w.Type == isolate.Tmpfs {
			same(t, what, g.Type, isolate.FileSystem)
		} else {
			same(t, what, [3]any{g.Type, g.Source, g.Recursive}, [3]any{isolate.Bind, w.Source, w.Recursive})
			same(t, what+": how it spreads", g.Propagation&^unix.MS_REC, max(unix.MS_PRIVATE, w.Propagation))
		}
		for _, f := range []struct {
			set  bool
			flag uint64
		}{{w.ReadOnly, unix.MOUNT_ATTR_RDONLY}, {w.NoSuid, unix.MOUNT_ATTR_NOSUID}, {w.NoDev, unix.MOUNT_ATTR_NODEV}, {w.NoExec, unix.MOUNT_ATTR_NOEXEC}, {w.NoAtime, unix.MOUNT_ATTR_NOATIME}} {
			same(t, what+": an attribute", g.Set&f.flag != 0, f.set)
			same(t, what+": an attribute of all below", g.SetRecursive&f.flag != 0, f.set && w.Recursive)
		}
	}
}
