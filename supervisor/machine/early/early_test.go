package early

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"berth/supervisor/machine"

	"golang.org/x/sys/unix"
)

// world is the variable that makes the test binary PID 1 of a small world, whose
// root is a new tmpfs: "empty", "read-only" (with nothing but empty directories)
// or "made" (as a container's maker leaves it).
const world = "BERTH_TEST_WORLD"

// seen is what PID 1 of such a world finds after Prepare.
type seen struct {
	Place    string
	Problems []string
	Again    []string // of a second time
	Mounts   map[string]string
	Modes    map[string]string
	Links    map[string]string
	Session  bool
	Umask    int
	Path     string
	Kept     bool // what lay in /run is in sight
}

func TestMain(m *testing.M) {
	kind := os.Getenv(world)
	if kind == "" {
		os.Exit(m.Run())
	}
	if err := live(kind); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func live(kind string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	const root = "/tmp"
	if err := unix.Mount("root", root, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	if err := unix.Chroot(root); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if kind != "empty" {
		for _, dir := range []string{"proc", "sys", "dev", "run"} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
		}
	}
	switch kind {
	case "made":
		if err := os.WriteFile("/run/secret", nil, 0o600); err != nil {
			return err
		}
	case "read-only":
		if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return err
		}
	}
	os.Unsetenv("PATH")
	place, problems := Prepare()
	_, again := Prepare()
	s := seen{Place: place.String(), Problems: problems, Again: again, Mounts: map[string]string{}, Modes: map[string]string{}, Links: map[string]string{}}
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		s.Mounts[f[1]] += f[2] + " " + f[3] + ";"
	}
	for _, n := range nodes {
		if info, err := os.Lstat(n.path); err == nil {
			s.Modes[n.path] = info.Mode().String()
		}
	}
	for _, l := range links {
		s.Links[l.path], _ = os.Readlink(l.path)
	}
	sid, err := unix.Getsid(0)
	s.Session = err == nil && sid == 1
	s.Umask = unix.Umask(0)
	s.Path = os.Getenv("PATH")
	s.Kept = exists("/run/secret")
	return json.NewEncoder(os.Stdout).Encode(s)
}

func inWorld(t *testing.T, kind string) seen {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root, to be PID 1 of a namespace")
		}
		t.Skip("needs root, to be PID 1 of a namespace")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), world+"="+kind)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil {
		t.Fatalf("the world ended: %v\n%s", err, errors.Bytes())
	}
	var s seen
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatalf("%v in %q", err, out.Bytes())
	}
	return s
}

func TestContainer(t *testing.T) {
	for _, kind := range []string{"empty", "read-only", "made"} {
		t.Run(kind, func(t *testing.T) {
			s := inWorld(t, kind)
			if s.Place != "container" || len(s.Problems) > 0 || len(s.Again) > 0 {
				t.Errorf("place %s, problems %q, again %q", s.Place, s.Problems, s.Again)
			}
			if !s.Session || s.Umask != 0o022 || s.Path != defaultPath {
				t.Errorf("session %t, umask %#o, PATH %q", s.Session, s.Umask, s.Path)
			}
			for target, options := range map[string][]string{
				"/proc":    {"proc", "nosuid", "nodev", "noexec"},
				"/sys":     {"sysfs", "nosuid", "nodev", "noexec"},
				"/dev/pts": {"devpts", "nosuid", "noexec", "gid=5", "mode=620"},
			} {
				for _, option := range options {
					if !strings.Contains(s.Mounts[target], option) {
						t.Errorf("%s is mounted as %q, without %s", target, s.Mounts[target], option)
					}
				}
				if strings.Count(s.Mounts[target], ";") != 1 {
					t.Errorf("%s is mounted as %q", target, s.Mounts[target])
				}
			}
			if ran := s.Mounts["/run"]; (ran != "") != (kind == "read-only") && kind != "empty" {
				t.Errorf("/run is mounted as %q", ran)
			}
			if s.Kept != (kind == "made") {
				t.Error("what lay in /run is out of sight")
			}
			if dev := s.Mounts["/dev"]; strings.Contains(dev, "devtmpfs") || (dev == "") != (kind == "made") {
				t.Errorf("/dev is mounted as %q", dev)
			}
			for _, n := range nodes {
				mode, made := s.Modes[n.path]
				want := (fs.FileMode(n.mode) | fs.ModeDevice | fs.ModeCharDevice).String()
				if made != n.container || made && mode != want {
					t.Errorf("%s: %q, want %q in a container: %t", n.path, mode, want, n.container)
				}
			}
			for _, l := range links {
				if s.Links[l.path] != l.to {
					t.Errorf("%s leads to %q", l.path, s.Links[l.path])
				}
			}
		})
	}
}

func TestPrepareElsewhere(t *testing.T) {
	before := unix.Umask(0o027)
	defer unix.Umask(before)
	place, problems := Prepare()
	if place != machine.Service || len(problems) > 0 {
		t.Errorf("%v, %q", place, problems)
	}
	if now := unix.Umask(0o027); now != 0o027 {
		t.Errorf("the umask became %#o", now)
	}
}
