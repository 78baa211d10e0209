package supervisor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"
	"berth/supervisor/machine"
	"berth/supervisor/machine/final"

	"go.uber.org/zap"
)

// shutdownTo begins the stop of everything, and what follows it. Called in the
// loop alone. by tells who or what asked, for people. The first one stands while it is
// under way: a later one changes nothing but by force, which ends the wait for
// units. What the action comes to depends on the place: settledAction.
func (s *Supervisor) shutdownTo(action core.Action, by string, force bool) {
	action = settledAction(s.cfg.Place, action)
	switch e := s.state.Ending; {
	case e == nil:
		s.log.Info("stopping everything", zap.String("for", string(action)), zap.String("because", by), zap.Bool("force", force))
	case force && !e.Force:
		s.log.Warn("stopping is not waited for any more", zap.String("for", string(e.Action)), zap.String("because", by))
	default:
		return
	}
	s.step(core.Shutdown{Action: action, By: by, Force: force})
}

// settledAction is what an action comes to in a place. Beside other daemons
// berthd only ever ends itself. The init of a container has no power to switch
// off: it ends, and its engine goes by the exit code. The init of a machine must
// never end: what would be the end of a daemon switches it off.
func settledAction(place machine.Place, action core.Action) core.Action {
	switch place {
	case machine.Service:
		return core.ActionExit
	case machine.Container:
		if action != core.ActionReboot {
			return core.ActionExit
		}
	case machine.Machine:
		if action == core.ActionExit || action == "" {
			return core.ActionPowerOff
		}
	}
	return action
}

// lateBy is how much longer than units have for their stop the supervisor has
// until the last stage begins without it: what is killed at the end of that time
// has twice ten seconds to go, and then the supervisor has something to put away.
const lateBy = 40 * time.Second

// longest is what the reaper takes for a time without an end.
const longest = 24 * time.Hour

// containerLimit bounds the last stage of a container: no engine waits for more.
const containerLimit = 10 * time.Second

// shuttingDownNow does what belongs to a shutdown as soon as the state has one:
// a unit may have asked for it.
func (s *Supervisor) shuttingDownNow() {
	if !s.state.Shutdown {
		return
	}
	if !s.stopping {
		s.stopping = true
		s.tellShutdown()
	}
	s.prepareLast()
}

// tellShutdown tells whoever is at the console of a machine.
func (s *Supervisor) tellShutdown() {
	e := s.state.Ending
	if e == nil || s.cfg.Place != machine.Machine {
		return
	}
	text := fmt.Sprintf("%s, asked for by %s: stopping %d units", actionNames[settledAction(s.cfg.Place, e.Action)], e.By, s.state.Left())
	if s.state.Left() == 1 {
		text = strings.TrimSuffix(text, "s")
	}
	if limit := s.state.ShutdownLimit; limit > 0 && !e.Force {
		text += ", at most " + limit.String()
	}
	go final.Tell(s.cfg.Place, text) // a console may be slow
}

// prepareLast has the reaper, as PID 1, go on with the last stage when this
// supervisor or a later one has ended, or is too late with it. Asked again it
// changes the exit code, and the time only if that is shorter.
func (s *Supervisor) prepareLast() {
	e := s.state.Ending
	if !s.state.Shutdown || s.cfg.Place == machine.Service {
		return
	}
	if e == nil { // begun by an older berthd
		e = &core.Ending{Action: core.ActionExit}
	}
	o := lastStage(&s.cfg, settledAction(s.cfg.Place, e.Action))
	o.Code = s.exitCode()
	within := lateBy
	switch {
	case e.Force:
	case s.cfg.ShutdownTimeout > 0:
		within += s.cfg.ShutdownTimeout
	default:
		within = longest
	}
	args := slices.Concat(s.cfg.Final, o.Args())
	told := append([]string{within.String()}, args...)
	if slices.Equal(s.prepared, told) {
		return
	}
	if err := s.reaper.Finish(args, within); err != nil {
		s.log.Error("cannot prepare the last stage", zap.Error(err))
		return
	}
	s.prepared = told
}

// lastStage gives what the last stage is to do.
func lastStage(cfg *Config, action core.Action) final.Options {
	o := final.Options{Action: action, Place: cfg.Place, Limit: cfg.FinalTimeout}
	if o.Action == core.ActionSoftReboot {
		o.Again = cfg.Again
	}
	if o.Limit <= 0 {
		o.Limit = final.DefaultLimit
	}
	if o.Place == machine.Container {
		o.Limit = min(o.Limit, containerLimit)
	}
	return o
}

// What people call the actions.
var actionNames = map[core.Action]string{
	core.ActionExit: "end", core.ActionPowerOff: "power off", core.ActionReboot: "reboot", core.ActionHalt: "halt",
	core.ActionKexec: "kexec", core.ActionSoftReboot: "soft-reboot",
}

// kexecLoaded says whether a kernel is loaded for kexec (Linux,
// Documentation/ABI/testing/sysfs-kernel-kexec).
const kexecLoaded = "/sys/kernel/kexec_loaded"

// refuseAction tells why an action that was asked for cannot be done here; nil:
// it can.
func refuseAction(place machine.Place, action core.Action) error {
	name, known := actionNames[action]
	if !known || action == core.ActionExit {
		return &api.Error{Code: "usage", Message: fmt.Sprintf("there is no action %q", action), Hint: "the actions are poweroff, reboot, halt, kexec and soft-reboot"}
	}
	switch {
	case place == machine.Service:
		return &api.Error{Code: "failed", Message: "cannot " + name + ": this berthd is not PID 1, but a service beside others",
			Hint: "use the command of the machine's own init, such as: systemctl " + string(action) + "; to end berthd alone, send SIGTERM to it"}
	case place == machine.Container && (action == core.ActionKexec || action == core.ActionSoftReboot):
		return &api.Error{Code: "failed", Message: "cannot " + name + ": this berthd is PID 1 of a container, not of a machine",
			Hint: "berth reboot ends the container in the way that asks for another start"}
	case action == core.ActionKexec:
		text, err := os.ReadFile(kexecLoaded)
		if err != nil {
			return &api.Error{Code: "failed", Message: "cannot kexec: " + err.Error(), Hint: "the kernel is without kexec, or /sys is not mounted; berth reboot goes by the firmware"}
		}
		if strings.TrimSpace(string(text)) != "1" {
			return &api.Error{Code: "failed", Message: "cannot kexec: no kernel is loaded for it", Hint: "load one first: kexec --load /boot/vmlinuz --initrd=/boot/initrd.img --reuse-cmdline"}
		}
	}
	return nil
}

// Shutdown begins one. It returns as soon as it has begun.
func (b backend) Shutdown(ctx context.Context, q api.Shutdown) (*api.ShuttingDown, error) {
	if err := refuseAction(b.cfg.Place, q.Action); err != nil {
		return nil, err
	}
	by := api.CallerOf(ctx).String()
	if q.Reason != "" {
		by += ": " + strconv.QuoteToGraphic(q.Reason)
	}
	var out *api.ShuttingDown
	var refused error
	err := b.ask(ctx, func() {
		wanted := settledAction(b.cfg.Place, q.Action)
		if e := b.state.Ending; e != nil && e.Action != wanted && !q.Force {
			refused = &api.Error{Code: "failed",
				Message: fmt.Sprintf("cannot %s: a shutdown is under way already, to %s, asked for by %s", actionNames[q.Action], actionNames[e.Action], e.By),
				Hint:    "it stands; --force has it not wait for units any more"}
			return
		}
		b.shutdownTo(q.Action, by, q.Force)
		out = b.shuttingDown()
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// shuttingDown tells of the shutdown that is under way; nil: none is.
func (s *Supervisor) shuttingDown() *api.ShuttingDown {
	e := s.state.Ending
	if e == nil {
		return nil
	}
	out := &api.ShuttingDown{Action: e.Action, By: e.By, Since: e.Since, Force: e.Force, Left: s.state.Left()}
	if d := s.state.Deadline; d != nil && !s.state.Overdue {
		out.Until = &d.At
	}
	return out
}

// exitCode is the daemon's own at its end.
func (s *Supervisor) exitCode() int {
	e := s.state.Ending
	switch {
	case e != nil && e.Unit != "":
		return e.Code
	case s.abandoned:
		return 1
	}
	return 0
}
