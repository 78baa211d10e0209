package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

const (
	// goneAfter is for how long the daemon may be away in a shutdown, as when a
	// supervisor crashes, until it is taken for the end.
	goneAfter = 5 * time.Second
	// syncLimit bounds the sync of --force --force: a disk may hang.
	syncLimit = 10 * time.Second
)

// shutdownCommands are those that end a machine.
func (a *app) shutdownCommands() []*cobra.Command {
	var out []*cobra.Command
	for _, c := range []struct {
		action      core.Action
		short, long string
	}{
		{core.ActionPowerOff, "Stop everything and switch the machine off", `Switches off the machine that berthd is PID 1 of.

All units are stopped in order, for at most shutdown-timeout in all (berthd(8));
then what is left is killed, file systems are unmounted or made read-only, and a
line on the console tells what was killed and what stayed mounted. Until berthd
ends the command tells which units are waited for and until when. If a shutdown
is under way already, that one stands.

With --force units are not stopped in order: what runs gets SIGTERM and then
SIGKILL at once. A second --force asks nobody: the disks are synced, for at most
ten seconds, and the kernel does it at once. It works if berthd hangs, and what
programs have not written is lost.`},
		{core.ActionReboot, "Stop everything and start the machine again", "Starts the machine again. What comes before it: berth help poweroff."},
		{core.ActionHalt, "Stop everything and halt the machine without switching it off", "Stops the processors and leaves the power on. What comes before it: berth help\npoweroff."},
		{core.ActionKexec, "Stop everything and start the kernel that was loaded for kexec", `Starts another kernel without the firmware. What comes before it: berth help
poweroff. The kernel is loaded first, by: kexec --load KERNEL --initrd=INITRD
--reuse-cmdline. Without one the command is refused and nothing is stopped.`},
		{core.ActionSoftReboot, "Stop everything and start berthd anew under the running kernel", `Starts everything anew but the kernel. What comes before it: berth help poweroff.
If /run/nextroot is a mounted root file system it becomes the root. /run and the
file systems of the kernel stay.`},
	} {
		out = append(out, a.shutdownCommand(c.action, c.short, c.long))
	}
	return out
}

func (a *app) shutdownCommand(action core.Action, short, long string) *cobra.Command {
	var force int
	var noWait bool
	q := api.Shutdown{Action: action}
	c := &cobra.Command{
		Use: string(action), Short: short, Long: long, Args: usage(cobra.NoArgs),
		Example: "  berth " + string(action) + "\n  berth " + string(action) + " --reason 'new disk'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if force > 1 {
				return immediately(action)
			}
			q.Force = force > 0
			return a.shutdown(cmd.Context(), q, noWait)
		},
	}
	c.Flags().CountVarP(&force, "force", "f", "do not stop units in order; given twice, at once and by the kernel alone")
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not tell what is waited for, return when it has begun")
	c.Flags().StringVar(&q.Reason, "reason", "", "why, for the log")
	return c
}

func (a *app) shutdown(ctx context.Context, q api.Shutdown, noWait bool) error {
	began, err := a.client().Shutdown(ctx, q)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(began)
	}
	if noWait {
		return nil
	}
	text := string(began.Action) + ": " + leftText(began)
	if began.Force {
		text = string(began.Action) + ": units are not waited for"
	}
	fmt.Fprintln(a.err, text)
	return a.followShutdown(ctx)
}

// leftText tells what a shutdown has yet to stop: "3 units are being stopped, at
// most until 12:05:00".
func leftText(s *api.ShuttingDown) string {
	text := fmt.Sprintf("%d units are being stopped", s.Left)
	if s.Left == 1 {
		text = "1 unit is being stopped"
	}
	if s.Until != nil {
		text += ", at most until " + s.Until.Local().Format(time.TimeOnly)
	}
	return text
}

// shutdownText tells of a shutdown that is under way.
func shutdownText(s *api.ShuttingDown) string {
	return fmt.Sprintf("shutting down, to %s, asked for by %s; %s", s.Action, safe(s.By), leftText(s))
}

// followShutdown tells what the shutdown waits for, until the daemon is gone, or
// ends this process with all others.
func (a *app) followShutdown(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	told := make(chan bool)
	watch, cancel := context.WithCancel(ctx)
	go func() { told <- a.tellStops(watch, nil) }()
	defer func() { cancel(); <-told }()
	var away time.Time
	for {
		select {
		case <-ctx.Done():
			return nil // it goes on all the same
		case <-time.After(stopLook):
		}
		_, err := a.client().Daemon(ctx)
		switch {
		case err == nil:
			away = time.Time{}
		case away.IsZero():
			away = time.Now()
		case time.Since(away) > goneAfter:
			fmt.Fprintln(a.err, "all units are down, berthd is about to end")
			return nil
		}
	}
}

// immediately has the kernel do it, if berthd is its init: another one is not to
// be passed by. It returns only if it cannot.
func immediately(action core.Action) error {
	name, err := os.ReadFile("/proc/1/comm")
	if err != nil {
		return fmt.Errorf("cannot tell who is PID 1: %w", err)
	}
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return fmt.Errorf("cannot tell whose processes /proc shows: %w", err)
	}
	command, err := immediateCommand(action, strings.TrimSpace(string(name)), self, os.Getpid())
	if err != nil {
		return err
	}
	synced := make(chan struct{})
	go func() { unix.Sync(); close(synced) }()
	select {
	case <-synced:
	case <-time.After(syncLimit):
	}
	if err := unix.Reboot(command); err != nil {
		return &api.Error{Code: "failed", Message: fmt.Sprintf("cannot %s: %v", action, err), Hint: "it takes root with CAP_SYS_BOOT (reboot(2))"}
	}
	return nil
}

// immediateCommand gives reboot(2)'s command for an action. init is the name of
// PID 1, self what /proc/self points to, pid this process's own.
func immediateCommand(action core.Action, init, self string, pid int) (int, error) {
	if init != "berthd" || self != strconv.Itoa(pid) {
		return 0, &api.Error{Code: "failed", Message: fmt.Sprintf("cannot %s: PID 1 is %s and not berthd", action, safe(init)),
			Hint: "use the command of the machine's own init, such as: systemctl " + string(action)}
	}
	switch action {
	case core.ActionPowerOff:
		return unix.LINUX_REBOOT_CMD_POWER_OFF, nil
	case core.ActionReboot:
		return unix.LINUX_REBOOT_CMD_RESTART, nil
	case core.ActionHalt:
		return unix.LINUX_REBOOT_CMD_HALT, nil
	case core.ActionKexec:
		return unix.LINUX_REBOOT_CMD_KEXEC, nil
	}
	return 0, &api.Error{Code: "usage", Message: fmt.Sprintf("the kernel knows no %s: --force once is all there is", action)}
}
