package supervisor

import (
	"context"
	"slices"
	"syscall"
	"time"

	"berth/reaper"
	"berth/supervisor/core"
	"berth/supervisor/machine"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// realTime is SIGRTMIN+n as every libc and systemd count.
func realTime(n int) syscall.Signal { return syscall.Signal(34 + n) }

// Reaction is what the daemon does at a signal to its first process.
type Reaction struct {
	Signal syscall.Signal
	Name   string // as people write it
	Help   string
	// Action is the end of everything that it asks for; "": none.
	Action core.Action
	do     func(s *Supervisor, by string)
}

// Endings gives the signals that ask for an end in a place.
func Endings(place machine.Place) []syscall.Signal {
	var list []syscall.Signal
	for _, r := range Reactions(place) {
		if r.Action != "" {
			list = append(list, r.Signal)
		}
	}
	return list
}

// Reactions gives them for a place, in the order of the documentation. Signals
// that are not in the list have no effect, but for those that nothing survives.
func Reactions(place machine.Place) []Reaction {
	switch place {
	case machine.Machine:
		return append([]Reaction{
			{unix.SIGTERM, "SIGTERM", "The daemon executes its program anew, as by `berth daemon-reexec`, and as systemd does. Units go on.", "", (*Supervisor).reexecLater},
			{unix.SIGINT, "SIGINT", "Reboot: ctrl-alt-del sends it. More than 7 times within 2 seconds: without waiting for units.", core.ActionReboot, (*Supervisor).ctrlAltDel},
			ends(unix.SIGPWR, "SIGPWR", "Power off: the power is failing.", core.ActionPowerOff, false),
			{realTime(2), "SIGRTMIN+2", "An emergency shell on the console. Units go on.", "", (*Supervisor).emergencyLater},
			ends(realTime(3), "SIGRTMIN+3", "Halt.", core.ActionHalt, false),
			ends(realTime(4), "SIGRTMIN+4", "Power off.", core.ActionPowerOff, false),
			ends(realTime(5), "SIGRTMIN+5", "Reboot.", core.ActionReboot, false),
			ends(realTime(6), "SIGRTMIN+6", "Reboot by kexec.", core.ActionKexec, false),
			ends(realTime(7), "SIGRTMIN+7", "Soft reboot.", core.ActionSoftReboot, false),
			ends(realTime(13), "SIGRTMIN+13", "Halt, without waiting for units.", core.ActionHalt, true),
			ends(realTime(14), "SIGRTMIN+14", "Power off, without waiting for units.", core.ActionPowerOff, true),
			ends(realTime(15), "SIGRTMIN+15", "Reboot, without waiting for units.", core.ActionReboot, true),
			ends(realTime(16), "SIGRTMIN+16", "Reboot by kexec, without waiting for units.", core.ActionKexec, true),
			ends(realTime(17), "SIGRTMIN+17", "Soft reboot, without waiting for units.", core.ActionSoftReboot, true),
		}, common()...)
	case machine.Container:
		const end = "Stop all units in order, then end: the engine's stop."
		return append([]Reaction{
			ends(unix.SIGTERM, "SIGTERM", end, core.ActionExit, false),
			ends(unix.SIGINT, "SIGINT", end, core.ActionExit, false),
			ends(unix.SIGQUIT, "SIGQUIT", end, core.ActionExit, false),
			ends(unix.SIGPWR, "SIGPWR", end, core.ActionExit, false),
			ends(realTime(3), "SIGRTMIN+3", end, core.ActionExit, false),
			ends(realTime(4), "SIGRTMIN+4", end, core.ActionExit, false),
			ends(realTime(5), "SIGRTMIN+5", "As that, and ask for another start.", core.ActionReboot, false),
			ends(realTime(13), "SIGRTMIN+13", "End, without waiting for units.", core.ActionExit, true),
			ends(realTime(14), "SIGRTMIN+14", "End, without waiting for units.", core.ActionExit, true),
			ends(realTime(15), "SIGRTMIN+15", "As that, and ask for another start.", core.ActionReboot, true),
		}, common()...)
	}
	const end = "Stop all units in order, then end."
	return append([]Reaction{
		ends(unix.SIGTERM, "SIGTERM", end, core.ActionExit, false),
		ends(unix.SIGINT, "SIGINT", end, core.ActionExit, false),
		ends(unix.SIGQUIT, "SIGQUIT", end, core.ActionExit, false),
		ends(unix.SIGPWR, "SIGPWR", end, core.ActionExit, false),
	}, common()...)
}

// common are those that mean the same everywhere.
func common() []Reaction {
	return []Reaction{
		{unix.SIGHUP, "SIGHUP", "Read the unit files again, as `berth reload` does.", "", func(s *Supervisor, by string) {
			go s.rereadWatchdogs()
			s.reloadLater("received " + by)
		}},
		{unix.SIGUSR1, "SIGUSR1", "Open the daemon's own log anew, after someone has moved its file or started journald anew.", "", func(s *Supervisor, _ string) {
			if s.cfg.ReopenLog != nil {
				s.cfg.ReopenLog()
			}
		}},
		{unix.SIGUSR2, "SIGUSR2", "Write the state of all units to the daemon's own log.", "", func(s *Supervisor, _ string) { s.dump() }},
		{realTime(22), "SIGRTMIN+22", "Log from debug on.", "", logsFrom(zapcore.DebugLevel)},
		{realTime(23), "SIGRTMIN+23", "Log from info on.", "", logsFrom(zapcore.InfoLevel)},
	}
}

// EndEarly does at a signal what there is to be done before a supervisor runs,
// while the boot waits for a person: nothing, and it gives false; or no unit is
// there to be stopped, and the reaper goes on with the last stage as soon as this
// process has ended.
func EndEarly(cfg *Config, client *reaper.Client, sig syscall.Signal) (bool, error) {
	reactions := Reactions(cfg.Place)
	i := slices.IndexFunc(reactions, func(r Reaction) bool { return r.Signal == sig && r.Action != "" })
	if i < 0 {
		return false, nil
	}
	action := settledAction(cfg.Place, reactions[i].Action)
	if action != core.ActionExit && refuseAction(cfg.Place, action) != nil {
		return false, nil
	}
	o := lastStage(cfg, action)
	if err := client.Finish(slices.Concat(cfg.Final, o.Args()), lateBy); err != nil {
		return false, err
	}
	return true, client.Exit(0)
}

// ends is a reaction that begins a shutdown.
func ends(sig syscall.Signal, name, help string, action core.Action, force bool) Reaction {
	return Reaction{sig, name, help, action, func(s *Supervisor, by string) { s.endLater(action, by, force) }}
}

func logsFrom(level zapcore.Level) func(*Supervisor, string) {
	return func(s *Supervisor, by string) {
		if s.cfg.Level == nil {
			return
		}
		s.cfg.Level.SetLevel(level)
		s.log.Info("the log's level is another now", zap.Stringer("level", level), zap.String("because", by))
	}
}

// onSignal does what the table says. Called by the loop.
func (s *Supervisor) onSignal(sig syscall.Signal) {
	for _, r := range s.reactions {
		if r.Signal == sig {
			r.do(s, r.Name)
			return
		}
	}
	s.log.Debug("ignored a signal", zap.String("signal", "SIG"+signalName(sig)))
}

// endLater begins a shutdown, unless it cannot be done here.
func (s *Supervisor) endLater(action core.Action, by string, force bool) {
	if action != core.ActionExit {
		if err := refuseAction(s.cfg.Place, action); err != nil {
			s.log.Error("ignored a signal", zap.String("signal", by), zap.Error(err))
			return
		}
	}
	s.shutdownTo(action, by, force)
}

// A person who presses ctrl-alt-del so often has waited long enough; systemd
// counts alike.
const (
	impatience     = 7
	impatienceTime = 2 * time.Second
)

func (s *Supervisor) ctrlAltDel(by string) {
	now := time.Now()
	s.pressed = append(s.pressed, now)
	for now.Sub(s.pressed[0]) > impatienceTime {
		s.pressed = s.pressed[1:]
	}
	s.endLater(core.ActionReboot, by, len(s.pressed) > impatience)
}

// reexecLater tries the program on disk first, which takes a moment.
func (s *Supervisor) reexecLater(by string) {
	if s.stopping {
		return
	}
	s.log.Info("executing the program anew", zap.String("because", by))
	go func() {
		if err := (backend{s}).Reexec(context.Background()); err != nil {
			s.log.Error("cannot execute the program anew", zap.Error(err))
		}
	}()
}

func (s *Supervisor) emergencyLater(by string) {
	s.log.Warn("asking for an emergency shell on the console", zap.String("because", by))
	go func() {
		if err := s.reaper.Emergency(); err != nil {
			s.log.Error("cannot have an emergency shell", zap.Error(err))
		}
	}()
}

// dump writes the state of everything to the log. Called by the loop.
func (s *Supervisor) dump() {
	s.log.Info("state", zap.Uint64("generation", s.generation), zap.Bool("stopping", s.stopping), zap.Int("runs", len(s.runs)),
		zap.Int("timers", len(s.timers)), zap.Int("executions", len(s.execs)), zap.Time("since", s.started))
	for _, name := range s.state.Names() {
		u, ok := s.state.Unit(name)
		if !ok {
			continue
		}
		fields := []zap.Field{zap.String("unit", name), zap.String("phase", string(u.Phase)), zap.Bool("up", u.Up), zap.Uint64("incarnation", uint64(u.Incarnation)), zap.Time("since", u.Since)}
		if u.MainPID != 0 {
			fields = append(fields, zap.Int("pid", u.MainPID))
		}
		if u.Reason != "" {
			fields = append(fields, zap.String("reason", u.Reason))
		}
		s.log.Info("unit", fields...)
	}
}
