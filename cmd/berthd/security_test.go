package main

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"berth/isolate/vmtest"
	"berth/supervisor/core"

	"golang.org/x/sys/unix"
)

var buildProbe = sync.OnceValues(func() (string, error) {
	dir, err := programs() // removed with it
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "probe")
	if vmtest.Current() != "" {
		return path, nil // it was built with the machine
	}
	build := exec.Command("go", "build", "-trimpath", "-o", path, "berth/cmd/berthd/testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the probe: %w\n%s", err, out)
	}
	return path, nil
})

// probe gives the path of the program in testdata/probe, which looks at a
// container from within.
func probe(t testing.TB) string {
	t.Helper()
	path, err := buildProbe()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// probing is a unit file that runs the probe on the host's root.
func probing(t testing.TB, service string, args []string, more ...string) string {
	return command(append([]string{"/run/probe"}, args...), service) +
		fmt.Sprintf("[rootfs]\nhost = true\n[[mount]]\nsource = '%s'\ntarget = '/run/probe'\noptions = ['ro']\n", probe(t)) +
		strings.Join(more, "\n") + "\n"
}

func command(args []string, service string) string {
	return fmt.Sprintf("[service]\ncommand = ['%s']\n%s\n", strings.Join(args, "', '"), service)
}

// TestLabelsAndClocks has what a unit says of labels and clocks reach the kernel, for
// its program and for what is sent in.
func TestLabelsAndClocks(t *testing.T) {
	needRoot(t)
	const clocks = "[namespaces]\ntime = 'new'\ntime-monotonic-offset = '1h'\ntime-boottime-offset = '-1.5s'\n"
	d := start(t, map[string]string{
		"web.toml":   sh("exec sleep 1000", clocks),
		"other.toml": sh("exec sleep 1000", "[unit]\nrequires = ['web']\n[namespaces]\ntime = 'unit:web'"),
		"app.toml":   sh("true", onDemand, "[security]\napparmor = 'berth-test'"),
		"sel.toml":   sh("true", onDemand, "[security]\nselinux-label = 'a:b:c:s0'"),
	})
	const want = "monotonic 3600 0 boottime -2 500000000"
	for _, unit := range []string{"web", "other"} {
		d.wait(unit, core.Running)
		if got := strings.Join(strings.Fields(d.ok("exec", unit, "cat", "/proc/self/timens_offsets")), " "); got != want {
			t.Errorf("the clocks of %s are %q", unit, got)
		}
	}
	if text, _ := os.ReadFile("/sys/kernel/security/lsm"); strings.Contains(string(text), "apparmor") || strings.Contains(string(text), "selinux") {
		return // they would have to be known
	}
	for unit, what := range map[string]string{"app": "the AppArmor profile", "sel": "the SELinux label"} {
		if _, errs, code := d.berth("start", unit); code == 0 || !strings.Contains(errs, what) || !strings.Contains(errs, "the kernel needs") {
			t.Errorf("%s: exit code %d, %s", unit, code, errs)
		}
	}
}

// facts are what the probe printed, by what it is about.
type facts map[string][]string

func (d *daemon) facts(unit string) facts { return factsOf(d.logs(unit)) }

func factsOf(lines []string) facts {
	f := facts{}
	for _, line := range lines {
		key, value, _ := strings.Cut(line, ": ")
		f[key] = append(f[key], value)
	}
	return f
}

// is checks facts by what they are about: what is said once, and is that.
func (f facts) is(t *testing.T, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got := f[key]; len(got) != 1 || got[0] != value {
			t.Errorf("%s: got %q, want %q", key, got, value)
		}
	}
}

// emptyRoot makes a root file system that holds the probe and nothing else.
func emptyRoot(t *testing.T) string {
	t.Helper()
	root := openDir(t)
	for _, dir := range []string{"proc", "sys", "dev"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyProbe(t, filepath.Join(root, "probe"))
	return root
}

func copyProbe(t *testing.T, to string) {
	t.Helper()
	program, err := os.ReadFile(probe(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, program, 0o755); err != nil {
		t.Fatal(err)
	}
}

// openDir makes a directory that every user can pass through.
func openDir(t testing.TB) string {
	t.Helper()
	made := t.TempDir()
	for dir := made; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

// exec runs the probe in a unit's container and gives what it found.
func (d *daemon) exec(unit string, args ...string) facts {
	d.t.Helper()
	return factsOf(strings.Split(strings.TrimSpace(d.ok(append([]string{"exec"}, append([]string{unit, "--"}, args...)...)...)), "\n"))
}

// TestDefaultContainer looks from inside at containers whose units say nothing
// about isolation: there must be nothing of the host to be seen.
func TestDefaultContainer(t *testing.T) {
	needRoot(t)
	hostPath := openDir(t)
	look := []string{"inspect-and-stay", hostPath, fmt.Sprint(os.Getpid())}
	onPath := append([]string{"/probe"}, look...)
	root := emptyRoot(t)
	d := start(t, map[string]string{
		"host.toml":        probing(t, "", look),
		"host-nobody.toml": probing(t, "user = 'nobody'", look),
		"host-init.toml":   probing(t, "init = true", look),
		"path.toml":        command(onPath, "") + "[rootfs]\npath = '" + root + "'\n",
		"path-user.toml":   command(onPath, "user = '65534'\ngroup = '65534'") + "[rootfs]\npath = '" + root + "'\n",
		"writable.toml":    command(onPath, "") + "[rootfs]\npath = '" + root + "'\nwritable = 'ephemeral'\n",
	})
	berthd := identity(t, binary(t, "berthd"))
	for _, c := range []struct {
		unit, program, user string
	}{
		{"host", "/run/probe", "0"},
		{"host-nobody", "/run/probe", "65534"},
		{"host-init", "/run/probe", "0"},
		{"path", "/probe", "0"},
		{"path-user", "/probe", "65534"},
		{"writable", "/probe", "0"},
	} {
		t.Run(c.unit, func(t *testing.T) {
			d.wait(c.unit, core.Running)
			d.eventually(c.unit+" has looked", func() bool { return d.facts(c.unit)["stays"] != nil }, func() string { return strings.Join(d.logs(c.unit), "\n") })
			pid := "1"
			if c.unit == "host-init" {
				pid = "2"
			}
			main := d.facts(c.unit)
			main.is(t, map[string]string{"pid": pid, "processes": map[string]string{"1": "[1]", "2": "[1 2]"}[pid]})
			main.isolated(t, c.user, c.program)
			t.Run("exec", func(t *testing.T) {
				pids := []string{fmt.Sprint(os.Getpid()), fmt.Sprint(d.child("supervisor")), fmt.Sprint(d.cmd.Process.Pid)}
				paths := []string{hostPath, d.socket(), d.dir, "/run/berth", "/run/berth/berth.sock", "/run/systemd"}
				more := d.exec(c.unit, slices.Concat([]string{c.program, "inspect"}, paths, pids)...)
				more.isolated(t, c.user, c.program)
				others := fmt.Sprintf("[%s %s]", "1", more["pid"][0])
				if pid == "2" {
					others = fmt.Sprintf("[1 2 %s]", more["pid"][0])
				}
				more.is(t, map[string]string{"processes": others})
				for _, p := range pids {
					more.is(t, map[string]string{"kill " + p: "ESRCH", "stat /proc/" + p: "ENOENT"})
				}
				for _, p := range paths {
					more.is(t, map[string]string{"stat " + p: "ENOENT"})
				}
				for key := range more {
					if n, ok := strings.CutPrefix(key, "init's descriptor "); ok && n != "0" && n != "1" && n != "2" {
						t.Errorf("%s: %s", key, more[key])
					}
				}
				if got := more["init's file"]; len(got) == 0 || strings.HasPrefix(got[0], berthd+" ") {
					t.Errorf("the program of PID 1 is %q; berthd is %s", got, berthd)
				}
				if c.unit == "host-init" && (len(more["init's program"]) == 0 || !strings.HasPrefix(more["init's program"][0], "/memfd:")) {
					t.Errorf("the minimal init is %q", more["init's program"])
				}
			})
			t.Run("refused", func(t *testing.T) {
				unharmed(t, d.exec(c.unit, c.program, "refused"))
			})
		})
	}

	t.Run("another user's processes", func(t *testing.T) {
		// Processes of one user in one container may trace each other, as anywhere.
		f := factsOf(strings.Split(d.ok("exec", "-u", "nobody", "host", "--", "/run/probe", "refused"), "\n"))
		f.is(t, map[string]string{"ptrace of init": "EPERM", "process_vm_readv of init": "EPERM", "write init's memory": "EACCES"})
	})
	t.Run("capsh", func(t *testing.T) {
		if _, err := os.Stat("/usr/sbin/capsh"); err != nil {
			skip(t, "capsh is not installed (package libcap2-bin)")
		}
		for _, unit := range []string{"host", "host-nobody"} {
			out := d.ok("exec", unit, "--", "/usr/sbin/capsh", "--print")
			for _, want := range []string{"Current: =\n", "Bounding set =\n", "Ambient set =\n"} {
				if !strings.Contains(out, want) {
					t.Errorf("%s: capsh --print does not say %q:\n%s", unit, want, out)
				}
			}
		}
	})
}

func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("BERTH_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// identity is a file's device and inode.
func identity(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// isolated checks what a process of a default container sees.
func (f facts) isolated(t *testing.T, user, program string) {
	t.Helper()
	const none = "0000000000000000"
	id := strings.Repeat(user+" ", 3) + user
	f.is(t, map[string]string{
		"descriptors": "0 1 2",
		"Uid":         id, "Gid": id,
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none, "SigBlk": none,
		"NoNewPrivs": "1", "Seccomp": "2",
		"interface": "lo up|loopback|running", "loopback": "done",
		"in /dev":          "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
		"in /sys/firmware": "",
	})
	for _, dir := range []string{"/root", "/home", "/tmp", "/var/tmp", "/boot", "/proc/acpi", "/proc/scsi", "/var/lib/berth"} {
		if got := f["in "+dir]; len(got) != 1 || got[0] != "" && got[0] != "ENOENT" && got[0] != "EACCES" {
			t.Errorf("%s is not empty: %q", dir, got)
		}
	}
	if got := f["in /run"]; len(got) != 1 || got[0] != "ENOENT" && got[0] != "probe" {
		t.Errorf("/run holds %q", got)
	}
	for key, got := range f {
		if file, ok := strings.CutPrefix(key, "read "); ok && got[0] != "ENOENT" && got[0] != "EACCES" && got[0] != "nothing" {
			t.Errorf("%s can be read: %s", file, got[0])
		}
	}
	for _, line := range f["cgroup"] {
		if !strings.HasSuffix(line, ":/") {
			t.Errorf("the groups of the host are seen: %s", line)
		}
	}
	if len(f["cgroup"]) == 0 || len(f["mount"]) == 0 {
		t.Error("there are no groups or no mounts")
	}
	for _, line := range f["mount"] {
		if !own(line, program) {
			t.Errorf("a mount that is not berth's own, or can be written: %s", line)
		}
	}
}

// own tells whether a mount is one that berth makes in a default container:
// memory, a file system of its namespaces, or the host's system read-only.
func own(line, program string) bool {
	f := strings.Fields(line) // target type options [propagation] root source
	target, fstype, options, propagation, root := f[0], f[1], ","+f[2]+",", f[3], f[4]
	readOnly := strings.Contains(options, ",ro,")
	if propagation != "[]" {
		return false
	}
	switch fstype {
	case "tmpfs":
		if root == "/hidden" || root == "/hidden.file" {
			return readOnly
		}
		if slices.Contains([]string{"/dev", "/dev/shm", "/tmp", "/var/tmp", "/run"}, target) || target == "/sys/fs/cgroup" && readOnly {
			return true
		} // or it is the host's, whose root may be in memory
	case "proc":
		return target == "/proc" || readOnly && slices.Contains([]string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}, target)
	case "sysfs":
		return target == "/sys" && readOnly
	case "cgroup2":
		return target == "/sys/fs/cgroup" && readOnly
	case "devpts":
		return target == "/dev/pts"
	case "mqueue":
		return target == "/dev/mqueue"
	case "overlay":
		return target == "/"
	}
	system := target == "/" || target == program && program == "/run/probe"
	for _, dir := range []string{"/usr", "/etc", "/opt", "/srv", "/var", "/bin", "/sbin", "/lib"} {
		system = system || target == dir || strings.HasPrefix(target, dir+"/")
	}
	return system && readOnly && strings.Contains(options, ",nodev,")
}

// unharmed checks that everything the probe tried was refused.
func unharmed(t *testing.T, f facts) {
	t.Helper()
	// A group of the same user may trace itself; see "another user's processes".
	within := []string{"ptrace of init", "process_vm_readv of init", "write init's memory"}
	// What an ephemeral root takes is gone with the container.
	memory := []string{"create /x", "create /etc/x", "create /usr/x", "write /etc/passwd", "write /usr/bin/env", "write /bin/true"}
	n := 0
	for what, results := range f {
		if slices.Contains(within, what) || slices.Contains(memory, what) && strings.HasSuffix(t.Name(), "/writable/refused") {
			continue
		}
		n++
		for _, r := range results {
			if !slices.Contains([]string{"EPERM", "EACCES", "EROFS", "ENOENT", "ENOSYS"}, r) {
				t.Errorf("%s: %s", what, r)
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d things were tried", n)
	}
}

// TestSetUserID executes a set-user-ID program of root inside containers of nobody.
func TestSetUserID(t *testing.T) {
	needRoot(t)
	root := emptyRoot(t)
	suid := filepath.Join(root, "suid")
	copyProbe(t, suid)
	if err := os.Chmod(suid, 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	unit := command([]string{"/suid", "euid"}, "type = 'task'\nremain = true\nuser = '65534'\ngroup = '65534'") + "[rootfs]\npath = '" + root + "'\n"
	d := start(t, map[string]string{
		"default.toml": unit,
		"allowed.toml": unit + "[security]\nno-new-privileges = false\n", // the control: where it is allowed, it works
	})
	d.wait("default", core.Completed)
	d.facts("default").is(t, map[string]string{"euid": "65534", "egid": "65534"})
	d.wait("allowed", core.Completed)
	d.facts("allowed").is(t, map[string]string{"euid": "0", "egid": "0"})
}

// ownOfAStart are what a process has that waits to execute its program: the
// memory it is in, and what it reports and waits with.
var ownOfAStart = []string{"memfd:berth-start", "socket:", "pipe:"}

// TestHostileNeighbour has a process spin in a container for whatever enters
// it, and enters it many times: what enters must be out of reach until it has
// executed its program. One that keeps CAP_SYS_PTRACE, which overrides what makes
// a process untraceable, may have all of it: nothing of that is berthd's.
func TestHostileNeighbour(t *testing.T) {
	needRoot(t)
	const entries = 50
	const mark = "BERTH_TEST_MARK=of-the-daemon"
	t.Setenv("BERTH_TEST_MARK", "of-the-daemon")
	image, err := elf.Open(binary(t, "berthd"))
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	// /bin/true lies elsewhere: it is position-independent.
	hunt := []string{"hunt", fmt.Sprint(image.Section(".text").Addr), fmt.Sprint(image.Section(".data").Addr), mark}
	const later = "[unit]\nstart = 'demand'"
	const strong = "['SYS_PTRACE', 'SYS_ADMIN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'SYS_RAWIO', 'KILL']"
	d := start(t, map[string]string{
		"root.toml":   probing(t, "", hunt, later),
		"nobody.toml": probing(t, "user = 'nobody'", hunt, later),
		// A whole container is made before the eyes of whoever shares its PID namespace.
		"shared.toml":        probing(t, "", hunt, later),
		"tracer.toml":        probing(t, "", hunt, later+"\n[capabilities]\nkeep = ['SYS_PTRACE']"),
		"strong.toml":        probing(t, "", hunt, later+"\n[capabilities]\nkeep = "+strong),
		"shared-tracer.toml": probing(t, "", hunt, later+"\n[capabilities]\nkeep = ['SYS_PTRACE']"),
		"joins-tracer.toml":  later + "\nrequires = ['shared-tracer']\n" + command([]string{"/bin/true"}, "type = 'task'\npre-start = [['/bin/true']]") + "[rootfs]\nhost = true\n[namespaces]\npid = 'unit:shared-tracer'\n",
		"joins.toml":         later + "\nrequires = ['shared']\n" + command([]string{"/bin/true"}, "type = 'task'\npre-start = [['/bin/true']]") + "[rootfs]\nhost = true\n[namespaces]\npid = 'unit:shared'\n",
	})
	berthd := identity(t, binary(t, "berthd"))
	for _, unit := range []string{"root", "nobody", "shared", "tracer", "strong", "shared-tracer"} {
		tracer := unit == "tracer" || unit == "strong" || unit == "shared-tracer"
		entries := entries
		if tracer {
			entries *= 4
		}
		t.Run(unit, func(t *testing.T) {
			d.ok("start", unit)
			d.eventually("the hunter is ready", func() bool { return d.facts(unit)["hunts"] != nil })
			for range entries {
				if of, ok := strings.CutPrefix(unit, "shared"); ok {
					d.ok("start", "joins"+of)
					d.wait("joins"+of, core.Completed)
				} else {
					d.ok("exec", unit, "--", "/bin/true")
				}
			}
			d.ok("stop", unit) // the hunter is the init: it ends at once
			seen, refused := 0, 0
			// What of a process must be out of reach until its program is executed; of
			// /bin/true nothing of the kind is ever to be had.
			never := []string{berthd, "berthd", "process_vm", "mem ", "environ ", "root ", "cwd ", "socket:", "pipe:", "memfd", "anon_inode", "cgroup"}
			for _, line := range d.facts(unit)["prey"] {
				var pid, n int
				if _, err := fmt.Sscanf(line, "%d refused %d", &pid, &n); err != nil {
					t.Fatalf("cannot read %q: %v", line, err)
				}
				seen++
				if n > 0 {
					refused++
				}
				_, got, _ := strings.Cut(line, " got ")
				if tracer {
					// What it finds there is the program's own, or the last of its set-up.
					if strings.Contains(got, "memfd:berth-start") {
						refused++
					}
					for _, own := range ownOfAStart {
						got = strings.ReplaceAll(got, own, "")
					}
				}
				for _, bad := range never {
					if strings.Contains(got, bad) {
						t.Errorf("process %d before its program was executed (%s): %s", pid, bad, got)
						break
					}
				}
			}
			t.Logf("%d entered, %d were seen, %d of them before the program was executed", entries, seen, refused)
			if refused == 0 {
				t.Error("the hunter came too late every time: nothing was tested")
			}
		})
	}
}
