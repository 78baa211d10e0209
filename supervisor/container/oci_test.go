package container

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/units"

	oci "github.com/opencontainers/runtime-spec/specs-go"
)

// config gives the config.json of a unit, decoded strictly.
func config(t *testing.T, u *units.Unit) ([]byte, *oci.Spec) {
	t.Helper()
	text, err := OCI(u, Environment{StateDir: stateDir})
	if err != nil {
		t.Fatal(err)
	}
	var spec oci.Spec
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&spec); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return text, &spec
}

func TestOCI(t *testing.T) {
	file, err := os.ReadFile("testdata/full.toml")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := filepath.Abs("testdata/profile.json")
	if err != nil {
		t.Fatal(err)
	}
	got, _ := config(t, unit(t, "web@eu", strings.Replace(string(file), "/PROFILE", profile, 1)))
	const golden = "testdata/full.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "config.json", string(got), string(want))
}

// TestOCIDefaults holds that a moved unit is as closed as it was.
func TestOCIDefaults(t *testing.T) {
	_, spec := config(t, unit(t, "web", base))
	if spec.Root.Path != "rootfs" || !spec.Root.Readonly || spec.Annotations["berth.layers"] != "/" {
		t.Errorf("the root is %+v, %v", spec.Root, spec.Annotations)
	}
	p := spec.Process
	if !p.NoNewPrivileges || len(p.Capabilities.Bounding)+len(p.Capabilities.Effective)+len(p.Capabilities.Ambient) > 0 {
		t.Errorf("the process is %+v", p)
	}
	if !slices.ContainsFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=/") }) {
		t.Errorf("no PATH among %v", p.Env)
	}
	seccomp := spec.Linux.Seccomp
	if seccomp == nil || seccomp.DefaultAction != oci.ActErrno || len(seccomp.Syscalls) < 5 || len(seccomp.Architectures) == 0 {
		t.Fatalf("the filter is %+v", seccomp)
	}
	for _, c := range seccomp.Syscalls {
		if slices.Contains(c.Names, "mount") {
			t.Errorf("mount is among %+v", c)
		}
	}
	var kinds []string
	for _, n := range spec.Linux.Namespaces {
		kinds = append(kinds, string(n.Type))
	}
	same(t, "the namespaces", kinds, []string{"mount", "pid", "uts", "ipc", "cgroup", "network"})
	for _, p := range []string{"/proc/kcore", "/sys/firmware", "/etc/shadow", "/root", "/home"} {
		if !slices.Contains(spec.Linux.MaskedPaths, p) {
			t.Errorf("%s is not masked", p)
		}
	}
	for _, target := range []string{"/proc", "/dev", "/dev/pts", "/dev/shm", "/sys", "/tmp", "/var/tmp", "/run"} {
		if !slices.ContainsFunc(spec.Mounts, func(m oci.Mount) bool { return m.Destination == target }) {
			t.Errorf("nothing is mounted on %s", target)
		}
	}
	if d := spec.Linux.Resources.Devices; len(d) != 1 || d[0].Allow || d[0].Access != "rwm" {
		t.Errorf("the device rules are %+v", d)
	}
	_, spec = config(t, unit(t, "web", base+"[[mount]]\nsource = '/srv'\ntarget = '/home/web'\n[security]\nseccomp = 'unconfined'\n"))
	if slices.Contains(spec.Linux.MaskedPaths, "/home") || !slices.Contains(spec.Linux.MaskedPaths, "/root") {
		t.Errorf("masked are %v", spec.Linux.MaskedPaths)
	}
	if spec.Linux.Seccomp != nil {
		t.Errorf("unconfined is %+v", spec.Linux.Seccomp)
	}
}

// TestOCIRoot holds that what a unit does not write, another runtime does not
// write either, and that nobody becomes root by a name that looks like a number.
func TestOCIRoot(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"passwd": "web:x:33:34:::\n", "group": "www:x:35:\nextra:x:36:web\n"} {
		if err := os.WriteFile(dir+"/etc/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		root, user string
		path       string
		readonly   bool
		uid, gid   uint32
		notes      map[string]string
	}{
		{"path = '" + dir + "'", "user = 'web'", dir, true, 33, 34, map[string]string{"berth.user": "web"}},
		{"path = '" + dir + "'", "user = 'web'\ngroup = 'www'", dir, true, 33, 35, map[string]string{"berth.user": "web", "berth.group": "www"}},
		{"path = '" + dir + "'\nwritable = 'ephemeral'", "user = '1000'", "rootfs", false, 1000, 1000,
			map[string]string{"berth.user": "1000", "berth.writable": "ephemeral", "berth.layers": dir}},
		{"layers = ['/a', '/b']", "user = '1000'", "rootfs", true, 1000, 1000, map[string]string{"berth.user": "1000", "berth.layers": "/a:/b"}},
		{"layers = ['/a']\nwritable = 'persistent'", "user = 'web1'", "rootfs", false, 0, 0,
			map[string]string{"berth.user": "web1", "berth.layers": "/a", "berth.writable": "persistent"}},
	} {
		_, spec := config(t, unit(t, "web", "[service]\ncommand = ['/bin/true']\n"+c.user+"\n[rootfs]\n"+c.root))
		if spec.Root.Path != c.path || spec.Root.Readonly != c.readonly {
			t.Errorf("%s: the root is %+v", c.root, spec.Root)
		}
		if spec.Process.User.UID != c.uid || spec.Process.User.GID != c.gid {
			t.Errorf("%s: the user is %+v", c.user, spec.Process.User)
		}
		c.notes["berth.unit"] = "web"
		same(t, c.root, spec.Annotations, c.notes)
	}
}
