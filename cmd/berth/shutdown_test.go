package main

import (
	"testing"

	"berth/supervisor/core"

	"golang.org/x/sys/unix"
)

// Nobody else's machine is switched off without its init.
func TestImmediateCommand(t *testing.T) {
	for _, c := range []struct {
		action     core.Action
		init, self string
		want       int
		ok         bool
	}{
		{core.ActionPowerOff, "berthd", "12", unix.LINUX_REBOOT_CMD_POWER_OFF, true},
		{core.ActionReboot, "berthd", "12", unix.LINUX_REBOOT_CMD_RESTART, true},
		{core.ActionHalt, "berthd", "12", unix.LINUX_REBOOT_CMD_HALT, true},
		{core.ActionKexec, "berthd", "12", unix.LINUX_REBOOT_CMD_KEXEC, true},
		{core.ActionSoftReboot, "berthd", "12", 0, false},
		{core.ActionPowerOff, "systemd", "12", 0, false},
		{core.ActionPowerOff, "berthd", "4012", 0, false}, // /proc of another PID namespace
	} {
		got, err := immediateCommand(c.action, c.init, c.self, 12)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%+v: %#x, %v", c, got, err)
		}
	}
}
