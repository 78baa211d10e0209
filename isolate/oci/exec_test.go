package oci

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestExec holds what a process that is added has of its own, and what it has of
// the container's.
func TestExec(t *testing.T) {
	config := full()
	config.Linux.Namespaces = config.Linux.Namespaces[2:] // without cgroup and ipc
	config.Linux.Personality = &specs.LinuxPersonality{Domain: "LINUX32"}
	config.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW"}
	config.Process = &specs.Process{
		Args: []string{"server"}, Cwd: "/srv", Env: []string{"A=1"}, NoNewPrivileges: true,
		User:         specs.User{UID: 1, GID: 2, Umask: ptr(uint32(0o27)), AdditionalGids: []uint32{3}},
		Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}},
		Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_CPU", Soft: 1, Hard: 1}},
		OOMScoreAdj:  ptr(5), ApparmorProfile: "web", SelinuxLabel: "a:b:c",
		Scheduler:       &specs.Scheduler{Policy: "SCHED_BATCH"},
		IOPriority:      &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_BE", Priority: 1},
		ExecCPUAffinity: &specs.CPUAffinity{Initial: "0-1", Final: "1"},
	}
	const common = `Name = c1
Process.Args[0] = sh
Process.Dir = /
`
	const rest = `PID = true
Mount = true
UTS = true
Network = true
User = true
Time = true
`
	for _, c := range []struct {
		name string
		p    *specs.Process
		want string
	}{
		{"nothing of its own", &specs.Process{Args: []string{"sh"}, Cwd: "/"}, common + `Process.Capabilities.Bounding = 0x20
Process.Seccomp is there
Process.Umask = 027
Process.Rlimits[0].Name = cpu
Process.Rlimits[0].Soft = 1
Process.Rlimits[0].Hard = 1
Process.Scheduling.Nice = 0
Process.Scheduling.OOMScoreAdjust = 5
Process.Scheduling.IOPriority = 16385
Process.Scheduling.Policy = 3
Process.Scheduling.InitialAffinity[0] = 0
Process.Scheduling.InitialAffinity[1] = 1
Process.Scheduling.FinalAffinity[0] = 1
Process.IDs is there
Process.AppArmor = web
Process.SELinux = a:b:c
Process.Personality = 8
` + rest},
		{"all its own", &specs.Process{
			Args: []string{"sh"}, Cwd: "/", Env: []string{"B=2"}, NoNewPrivileges: true, User: specs.User{UID: 7, Umask: ptr(uint32(0))},
			Capabilities: &specs.LinuxCapabilities{}, Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_FSIZE", Soft: 2, Hard: 2}},
			OOMScoreAdj: ptr(6), ApparmorProfile: "x", SelinuxLabel: "y",
			Scheduler: &specs.Scheduler{Policy: "SCHED_IDLE"}, IOPriority: &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_IDLE"},
			ExecCPUAffinity: &specs.CPUAffinity{Initial: "2"},
		}, `Name = c1
Process.Args[0] = sh
Process.Env[0] = B=2
Process.Dir = /
Process.NoNewPrivileges = true
Process.Seccomp is there
Process.Rlimits[0].Resource = 1
Process.Rlimits[0].Name = fsize
Process.Rlimits[0].Soft = 2
Process.Rlimits[0].Hard = 2
Process.Scheduling.OOMScoreAdjust = 6
Process.Scheduling.IOPriority = 24576
Process.Scheduling.Policy = 5
Process.Scheduling.InitialAffinity[0] = 2
Process.IDs.UID = 7
Process.AppArmor = x
Process.SELinux = y
Process.Personality = 8
` + rest},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := *c.p
			got, err := TranslateExec(config, c.p, options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, flatten(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, *c.p); diff != "" {
				t.Errorf("the process was changed:\n%s", diff)
			}
		})
	}
}

func TestExecFaults(t *testing.T) {
	for _, c := range []struct {
		p    *specs.Process
		says string
	}{
		{nil, "there is none given"},
		{&specs.Process{Args: []string{"sh"}}, "process.cwd: it is missing"},
		{&specs.Process{Cwd: "/"}, "process.args: it is missing"},
		{&specs.Process{Args: []string{"sh"}, Cwd: "/", User: specs.User{UID: 5000}}, "process.user.uid: 5000 is not mapped"},
	} {
		if _, err := TranslateExec(full(), c.p, options); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("want %q, have %v", c.says, err)
		}
	}
	config := full()
	config.Linux.Namespaces = config.Linux.Namespaces[:2]
	config.Linux.UIDMappings, config.Linux.GIDMappings = nil, nil
	if _, err := TranslateExec(config, &specs.Process{Args: []string{"sh"}, Cwd: "/"}, options); err == nil || !strings.Contains(err.Error(), "no mount namespace") {
		t.Errorf("without a mount namespace: %v", err)
	}
	// Of a container without a process (config.md: it is only needed for start).
	config = full()
	config.Process = nil
	if _, err := TranslateExec(config, &specs.Process{Args: []string{"sh"}, Cwd: "/"}, options); err != nil {
		t.Error(err)
	}
}
