package main

import (
	"fmt"
	"strconv"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"

	"github.com/spf13/cobra"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List all units",
		Long: `Lists all units with state, what their health checks say, main process, restarts
since they were started, and the reason of a state that is not wanted.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.client().List(cmd.Context())
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(list)
			}
			a.printList(list)
			return nil
		},
	}
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
