// Package vmtest runs the tests of a package in a virtual machine: on a kernel
// with nothing but cgroup v2, with every capability, and with the test binary
// itself as init. Only tests import it.
//
// Run is the host's side: it builds the calling package's test binary, packs it
// into an initramfs with what else the tests need, and boots that in QEMU. Main
// is the guest's side, called first by TestMain: as PID 1 it makes the machine
// ready and runs the test binary again, once for each Stage, that is for each
// kind of place in the control groups that a daemon is started in. What the
// tests say goes to the serial console, and from there into the log of Run.
//
// Boot is for tests of the machine itself: its init is berthd, the test has the
// console and the buttons, and an agent in the machine runs what the test asks
// for, outside of all units.
package vmtest

import "os"

// Stage is one run of the tests in the machine.
type Stage struct {
	Name      string
	Group     string // where the tests' process is born, relative to the root group; "" is the root itself
	Others    bool   // another process is in that group too
	Namespace bool   // the tests are in a cgroup namespace of their own
	Tests     string // which tests run, as go test -run has it; "": all
	Skip      string // and which of them do not, as go test -skip has it
}

// stageEnv names the stage to the tests' process. On the machine's kernel
// command line it makes PID 1 the init.
const stageEnv = "BERTH_VM_STAGE"

// Current gives the name of the stage that this process runs, "" outside of the
// machine.
func Current() string { return os.Getenv(stageEnv) }
