package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"

	"github.com/spf13/cobra"
)

func (a *app) listCommand() *cobra.Command {
	timers := false
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List all units",
		Long: `Lists all units with state, what their health checks say, main process, restarts
since they were started, and the reason of a state that is not wanted. With
--timers it lists those that have a timer, with the next and the last time that
it starts them.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.client().List(cmd.Context())
			if err != nil {
				return err
			}
			if timers {
				list = slices.DeleteFunc(list, func(u api.Unit) bool { return u.Timer == nil })
			}
			switch {
			case a.json():
				return a.printJSON(list)
			case timers:
				a.printTimers(list, time.Now())
			default:
				a.printList(list)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&timers, "timers", false, "list timers, the next one first")
	return c
}

// printTimers lists timers as systemctl list-timers does.
func (a *app) printTimers(list []api.Unit, now time.Time) {
	slices.SortStableFunc(list, func(x, y api.Unit) int {
		switch {
		case x.Timer.Next == nil || y.Timer.Next == nil:
			return cmp.Compare(boolOf(x.Timer.Next == nil), boolOf(y.Timer.Next == nil))
		default:
			return x.Timer.Next.Compare(*y.Timer.Next)
		}
	})
	t := &table{}
	t.row(cell{"NEXT", bold}, cell{"LEFT", bold}, cell{"LAST", bold}, cell{"PASSED", bold}, cell{"UNIT", bold})
	moment := func(at *time.Time, span func(time.Time) time.Duration) (cell, cell) {
		if at == nil {
			return cell{"-", faint}, cell{"-", faint}
		}
		return cell{text: at.Local().Format("Mon 2006-01-02 15:04:05 MST")}, cell{text: age(max(span(*at), 0))}
	}
	for _, u := range list {
		next, left := moment(u.Timer.Next, func(at time.Time) time.Duration { return at.Sub(now) })
		last, passed := moment(u.Timer.Last, now.Sub)
		t.row(next, left, last, passed, cell{text: u.Name})
	}
	t.print(a.out, a.paint())
}

func boolOf(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (a *app) printList(list []api.Unit) {
	t := &table{}
	t.row(cell{"UNIT", bold}, cell{"STATE", bold}, cell{"SINCE", bold}, cell{"PID", bold}, cell{"RESTARTS", bold}, cell{"REASON", bold})
	for _, u := range list {
		pid := ""
		if u.MainPID > 0 {
			pid = strconv.Itoa(u.MainPID)
		}
		reason := safe(u.Reason)
		if reason == "" {
			reason = safe(u.Description)
		}
		t.row(cell{text: u.Name}, stateCell(u), cell{text: age(time.Since(u.Since))},
			cell{text: pid}, cell{text: strconv.Itoa(u.Restarts)}, cell{text: reason})
	}
	t.print(a.out, a.paint())
}

// stateCell is a unit's phase, and what its health checks say.
func stateCell(u api.Unit) cell {
	if u.Listening {
		return cell{fmt.Sprintf("%s (listening)", u.Phase), phaseColor(u.Phase)}
	}
	if u.Health == "" {
		return cell{string(u.Phase), phaseColor(u.Phase)}
	}
	return cell{fmt.Sprintf("%s (%s)", u.Phase, u.Health), healthColor(u.Health)}
}

func healthColor(h core.HealthState) string {
	switch h {
	case core.Healthy:
		return green
	case core.Unhealthy:
		return red
	}
	return yellow
}

func phaseColor(p core.Phase) string {
	switch p {
	case core.Running, core.Completed:
		return green
	case core.Failed:
		return red
	case core.Backoff, core.Starting, core.Stopping, core.Cleaning, core.Waiting:
		return yellow
	}
	return faint
}
