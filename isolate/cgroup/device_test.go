package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// node makes a device node in a directory of the test.
func node(t *testing.T, kind uint32, major, minor uint32) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node")
	if err := unix.Mknod(path, kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
		t.Fatal(err)
	}
	return path
}

func access(t *testing.T, g *Group, args ...string) string {
	t.Helper()
	out, err := run(t, g, "open", args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func TestDefaultDevices(t *testing.T) {
	eachView(t, "", func(t *testing.T, tree *Tree) {
		g := newGroup(t, tree, "dev.service", Limits{})
		made := filepath.Join(t.TempDir(), "made")
		kmsg := node(t, unix.S_IFCHR, 1, 11) // opens for root but for the rules
		got := access(t, g, "rw:/dev/null", "rw:/dev/zero", "r:/dev/urandom", "w:/dev/full", "r:"+kmsg, "m:"+made)
		want := "rw:/dev/null ok\nrw:/dev/zero ok\nr:/dev/urandom ok\nw:/dev/full ok\n" +
			"r:" + kmsg + " operation not permitted\nm:" + made + " ok"
		if got != want {
			t.Errorf("access is\n%s\nnot\n%s", got, want)
		}
	})
}

func TestDeviceRules(t *testing.T) {
	eachView(t, "", func(t *testing.T, tree *Tree) {
		kmsg := node(t, unix.S_IFCHR, 1, 11)
		rule, err := DeviceRuleFromPath(kmsg, "r")
		if err != nil {
			t.Fatal(err)
		}
		noNull := DeviceRule{Type: 'c', Major: 1, Minor: 3, Write: true, Mknod: true}
		old := Limits{Devices: []DeviceRule{rule, noNull}}
		g := newGroup(t, tree, "dev.service", old)
		check := func(want ...string) {
			t.Helper()
			got := access(t, g, "r:"+kmsg, "w:"+kmsg, "r:/dev/null", "w:/dev/null", "rw:/dev/zero")
			var verdicts []string
			for line := range strings.Lines(got) {
				_, verdict, _ := strings.Cut(strings.TrimSpace(line), " ")
				verdicts = append(verdicts, verdict)
			}
			if g, w := strings.Join(verdicts, ", "), strings.Join(want, ", "); g != w {
				t.Errorf("reading and writing kmsg, reading and writing null, zero: %s; not %s", g, w)
			}
		}
		const no = "operation not permitted"
		check("ok", no, "ok", no, "ok")
		for _, step := range []struct {
			limits Limits
			want   []string
		}{
			{Limits{}, []string{no, no, "ok", "ok", "ok"}},
			{Limits{AllDevices: true}, []string{"ok", "ok", "ok", "ok", "ok"}},
			{Limits{AllDevices: true, Devices: []DeviceRule{noNull}}, []string{"ok", "ok", "ok", no, "ok"}},
			{old, []string{"ok", no, "ok", no, "ok"}},
		} {
			if err := g.Update(old, step.limits); err != nil {
				t.Fatal(err)
			}
			old = step.limits
			check(step.want...)
		}
	})
}

func TestDeviceRuleFromPath(t *testing.T) {
	rule, err := DeviceRuleFromPath("/dev/null", "rw")
	if want := (DeviceRule{Type: 'c', Major: 1, Minor: 3, Read: true, Write: true, Allow: true}); err != nil || rule != want {
		t.Errorf("the rule is %+v, %v", rule, err)
	}
	for _, bad := range []struct{ path, access string }{{"/dev/null", ""}, {"/dev/null", "rx"}, {"/dev", "r"}, {"/dev/none-such", "r"}} {
		if _, err := DeviceRuleFromPath(bad.path, bad.access); err == nil {
			t.Errorf("%q %q gives no error", bad.path, bad.access)
		}
	}
}

// v1 can only take back what was given by the same numbers.
func TestLegacyDevices(t *testing.T) {
	tty := DeviceRule{Type: 'c', Major: 4, Minor: -1, Read: true, Write: true, Allow: true}
	one := DeviceRule{Type: 'c', Major: 4, Minor: 64, Read: true, Write: true}
	if _, err := legacyDevices(&Limits{Devices: []DeviceRule{tty, one}}); err == nil {
		t.Error("one device was taken out of a range")
	}
	var unsupported *UnsupportedError
	_, e := legacyDevices(&Limits{Devices: []DeviceRule{tty, one}})
	if !errors.As(error(e), &unsupported) || unsupported.Key != "device" {
		t.Errorf("the error is %v", e)
	}
	all := DeviceRule{Type: 'c', Major: -1, Minor: -1, Write: true}
	set, e := legacyDevices(&Limits{Devices: []DeviceRule{all}})
	if e != nil {
		t.Fatal(e)
	}
	for _, rule := range set.exceptions {
		if rule.Write || !rule.Read {
			t.Errorf("writing was taken from all, but %v is left", rule)
		}
	}
}

// The program stays with the group when the tree that attached it is closed,
// and is replaced and not added to by another.
func TestDeviceProgramStays(t *testing.T) {
	tree := openTree(t, viewV2)
	if tree == nil {
		t.Skip("this host has no cgroup v2")
	}
	g := newGroup(t, tree, "stay.service", Limits{})
	tree.mu.Lock()
	for key, p := range tree.programs { // as Close does
		unix.Close(p.fd)
		delete(tree.programs, key)
	}
	tree.mu.Unlock()
	kmsg := node(t, unix.S_IFCHR, 1, 11)
	if got := access(t, g, "r:"+kmsg); !strings.Contains(got, "not permitted") {
		t.Errorf("the rules are gone with their tree: %s", got)
	}
	if err := g.Update(Limits{}, Limits{Devices: []DeviceRule{allowAll('c', 1, 11)}}); err != nil {
		t.Fatal(err)
	}
	dir, err := g.dir(tree.unified())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	programs, err := attachedPrograms(int(dir.Fd()))
	if err != nil || len(programs) != 1 {
		t.Errorf("%d programs are attached, %v", len(programs), err)
	}
	closeAll(programs)
	if got := access(t, g, "r:"+kmsg); !strings.Contains(got, "ok") {
		t.Errorf("after the change: %s", got)
	}
	if _, err := os.Stat(dir.Name()); err != nil {
		t.Error(err)
	}
}

// The kernel's verifier takes every shape of a program: it refuses instructions
// that are never reached.
func TestDeviceCode(t *testing.T) {
	refuse := DeviceRule{Type: 'b', Major: 8, Minor: -1, Read: true}
	for name, rules := range map[string][]DeviceRule{
		"none": nil, "allow": {allowAll('c', 1, 3)}, "refuse": {refuse},
		"both": {allowAll('b', -1, -1), refuse, allowAll('c', 136, -1)},
	} {
		for _, rest := range []bool{false, true} {
			program, err := loadProgram(deviceCode(rules, rest))
			if err != nil {
				t.Errorf("%s, rest %v: %v", name, rest, err)
				continue
			}
			unix.Close(program)
		}
	}
}
