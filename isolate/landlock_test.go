package isolate

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"berth/isolate/program"
)

// needLandlock skips where the kernel lacks it.
func needLandlock(t *testing.T, abi int) {
	t.Helper()
	needRoot(t)
	have, err := LandlockABI()
	if err != nil {
		t.Fatal(err)
	}
	if have < abi {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatalf("this kernel has Landlock ABI %d, and nothing may be skipped", have)
		}
		t.Skipf("needs Landlock ABI %d, this kernel has %d", abi, have)
	}
}

// systemRules are those that nearly every program needs, and more.
func systemRules(more ...LandlockRule) []LandlockRule {
	var list []LandlockRule
	for _, dir := range []string{"/usr", "/bin", "/lib", "/lib64"} {
		if _, err := os.Stat(dir); err == nil {
			list = append(list, LandlockRule{Path: dir, Read: true, Execute: true})
		}
	}
	return append(list, more...)
}

func TestLandlockFiles(t *testing.T) {
	needLandlock(t, 3)
	dir := t.TempDir()
	tool, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"rw", "ro", "no", "x"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, d, "f"), d+"\n")
		if err := os.WriteFile(filepath.Join(dir, d, "true"), tool, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "one"), "one\n")
	spec := shell(`try() { "$@" >/dev/null 2>&1 && echo yes || echo no; }
		cd /run/t
		try cat rw/f; try cat ro/f; try cat no/f; try cat one
		try tee rw/g </dev/null; try tee ro/g </dev/null; try truncate -s 0 no/f; try truncate -s 0 rw/f
		try mv rw/f rw/h; try ln rw/h ro/h; try rm ro/f; try mkdir no/d
		try x/true; try ro/true`)
	spec.Mounts = []Mount{{Type: Bind, Source: dir, Target: "/run/t"}}
	spec.Process.Landlock = &Landlock{Rules: systemRules(
		LandlockRule{Path: "/run/t/rw", Read: true, Write: true}, LandlockRule{Path: "/run/t/ro", Read: true},
		LandlockRule{Path: "/run/t/x", Read: true, Execute: true}, LandlockRule{Path: "/run/t/one", Read: true, Write: true},
		LandlockRule{Path: "/dev/null", Read: true, Write: true},
	)}
	spec.PreStart = [][]string{{"/bin/true"}}
	equal(t, "access", strings.Join(strings.Fields(run(t, spec)), " "), "yes yes no yes yes no no yes yes no no no yes no")
}

func TestLandlockWithInitAndListener(t *testing.T) {
	needLandlock(t, 6)
	spec := shell("cat /etc/hostname 2>/dev/null || echo refused; mkdir /tmp/x && echo made; kill -0 1 2>/dev/null || echo no signal")
	spec.Init = true
	spec.Process.Landlock = &Landlock{Rules: systemRules(LandlockRule{Path: "/dev/null", Write: true}), ScopeSignals: true, ScopeAbstractUnix: true}
	spec.Process.Seccomp, spec.Process.SeccompListener = filterOf(t, notifyMkdir), true
	p, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	out, faked, _ := withAgent(t, p, Files{})
	equal(t, "output", out, "refused\nmade\nno signal")
	if faked != 1 {
		t.Errorf("%d calls faked", faked)
	}
}

func TestLandlockOfAnExec(t *testing.T) {
	needLandlock(t, 3)
	_, pidfd := background(t, hostSpec("sleep", "1000"))
	p, err := CompileExec(&ExecSpec{Name: "test", PID: true, Mount: true, Process: Process{NoNewPrivileges: true,
		Args: []string{"/bin/cat", "/etc/passwd"}, Landlock: &Landlock{Rules: systemRules()}}})
	if err != nil {
		t.Fatal(err)
	}
	prep, err := Prepare(p, Files{Processes: map[string]*os.File{TargetProcess: pidfd}})
	if err != nil {
		t.Fatal(err)
	}
	defer prep.Close()
	child, err := Spawn(prep)
	if err != nil {
		t.Fatal(err)
	}
	if ws, err := child.Wait(); err != nil || ws.ExitStatus() != 1 {
		t.Error(ws, err)
	}
}

func TestLandlockPorts(t *testing.T) {
	needLandlock(t, 4)
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("needs python3, to make sockets with")
	}
	spec := shell(`python3 -c '
import socket, errno
def bind(p):
    s = socket.socket()
    try: s.bind(("127.0.0.1", p)); s.listen(); return s
    except OSError as e: print(p, errno.errorcode[e.errno])
def connect(p):
    try: socket.create_connection(("127.0.0.1", p)); print("connected")
    except OSError as e: print(p, errno.errorcode[e.errno])
a = bind(4001); bind(4002); connect(4001); connect(4003)'`)
	spec.Process.Landlock = &Landlock{TCPBind: []uint16{4001}, TCPConnect: []uint16{4001}}
	equal(t, "ports", run(t, spec), "4002 EACCES\nconnected\n4003 EACCES")
	spec.Process.Landlock = &Landlock{TCPBind: []uint16{}}
	equal(t, "no port", run(t, spec), "4001 EACCES\n4002 EACCES\n4001 ECONNREFUSED\n4003 ECONNREFUSED")
}

func TestLandlockFailures(t *testing.T) {
	needLandlock(t, 3)
	spec := hostSpec("/bin/true")
	spec.Process.Landlock = &Landlock{Rules: []LandlockRule{{Path: "/nowhere", Read: true}}}
	if e := fails(t, spec); e.Op != "openat2" || e.Path != "/nowhere" || e.Errno != syscall.ENOENT || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	spec.Process.Landlock.Rules[0] = LandlockRule{Path: "/usr", Read: true}
	if e := fails(t, spec); e.Op != "execve" || e.Errno != syscall.EACCES || !strings.Contains(e.Hint, "Landlock") {
		t.Errorf("%+v", e)
	}
}

// TestLandlockABIs holds what becomes of a request on kernels that know less.
func TestLandlockABIs(t *testing.T) {
	all := &Landlock{Rules: []LandlockRule{{Path: "/usr", Read: true, Write: true}}, TCPBind: []uint16{80}, ScopeSignals: true}
	for _, c := range []struct {
		abi      int
		landlock *Landlock
		attr     [3]uint64
		rule     uint64
		late     [2]uint64
		err      string
	}{
		{0, all, [3]uint64{}, 0, [2]uint64{}, "no Landlock"},
		{5, all, [3]uint64{}, 0, [2]uint64{}, "takes Landlock ABI 6 (Linux 6.12), this kernel has ABI 5"},
		{3, &Landlock{TCPBind: []uint16{}}, [3]uint64{}, 0, [2]uint64{}, "takes Landlock ABI 4"},
		{2, &Landlock{Rules: all.Rules}, [3]uint64{}, 0, [2]uint64{}, "takes Landlock ABI 3"},
		{3, &Landlock{Rules: all.Rules}, [3]uint64{0x7fff, 0, 0}, 0x7ffe, [2]uint64{}, ""},
		{7, all, [3]uint64{0xffff, 1, 2}, 0xfffe, [2]uint64{}, ""},
		{0, bestEffort(all), [3]uint64{0, 0, 0}, 0, [2]uint64{0, 0}, ""},
		{1, bestEffort(all), [3]uint64{0x1fff, 0, 0}, 0x1ffe, [2]uint64{1, 0}, ""},
		{4, bestEffort(all), [3]uint64{0x7fff, 1, 0}, 0x7ffe, [2]uint64{1, 1}, ""},
	} {
		spec := hostSpec("/bin/true")
		spec.Process.Landlock = c.landlock
		p, err := Compile(spec)
		if err != nil {
			t.Fatal(err)
		}
		var d landlockData
		for _, s := range p.Outside {
			if s.Sys == program.OpLandlock {
				d = s.Data.(landlockData)
			}
		}
		pr := &Prepared{program: p, arena: alignedCopy(p.Arena), late: make([]lateValue, len(p.Late))}
		err = pr.landlockAt(d, c.abi)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("ABI %d, %+v: %v, want %q", c.abi, c.landlock, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("ABI %d, %+v: %v", c.abi, c.landlock, err)
			continue
		}
		word := func(at uint64) uint64 { return binary.NativeEndian.Uint64(pr.arena[at:]) }
		if got := [3]uint64{word(d.attr), word(d.attr + 8), word(d.attr + 16)}; got != c.attr || word(d.paths[0]) != c.rule {
			t.Errorf("ABI %d, %+v: handled %#x, rule %#x", c.abi, c.landlock, got, word(d.paths[0]))
		}
		if c.landlock.BestEffort {
			if got := [2]uint64{pr.late[d.onLate].val, pr.late[d.netLate].val}; got != c.late {
				t.Errorf("ABI %d: late values %v", c.abi, got)
			}
		}
	}
	spec := hostSpec("/bin/true")
	spec.Process.Landlock, spec.Process.NoNewPrivileges = all, false
	if _, err := Compile(spec); err == nil || !strings.Contains(err.Error(), "no-new-privileges") {
		t.Error(err)
	}
}

func bestEffort(l *Landlock) *Landlock {
	c := *l
	c.BestEffort = true
	return &c
}

// TestLandlockIsLeftOut runs a best effort of which nothing is left.
func TestLandlockIsLeftOut(t *testing.T) {
	needRoot(t)
	for _, left := range []bool{true, false} {
		spec := hostSpec("/bin/cat", "/etc/passwd")
		spec.Process.Landlock = bestEffort(&Landlock{Rules: systemRules(), TCPBind: []uint16{80}})
		prep := prepared(t, spec)
		for i, name := range prep.program.Late {
			if strings.HasPrefix(name, "Landlock") && !left {
				prep.late[i].val = 0 // as on a kernel without it
			}
		}
		fd, err := prep.tailMemFD() // again, with what has changed
		if err != nil {
			t.Fatal(err)
		}
		prep.regs[prep.register(regTail)] = int32(fd)
		child, err := Spawn(prep)
		prep.Close()
		if err != nil {
			t.Fatal(err)
		}
		if ws, err := child.Wait(); err != nil || (ws == 0) == left {
			t.Error(left, ws, err)
		}
	}
}
