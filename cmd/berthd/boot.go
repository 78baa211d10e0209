package main

import (
	"context"
	"errors"
	"os"

	"berth/config"
	"berth/reaper"
	"berth/supervisor"
	"berth/supervisor/machine"
	"berth/supervisor/machine/cmdline"

	"go.uber.org/zap"
)

// commandLine gives what the kernel's command line asks of berthd as PID 1 of a
// machine, and its text; elsewhere it is not for berthd.
func commandLine(place machine.Place) (cmdline.Options, string) {
	if place != machine.Machine {
		return cmdline.Options{}, ""
	}
	text, err := os.ReadFile("/proc/cmdline")
	o := cmdline.Parse(string(text))
	if err != nil {
		o.Problems = append(o.Problems, "cannot read the kernel's command line: "+err.Error())
	}
	return o, string(text)
}

// obey puts the command line over settings and flags.
func obey(o *cmdline.Options, opt *options, s *config.Settings) {
	if o.Units != nil {
		opt.units = o.Units
	}
	if o.LogLevel != "" {
		s.LogLevel, opt.logLevel = o.LogLevel, o.LogLevel
	}
	if o.LogTarget != "" {
		s.LogTarget = o.LogTarget
	}
}

// boot does the duties of a boot, where this is PID 1 and nobody has done them.
func boot(ctx context.Context, b *machine.Boot, cfg *supervisor.Config, client *reaper.Client, hand *reaper.Handover, begin machine.Begin) error {
	b.RuntimeDir, b.StateDir, b.Log, b.Life = cfg.RuntimeDir, cfg.StateDir, cfg.Log, ctx
	for _, p := range b.Options.Problems {
		b.Log.Warn("a word on the kernel's command line has no effect", zap.String("because", p))
	}
	during, cancel := context.WithCancel(ctx)
	defer cancel()
	b.Emergency = func(ctx context.Context, why string) error {
		err := awaitEmergency(ctx, cfg, why, client, hand)
		if errors.Is(err, errEnded) {
			cancel() // no further duty
		}
		return err
	}
	err := machine.Run(during, b, machine.Duties(), begin)
	if during.Err() != nil {
		return errEnded
	}
	if err != nil {
		return err
	}
	b.Hotplug()
	if b.Place == machine.Service {
		return nil
	}
	dir, _, err := machine.StateDir(cfg.RuntimeDir, cfg.StateDir) // the same for every supervisor of a boot
	if err != nil {
		return err
	}
	cfg.StateDir = dir
	return nil
}

// awaitEmergency has the reaper run the emergency role and waits for its end. It
// is called before the supervisor takes anything over: what else the reaper tells
// meanwhile goes with the rest of what it handed over.
func awaitEmergency(ctx context.Context, cfg *supervisor.Config, why string, client *reaper.Client, hand *reaper.Handover) error {
	if err := machine.TellEmergency(cfg.RuntimeDir, why); err != nil {
		cfg.Log.Error("the emergency shell cannot be told why", zap.String("why", why), zap.Error(err))
	}
	if err := client.Emergency(); err != nil {
		return err
	}
	for {
		select {
		case ev, ok := <-client.Events():
			if !ok {
				return errors.New("the reaper is gone")
			}
			switch ev := ev.(type) {
			case reaper.EmergencyEnded:
				return nil
			case reaper.Launcher:
				hand.Launcher = ev.Conn
			case reaper.Exit:
				hand.Exits = append(hand.Exits, ev)
			case reaper.Signal:
				ended, err := supervisor.EndEarly(cfg, client, ev.Signal)
				if err != nil {
					cfg.Log.Error("cannot do what a signal asks for", zap.Stringer("signal", ev.Signal), zap.Error(err))
				}
				if ended {
					return errEnded
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errEnded tells that the machine is to go down, before it was up.
var errEnded = errors.New("the machine goes down, before it was up")

// takeReason gives what the emergency role is to tell, and what follows it.
func takeReason(runtimeDir string) (why, next string) {
	if text := machine.EmergencyReason(runtimeDir); text != "" {
		return text, "The boot goes on when this shell ends (exit, or Ctrl-D)."
	}
	why = os.Getenv(reaper.EmergencyVariable)
	if why == "" {
		why = "It was asked for."
	}
	return why, "Services that run are not touched. The supervisor is tried again when this shell ends (exit, or Ctrl-D)."
}
