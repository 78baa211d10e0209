package supervisor

import (
	"strings"
	"testing"

	"berth/supervisor/core"
	"berth/supervisor/machine"
)

// What an action comes to in each place, and what is refused there. An init of a
// machine never ends.
func TestActions(t *testing.T) {
	type outcome struct {
		comesTo core.Action
		refused string // "": it is not; kexec depends on the kernel beside
	}
	const service, container = "not PID 1", "PID 1 of a container"
	for action, want := range map[core.Action]map[machine.Place]outcome{
		core.ActionExit: {machine.Service: {core.ActionExit, "no action"}, machine.Container: {core.ActionExit, "no action"}, machine.Machine: {core.ActionPowerOff, "no action"}},
		"":              {machine.Service: {core.ActionExit, "no action"}, machine.Container: {core.ActionExit, "no action"}, machine.Machine: {core.ActionPowerOff, "no action"}},
		core.ActionPowerOff: {machine.Service: {core.ActionExit, service}, machine.Container: {core.ActionExit, ""},
			machine.Machine: {core.ActionPowerOff, ""}},
		core.ActionReboot:     {machine.Service: {core.ActionExit, service}, machine.Container: {core.ActionReboot, ""}, machine.Machine: {core.ActionReboot, ""}},
		core.ActionHalt:       {machine.Service: {core.ActionExit, service}, machine.Container: {core.ActionExit, ""}, machine.Machine: {core.ActionHalt, ""}},
		core.ActionSoftReboot: {machine.Service: {core.ActionExit, service}, machine.Container: {core.ActionExit, container}, machine.Machine: {core.ActionSoftReboot, ""}},
		core.ActionKexec:      {machine.Service: {core.ActionExit, service}, machine.Container: {core.ActionExit, container}, machine.Machine: {core.ActionKexec, "cannot kexec: "}},
	} {
		for place, w := range want {
			if got := settledAction(place, action); got != w.comesTo {
				t.Errorf("%q as %v comes to %q, want %q", action, place, got, w.comesTo)
			}
			err := refuseAction(place, action)
			switch {
			case w.refused == "" && err != nil, w.refused != "" && (err == nil || !strings.Contains(err.Error(), w.refused)):
				t.Errorf("%q as %v: %v, want %q", action, place, err, w.refused)
			}
		}
	}
}
