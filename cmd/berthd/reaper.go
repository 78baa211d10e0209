package main

import (
	"os"
	"strings"

	"berth/reaper"
	"berth/reaper/launcher"
	"berth/supervisor"
	"berth/supervisor/machine"
	"berth/supervisor/machine/early"
	"berth/supervisor/machine/switchroot"

	"golang.org/x/sys/unix"
)

// runReaper is berthd as it is started. The flags are the supervisor's: they are
// looked at here only so that a mistake is told before anything is started.
func runReaper(args []string) (int, error) {
	if !reaper.Resuming() {
		machine.NoteBegin()
	}
	place, problems := early.Prepare()
	if place == machine.Machine {
		args = initArguments(args)
	}
	opt, err := parse(args)
	if place == machine.Machine && (err != nil || opt.done || opt.version) {
		// An init that ends takes the machine with it.
		problems = append(problems, "cannot use the arguments "+strings.Join(args, " ")+", going on without them")
		args = nil
		opt, err = parse(args)
	}
	if err != nil {
		return 2, err
	}
	if opt.done {
		return 0, nil
	}
	if opt.version {
		_, err := os.Stdout.WriteString("berthd " + version + "\n")
		return 0, err
	}
	early.Tell(place, problems)
	if place != machine.Service {
		reaper.SetName("berthd") // as a kernel starts it, it may be "init"
	}
	if place == machine.Machine && switchroot.Possible() {
		leaveInitramfs(args)
	}
	go trimNowAndThen()
	go growTable()
	backoff := reaper.DefaultBackoff
	backoff.Max = max(opt.maxDelay, backoff.First)
	config := reaper.Config{
		Backoff:    backoff,
		Supervisor: append([]string{"berthd", roleSupervisor}, args...),
		Launcher:   []string{"berthd", roleLauncher},
	}
	switch place {
	case machine.Machine:
		config.Emergency = append([]string{"berthd", roleEmergency}, args...)
		config.Endings = supervisor.Endings(place)
	case machine.Container:
		config.Endings = supervisor.Endings(place)
		// There is no console that would be a person's; its engine sees it end.
		config.Log = toStandardError
	}
	return reaper.Run(config), nil
}

// initArguments gives what is for berthd of the arguments that a kernel gave its
// init: words that it does not know come first (kernel-parameters.rst), and are
// for nobody.
func initArguments(args []string) []string {
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		args = args[1:]
	}
	return args
}

// toStandardError is the reaper's log as PID 1 of a container, whose /dev/kmsg
// would be the host's.
func toStandardError(line string) { _, _ = unix.Write(2, []byte("berthd: reaper: "+line+"\n")) }

// runLauncher forks programs until its supervisor is gone.
func runLauncher() error {
	if err := reaper.Harden(); err != nil {
		return err
	}
	reaper.SetName("berthd-launcher")
	go trimNowAndThen()
	return launcher.Serve(reaper.LauncherFD, launcher.NewProgramForker())
}
