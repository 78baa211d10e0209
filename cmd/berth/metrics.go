package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func (a *app) metricsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "metrics", Short: "Print metrics of the daemon and of all units for Prometheus",
		Long: `Prints metrics of the daemon and of all units in the text format of Prometheus, as
GET /metrics on the control socket does. berthd listens on no port: a collector
reads the socket itself, or what this prints.`,
		Example: `  berth metrics
  cd /var/lib/node-exporter && berth metrics > .new && mv .new berth.prom`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json() {
				return &usageError{errors.New("metrics are text; berth stats -o json gives figures as JSON"), cmd.Name()}
			}
			text, err := a.client().Metrics(cmd.Context())
			if err != nil {
				return err
			}
			_, err = a.out.Write(text)
			return err
		},
	}
}
