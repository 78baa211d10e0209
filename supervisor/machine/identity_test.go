package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

func TestHostnames(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "\n# a comment\n  box  \nother\n": "box", "#only\n": "", "box": "box", "a b\n": "a b",
	} {
		if got := hostnameIn(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for name, want := range map[string]bool{
		"box": true, "a.example.org": true, "A-1_b": true, strings.Repeat("a", 64): true,
		"": false, "a b": false, "-a": false, "a-": false, "a..b": false, ".a": false, "ä": false, "a/b": false, strings.Repeat("a", 65): false,
	} {
		if validHostname(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}

func TestReadID(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	for text, want := range map[string]string{
		id: id, id + "\n": id, "": "", "uninitialized\n": "", strings.ToUpper(id): "", id + "0": "", strings.Repeat("0", 32): "", "x" + id[1:]: "",
	} {
		path := filepath.Join(t.TempDir(), "machine-id")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readID(path); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	if a, b := newID(), newID(); a == b || len(a) != 32 || a[12] != '4' || !strings.ContainsRune("89ab", rune(a[16])) {
		t.Errorf("new IDs are %s, %s", a, b)
	}
}

// worldVariable makes the test binary do a duty on a small root of its own, in
// namespaces of its own: "writable" or "read-only".
const worldVariable = "BERTH_TEST_WORLD"

func TestMain(m *testing.M) {
	kind := os.Getenv(worldVariable)
	if kind == "" {
		os.Exit(m.Run())
	}
	out, err := live(kind)
	if err != nil {
		out.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(out)
	os.Exit(0)
}

type world struct {
	ID, Transient, Hostname, Error string
	Fresh                          bool
	Notes                          []string
}

// live does what a boot does for its identity, twice.
func live(kind string) (w world, err error) {
	do := func(err2 error) {
		if err == nil {
			err = err2
		}
	}
	do(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	do(unix.Mount("root", "/tmp", "tmpfs", 0, "mode=0755"))
	do(unix.Chroot("/tmp"))
	do(os.Chdir("/"))
	do(os.Mkdir("/etc", 0o755))
	do(os.Mkdir("/run", 0o755))
	do(os.WriteFile("/etc/machine-id", []byte("uninitialized\n"), 0o644))
	do(os.WriteFile("/etc/hostname", []byte("small.world\n"), 0o644))
	do(unix.Mount("run", "/run", "tmpfs", 0, ""))
	if kind == "read-only" {
		do(unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	}
	if err != nil {
		return w, err
	}
	b := &Boot{Place: Machine, Log: zap.NewNop()}
	do(setHostname(context.Background(), b))
	do(setMachineID(context.Background(), b))
	w.Fresh, w.ID, w.Transient = b.FreshIdentity, readID(machineIDFile), readID(transientID)
	again := &Boot{Place: Machine, Log: zap.NewNop()}
	do(setMachineID(context.Background(), again))
	if readID(machineIDFile) != w.ID || again.FreshIdentity {
		w.Notes = append(w.Notes, "the ID is another the second time")
	}
	name, err2 := os.Hostname()
	do(err2)
	w.Hostname = name
	w.Notes = append(w.Notes, b.notes...)
	return w, err
}

func TestIdentity(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root, to have namespaces of its own")
		}
		t.Skip("needs root, to have namespaces of its own")
	}
	for _, kind := range []string{"writable", "read-only"} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), worldVariable+"="+kind)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
		var errors bytes.Buffer
		cmd.Stderr = &errors
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", kind, err, errors.Bytes())
		}
		var w world
		if err := json.Unmarshal(out, &w); err != nil {
			t.Fatalf("%s: %v in %q", kind, err, out)
		}
		if w.Error != "" || len(w.ID) != 32 || !w.Fresh || w.Hostname != "small.world" || len(w.Notes) > 0 {
			t.Errorf("%s: %+v", kind, w)
		}
		if transient := kind == "read-only"; transient != (w.Transient == w.ID) {
			t.Errorf("%s: the ID in /run is %q, in /etc %q", kind, w.Transient, w.ID)
		}
	}
}
