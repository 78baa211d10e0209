package machine

import "context"

// Duties gives the duties of a boot, in their order.
//
// The order is one of need: the console first, since everything else may have to
// be told there; then what needs nothing but the kernel; then what file systems
// need, and these; then what is kept on them. An emergency shell that was asked
// for comes where its word on the command line says.
func Duties() []Duty {
	return []Duty{
		{Name: "console", Why: "The console's settings are made sane: a boot loader, or whoever wrote to it last, may have left anything.", Do: setUpConsole},
		{Name: "kernel-log", Why: "The kernel takes the daemon's log without limiting its rate, unless the command line says printk.devkmsg=.", Do: unlimitKernelLog},
		{Name: "ctrl-alt-del", Why: "The keys send SIGINT to PID 1, which reboots in order, in place of resetting the machine.", Do: takeCtrlAltDel},
		{Name: "clock", Why: "A clock that the kernel did not set is set from the hardware clock, which is taken to be in UTC, and never stands before the berthd binary was made.", Do: setClock},
		{Name: "hostname", Why: "The machine's name is berth.hostname=, else what /etc/hostname says, else what the kernel was told, else localhost.", Do: setHostname},
		{Name: "loopback", Why: "The loopback interface is up.", Container: true, Do: raiseLoopback},
		{Name: "kernel-modules", Why: "Kernel modules are loaded: those of modules_load= and /etc/modules-load.d, and those for the machine's devices unless the command line says berth.coldplug=no.", Do: loadModules},
		{Name: "kernel-parameters", Why: "The parameters in /etc/sysctl.d and /etc/sysctl.conf are set.", Do: setParameters},
		{Name: "emergency-shell", Why: "berth.emergency: a shell before file systems are mounted.", Do: emergencyAsked},
		{Name: "file-systems", Why: "What /etc/fstab says is checked and mounted, and swap space is on. What is nofail or _netdev there may be missing.", Needed: true, Do: mountFileSystems},
		{Name: "state-directory", Why: "The daemon's state directory can be written. Where it cannot, as on a read-only root, `state` in its runtime directory takes its place until the next boot.", Container: true, Do: findState},
		{Name: "clock-floor", Why: "The clock never stands before the time at which the machine was last up, as far as that is known.", Do: raiseClock},
		{Name: "machine-id", Why: "/etc/machine-id has an ID: one is made where there is none, in /run and mounted over that file where it cannot be written (machine-id(5)).", Do: setMachineID},
		{Name: "random-seed", Why: "What the kernel's random number generator knew at the last shutdown is given back to it, and replaced at once so that it never counts twice.", Do: loadSeed},
		{Name: "temporary-files", Why: "Files and directories of /etc/tmpfiles.d are made and removed.", Do: makeTemporaryFiles},
		{Name: "directories", Why: "/run/lock is there.", Container: true, Do: makeDirectories},
		{Name: "single", Why: "single on the command line: a shell when all of this is done, before units are started.", Do: singleAsked},
	}
}

func emergencyAsked(ctx context.Context, b *Boot) error {
	if !b.Options.Emergency {
		return nil
	}
	return b.Emergency(ctx, "The kernel's command line asks for it (berth.emergency). No file system of /etc/fstab is mounted, no unit is started.")
}

func singleAsked(ctx context.Context, b *Boot) error {
	if !b.Options.Single {
		return nil
	}
	return b.Emergency(ctx, "The kernel's command line asks for it (single). No unit is started.")
}
