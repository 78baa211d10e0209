package main

import (
	"strconv"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"

	"github.com/spf13/cobra"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List all units",
		Long: `Lists all units with state, main process, restarts since they were started, and
the reason of a state that is not wanted.`,
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
		t.row(cell{text: u.Name}, cell{string(u.Phase), phaseColor(u.Phase)}, cell{text: age(time.Since(u.Since))},
			cell{text: pid}, cell{text: strconv.Itoa(u.Restarts)}, cell{text: reason})
	}
	t.print(a.out, a.paint())
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
