package main

import (
	"os"

	"berth/reaper"
	"berth/reaper/launcher"
)

// runReaper is berthd as it is started. The flags are the supervisor's: they are
// looked at here only so that a mistake is told before anything is started.
func runReaper(args []string) (int, error) {
	opt, err := parse(args)
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
	go trimEvery(trimInterval)
	backoff := reaper.DefaultBackoff
	backoff.Max = max(opt.maxDelay, backoff.First)
	return reaper.Run(reaper.Config{
		Backoff:    backoff,
		Supervisor: append([]string{"berthd", roleSupervisor}, args...),
		Launcher:   []string{"berthd", roleLauncher},
	}), nil
}

// runLauncher forks programs until its supervisor is gone.
func runLauncher() error {
	if err := reaper.Harden(); err != nil {
		return err
	}
	reaper.SetName("berthd-launcher")
	go trimEvery(trimInterval)
	return launcher.Serve(reaper.LauncherFD, launcher.NewProgramForker())
}
