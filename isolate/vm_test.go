package isolate

import (
	"os"
	"strings"
	"testing"

	"berth/isolate/vmtest"
)

// stages are the one in which tests run in the virtual machine: as root with
// every capability. Left out is what takes minutes under emulation, and what asks
// for the programs, users or file systems of a larger Unix.
var stages = []vmtest.Stage{{
	Name: "root",
	Tests: "^(" + strings.Join([]string{
		"TestBareDevices", "TestCapabilities", "TestDevices", "TestExec", "TestGateClosedExecutesNothing", "TestInit", "TestLinksOfTheRootStayInside",
		"TestMissingTargetIsNamed", "TestNothingOfTheHostIsVisible", "TestSeccomp", "TestTerminal", "TestWritableModes",
	}, "|") + ")$",
	Skip: "^(TestNothingOfTheHostIsVisible|TestWritableModes)$/^(descriptors|host_persistent)$",
}}

func TestMain(m *testing.M) {
	vmtest.Main(stages)
	os.Exit(m.Run())
}

// TestVM runs tests of this package on another kernel, with nothing but cgroup v2
// and with every capability: device rules are BPF programs there. Package cgroup
// has tests of v2 and of its pressure files in a machine of its own, and berthd
// of units that are born in their groups.
func TestVM(t *testing.T) {
	vmtest.Need(t)
	files, err := vmtest.SmallUnix()
	if err != nil {
		vmtest.SkipOrFail(t, err)
	}
	vmtest.Run(t, vmtest.Machine{Files: files, Modules: []string{"overlay"}, Stages: stages})
}
