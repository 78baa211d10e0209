package isolate

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func TestNothingOfTheHostIsVisible(t *testing.T) {
	needRoot(t)
	leak, err := unix.Open("/etc/hostname", unix.O_RDONLY, 0) // not close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)

	t.Run("processes", func(t *testing.T) {
		equal(t, "pids", run(t, hostSpec("/bin/sh", "-c", "cd /proc; for p in [0-9]*; do echo $p; done")), "1")
	})
	t.Run("descriptors", func(t *testing.T) {
		// The shell itself has the directory open while it lists it.
		equal(t, "descriptors", run(t, shell("ls /proc/1/fd")), "0\n1\n2")
	})
	t.Run("interfaces", func(t *testing.T) {
		out := run(t, shell("cd /sys/class/net; echo *; cat lo/flags"))
		equal(t, "interfaces", out, "lo\n0x9")
	})
	t.Run("mounts", func(t *testing.T) {
		mounts, err := mountinfo.GetMountsFromReader(strings.NewReader(run(t, shell("cat /proc/self/mountinfo"))), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mounts {
			options := "," + m.Options + ","
			if strings.HasPrefix(m.Source, "/dev/") && !strings.Contains(options, ",ro,") {
				t.Errorf("%s (%s) can be written: %s", m.Mountpoint, m.Source, m.Options)
			}
			if m.Optional != "" {
				t.Errorf("%s is not private: %s", m.Mountpoint, m.Optional)
			}
			if m.Mountpoint == "/" && !strings.Contains(options, ",nosuid,nodev,") {
				t.Errorf("the root has options %s", m.Options)
			}
		}
	})
	t.Run("private directories", func(t *testing.T) {
		mark := t.TempDir() // below /tmp of the host
		equal(t, "/tmp, /var/tmp, /run, /root and /home", run(t, shell("ls -A /tmp /var/tmp /run /root /home; test ! -e "+mark)),
			"/home:\n\n/root:\n\n/run:\n\n/tmp:\n\n/var/tmp:")
	})
	t.Run("masked", func(t *testing.T) {
		equal(t, "reads", run(t, shell("for f in /etc/shadow /etc/gshadow /proc/kcore /proc/keys /proc/timer_list; do test -e $f && cat $f 2>/dev/null && echo $f; done; ls -A /sys/firmware")), "")
	})
	t.Run("refused", func(t *testing.T) {
		for _, c := range []string{"mount -t tmpfs x /tmp", "umount /proc/keys", "touch /x", "touch /etc/x", "echo x >/proc/sys/kernel/domainname",
			"touch /sys/x", "mknod /tmp/x c 1 3", "hostname x", "ip link add type veth"} {
			spec := shell(c + " 2>/dev/null")
			if out, ws, err := start(t, spec, Files{}); err != nil || ws.ExitStatus() == 0 {
				t.Errorf("%s was not refused: %v %#x %s", c, err, uint32(ws), out)
			}
		}
	})
	t.Run("devices", func(t *testing.T) {
		equal(t, "/dev", run(t, shell("ls /dev; stat -c '%A %t,%T' /dev/null /dev/tty")),
			"fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\ncrw-rw-rw- 1,3\ncrw-rw-rw- 5,0")
	})
	t.Run("control groups", func(t *testing.T) {
		out := run(t, shell("cat /proc/self/status /proc/self/cgroup"))
		if strings.Contains(out, "berth") {
			t.Errorf("the groups of the host are visible:\n%s", out)
		}
	})
}

func TestSignalsAreAsForANewProgram(t *testing.T) {
	needRoot(t)
	signal.Ignore(syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGPIPE)
	// cat is started by a shell, which passes on what it was given.
	out := run(t, hostSpec("/bin/cat", "/proc/self/status"))
	for _, f := range []string{"SigBlk", "SigIgn", "SigCgt"} {
		equal(t, f, field(t, out, f), "0000000000000000")
	}
}

func TestCapabilities(t *testing.T) {
	needRoot(t)
	const netBind, chown = uint64(1) << unix.CAP_NET_BIND_SERVICE, uint64(1) << unix.CAP_CHOWN
	fields := []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}
	for _, c := range []struct {
		name, user string
		caps       Capabilities
		want       string
	}{
		{"none", "", Capabilities{}, "0 0 0 0 0"},
		{"none for a user", "nobody", Capabilities{}, "0 0 0 0 0"},
		{"root keeps the bounding set", "", Capabilities{Bounding: chown, Permitted: chown, Effective: chown}, "0 1 1 1 0"},
		{"a user keeps the ambient ones", "nobody", Capabilities{Bounding: netBind, Permitted: netBind, Effective: netBind, Inheritable: netBind, Ambient: netBind}, "400 400 400 400 400"},
		{"a user without ambient ones has none", "nobody", Capabilities{Bounding: netBind, Permitted: netBind, Effective: netBind}, "0 0 0 400 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := hostSpec("/bin/cat", "/proc/self/status")
			spec.Process.User, spec.Process.Capabilities = c.user, c.caps
			out := run(t, spec)
			var have []string
			for _, f := range fields {
				v := strings.TrimLeft(field(t, out, f), "0")
				if v == "" {
					v = "0"
				}
				have = append(have, v)
			}
			equal(t, strings.Join(fields, " "), strings.Join(have, " "), c.want)
			equal(t, "NoNewPrivs", field(t, out, "NoNewPrivs"), "1")
		})
	}
	t.Run("missing", func(t *testing.T) {
		bounding, _ := capabilitySets()
		if bounding>>unix.CAP_SYS_RESOURCE&1 == 1 {
			t.Skip("this process has every capability the test knows of")
		}
		spec := hostSpec("/bin/true")
		spec.Process.Capabilities = Capabilities{Bounding: 1 << unix.CAP_SYS_RESOURCE}
		if e := fails(t, spec); e.Op != "check_capabilities" {
			t.Errorf("failed at %v", e)
		}
	})
}

// denyMkdir is a filter that refuses mkdir and mkdirat and allows everything else.
func denyMkdir(nrs ...uint32) []byte {
	ins := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}}
	for i, nr := range nrs {
		ins = append(ins, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(nrs) - i), K: nr})
	}
	ins = append(ins, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSPC)})
	var out []byte
	for _, i := range ins {
		out = append(out, byte(i.Code), byte(i.Code>>8), i.Jt, i.Jf, byte(i.K), byte(i.K>>8), byte(i.K>>16), byte(i.K>>24))
	}
	return out
}

func TestSeccomp(t *testing.T) {
	needRoot(t)
	for _, nnp := range []bool{true, false} {
		spec := shell("mkdir /tmp/x 2>&1; cat /proc/self/status")
		spec.Process.NoNewPrivileges = nnp
		spec.Process.Seccomp = denyMkdir(mkdirNumbers...)
		spec.PreStart = [][]string{{"/bin/sh", "-c", "mkdir /tmp/y 2>/dev/null && echo made; exit 0"}}
		out := run(t, spec)
		equal(t, "Seccomp", field(t, out, "Seccomp"), "2")
		equal(t, "Seccomp_filters", field(t, out, "Seccomp_filters"), "1")
		if !strings.Contains(out, "No space left") || strings.Contains(out, "made") {
			t.Errorf("mkdir was not refused:\n%s", out)
		}
	}
}

func TestGateClosedExecutesNothing(t *testing.T) {
	needRoot(t)
	spec := hostSpec("/usr/bin/touch", "/mark/main")
	dir := t.TempDir()
	spec.Mounts = []Mount{{Type: Bind, Source: dir, Target: "/tmp"}}
	spec.Process.Args[1] = "/tmp/main"
	spec.PreStart = [][]string{{"/usr/bin/touch", "/tmp/hook"}}
	prep := prepared(t, spec)
	child, err := prep.Fork()
	if err != nil {
		t.Fatal(err)
	}
	prep.Close()
	ws, err := child.Wait()
	if err != nil || ws.ExitStatus() != ExitGateClosed {
		t.Errorf("ended with %#x, %v", uint32(ws), err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("something was executed: %v", list)
	}
}

// A child whose step failed must still be there until its starter knows its pid.
func TestFailedChildWaitsForItsStarter(t *testing.T) {
	needRoot(t)
	prep := prepared(t, hostSpec("/bin/true"))
	prep.failInside = 20
	child, err := prep.Fork()
	if err != nil {
		t.Fatal(err)
	}
	var step *StepError
	if err := prep.Wait(deadline()); !asStep(err, &step) || step.Step != len(prep.Program().Outside)+19 || step.Errno != unix.EIO {
		t.Errorf("the status says %v", err)
	}
	poll := []unix.PollFd{{Fd: int32(child.PIDFD), Events: unix.POLLIN}}
	if n, _ := unix.Poll(poll, 50); n != 0 {
		t.Error("it is gone before the gate was opened")
	}
	if err := prep.Proceed(); err != nil {
		t.Error(err)
	}
	if ws, err := child.Wait(); err != nil || ws.ExitStatus() != ExitFailed {
		t.Errorf("ended with %#x, %v", uint32(ws), err)
	}
}

// A child has no copy of what is on its starter's heap: that would cost each start
// the more time the more there is.
func TestChildLeavesTheHeap(t *testing.T) {
	needRoot(t)
	prep := prepared(t, hostSpec("/bin/true"))
	prep.failInside = 20 // it then waits as what it was forked as
	// Go takes its heap in pieces of 64 MB, and what is left out is the one with
	// the stack.
	const piece = 64 << 20
	var heap [][]byte
	var local, beside int
	for range piece / (64 << 10) {
		b := bytes.Repeat([]byte{1}, 64<<10)
		if uintptr(unsafe.Pointer(&b[0]))/piece == uintptr(unsafe.Pointer(&local))/piece {
			beside += len(b)
		}
		heap = append(heap, b)
	}
	child, err := prep.Fork()
	if err != nil {
		t.Fatal(err)
	}
	if err := prep.Wait(deadline()); err == nil {
		t.Error("the step did not fail")
	}
	ours, theirs := anonymous(t, os.Getpid()), anonymous(t, child.PID)
	if theirs > ours-beside+1<<20 {
		t.Errorf("the child has %d KB of memory, of %d KB, though it needs none of %d KB", theirs>>10, ours>>10, beside>>10)
	}
	runtime.KeepAlive(heap)
	child.Kill()
	child.Wait()

	// Others get it again: package syscall forks a whole copy for a user namespace.
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	if err := cmd.Run(); err != nil {
		t.Errorf("a child in a user namespace: %v", err)
	}
}

// anonymous gives how many bytes a process has that are of no file.
func anonymous(t *testing.T, pid int) (size int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\nRssAnon:")
	if _, err := fmt.Sscan(after, &size); err != nil {
		t.Fatalf("no RssAnon of process %d: %v", pid, err)
	}
	return size << 10
}
