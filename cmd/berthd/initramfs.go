package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"berth/config"
	"berth/reaper"
	"berth/supervisor/logs"
	"berth/supervisor/machine"
	"berth/supervisor/machine/early"
	"berth/supervisor/machine/switchroot"

	"go.uber.org/zap/zapcore"
)

// nextInitFD is where the initramfs role tells the path of the next init.
const nextInitFD = 3

// leaveInitramfs is PID 1's part of going to a root file system: it has a child
// prepare that, as often as it takes, and goes. It returns when no root is named,
// or it cannot go there: the machine then stays in its initramfs. It is called
// before the reaper runs, so that waiting for a child here is nobody else's wait.
func leaveInitramfs(args []string) {
	for {
		init, err := askChild(args)
		if err == nil && init == "" {
			return
		}
		if err == nil {
			err = switchroot.Enter(init, os.Args)
			early.Tell(machine.Machine, []string{err.Error()})
			return
		}
		early.Tell(machine.Machine, []string{err.Error()})
		// The child has died over what it read; the shell needs none of that.
		shell, err := child(append([]string{"berthd", roleEmergency}, args...), nil, reaper.EmergencyVariable+"=The part of berthd that mounts the root file system has died, see dmesg.")
		if err == nil {
			_, err = shell.Wait()
		}
		if err != nil {
			early.Tell(machine.Machine, []string{"cannot run the emergency shell: " + err.Error()})
			return
		}
	}
}

// askChild runs the initramfs role and gives the init's path that it tells.
func askChild(args []string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	p, err := child(append([]string{"berthd", roleInitramfs}, args...), w)
	w.Close()
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(r, 4096))
	state, waited := p.Wait()
	switch {
	case waited != nil:
		return "", waited
	case !state.Success():
		return "", fmt.Errorf("cannot mount the root file system: the process for that ended with %s", state)
	}
	return string(text), err
}

func child(argv []string, tell *os.File, env ...string) (*os.Process, error) {
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	if tell != nil {
		files = append(files, tell)
	}
	return os.StartProcess("/proc/self/exe", argv, &os.ProcAttr{Files: files, Env: append(os.Environ(), env...)})
}

// runInitramfs is the child's part. It tells nothing if no root is named.
func runInitramfs(args []string) error {
	reaper.SetName("berthd-initramf")
	next := os.NewFile(nextInitFD, "next init")
	defer next.Close()
	place, begin := machine.Where(), machine.Began()
	options, line := commandLine(place)
	if options.Root.Source == "" || options.Root.Source == "/dev/ram0" {
		return nil // the initramfs is the root
	}
	opt, err := parse(args)
	if err != nil {
		return err
	}
	settings, _ := config.LoadSettings(opt.config) // what is wrong with them is told by whoever stays with them
	obey(&options, opt, &settings)
	level, err := zapcore.ParseLevel(settings.LogLevel)
	if err != nil {
		return err
	}
	target := settings.LogTarget
	if target == "" || target == "auto" {
		target = "kmsg" // which the next berthd keeps
	}
	log, err := logs.NewLogger(logs.LoggerOptions{Level: level, Target: target})
	if err != nil {
		return err
	}
	runtimeDir := settings.RuntimeDir
	if opt.runtimeDir != "" {
		runtimeDir = opt.runtimeDir
	}
	b := &machine.Boot{Place: place, Options: options, Line: line, RuntimeDir: runtimeDir, StateDir: settings.StateDir, Log: log, Life: context.Background()}
	b.Emergency = func(ctx context.Context, why string) error {
		if err := machine.TellEmergency(runtimeDir, why); err != nil {
			return err
		}
		shell := exec.CommandContext(ctx, "/proc/self/exe", append([]string{roleEmergency}, args...)...)
		shell.Stdin, shell.Stdout, shell.Stderr = os.Stdin, os.Stdout, os.Stderr
		return shell.Run()
	}
	init := ""
	if err := machine.Run(context.Background(), b, machine.InitramfsDuties(func(path string) { init = path }), begin); err != nil {
		return err
	}
	if init == "" {
		return fmt.Errorf("cannot go to the root file system: an earlier attempt has failed")
	}
	if err := machine.HandOver(runtimeDir); err != nil {
		log.Warn(err.Error())
	}
	_, err = io.Copy(next, strings.NewReader(init))
	return err
}
