package isolate

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/isolate/program"
)

// A child that is killed before it executes is no success.
func TestKilledBeforeItExecutes(t *testing.T) {
	needRoot(t)
	prep := prepared(t, hostSpec("/bin/true"))
	child, err := prep.Fork()
	if err != nil {
		t.Fatal(err)
	}
	// It can be read that it came to the gate; it stays there.
	marks := 0
	for buf := make([]byte, program.RecordSize); ; marks++ {
		if _, err := prep.status.Read(buf); err != nil {
			t.Fatal(err)
		}
		if origin := binary.NativeEndian.Uint32(buf[4:]); prep.Program().Inside[origin].Sys == program.OpGate {
			break
		}
	}
	if marks < 2 {
		t.Errorf("only %d marks", marks)
	}
	child.Kill()
	var step *StepError
	if err := prep.Wait(deadline()); !asStep(err, &step) || step.Text == "" {
		t.Errorf("killed at the gate: %v", err)
	}
	if ws, err := child.Wait(); err != nil || ws.Signal() != unix.SIGKILL {
		t.Errorf("ended with %#x, %v", uint32(ws), err)
	}
}

// What is read of a start that somebody else began.
func TestStatusOfAnUnknownProgram(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		args string
		ok   bool
	}{{"/bin/true", true}, {"/not/there", false}} {
		p, err := Compile(hostSpec(c.args))
		if err != nil {
			t.Fatal(err)
		}
		prep, err := Prepare(p, Files{})
		if err != nil {
			t.Fatal(err)
		}
		child, err := prep.Fork()
		if err != nil {
			t.Fatal(err)
		}
		if err := prep.Proceed(); err != nil {
			t.Error(err)
		}
		prep.status.SetReadDeadline(deadline())
		if err := ReadStatus(prep.status, &program.Program{Name: "unknown"}); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.args, err)
		}
		prep.Close()
		child.Wait()
	}
}

func TestCgroups(t *testing.T) {
	needRoot(t)
	const unified, pids = "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"
	for _, d := range []string{unified, pids} {
		if _, err := os.Stat(d + "/cgroup.procs"); err != nil {
			t.Skip("the groups of this host are laid out otherwise; package cgroup tests them")
		}
	}
	spec := shell("cat /proc/self/cgroup; ls /sys/fs/cgroup | grep -c cgroup.procs")
	spec.Cgroup = Cgroup{Unified: true, Legacy: []string{"pids"}}
	name := "/berth-isolate-test"
	for _, d := range []string{unified, pids} {
		if err := os.Mkdir(d+name, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(d + name)
	}
	dir, err := os.Open(unified + name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	procs, err := os.OpenFile(pids+name+"/cgroup.procs", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer procs.Close()
	out := runWith(t, spec, Files{CgroupDir: dir, CgroupProcs: map[string]*os.File{"pids": procs}})
	if !strings.Contains(out, "0::/\n") || !strings.Contains(out, ":pids:/\n") || !strings.HasSuffix(out, "\n1") {
		t.Error(out)
	}
	spec.Namespaces.Cgroup.Mode = NSHost
	spec.Process.Args[2] = "cat /proc/self/cgroup"
	out = runWith(t, spec, Files{CgroupDir: dir, CgroupProcs: map[string]*os.File{"pids": procs}})
	if !strings.Contains(out, "0::"+name) || !strings.Contains(out, ":pids:"+name) {
		t.Error(out)
	}
	if _, _, err := start(t, spec, Files{}); err == nil {
		t.Error("missing groups were not noticed")
	}
}
