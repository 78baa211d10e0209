package main

import (
	"context"
	"fmt"
	"time"

	"berth/isolate/cgroup"
	"berth/supervisor/api"

	"github.com/spf13/cobra"
)

func (a *app) statsCommand() *cobra.Command {
	var interval time.Duration
	c := &cobra.Command{
		Use: "stats [UNIT...]", Short: "Show what units use: cpu, memory, io, processes, pressure",
		Long: `Shows what units use, all that run or those named. With -o json all figures of
their control groups are given, as counters, in bytes and microseconds.

With -o nsinit they are given as nsinit's stats command has them, with the
figures of the network interfaces, in bytes and nanoseconds: as one object if one
unit is named, and else as one by unit.`,
		Example: `  berth stats
  berth stats -o nsinit web`,
		ValidArgsFunction: a.units,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if a.output == "nsinit" {
				return a.printContainers(ctx, args)
			}
			last, err := a.client().Stats(ctx, args)
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(last)
			}
			select { // the CPU column is a rate: it needs two looks
			case <-time.After(interval):
			case <-ctx.Done():
				return ctx.Err()
			}
			now, err := a.client().Stats(ctx, args)
			if err != nil {
				return err
			}
			a.printStats(last, now)
			return nil
		},
	}
	c.Flags().DurationVar(&interval, "interval", 200*time.Millisecond, "span over which the CPU share is taken")
	return c
}

// printContainers prints figures in the shape of nsinit's stats.
func (a *app) printContainers(ctx context.Context, names []string) error {
	all, err := a.client().Containers(ctx, names)
	if err != nil {
		return err
	}
	if len(names) == 1 {
		one := all[names[0]]
		if one == nil {
			return &exitError{exitNotRunning, fmt.Sprintf("unit %s is not running", names[0])}
		}
		return a.printJSON(one)
	}
	return a.printJSON(all)
}

func (a *app) printStats(before, now []api.Stats) {
	old := map[string]api.Stats{}
	for _, s := range before {
		old[s.Unit] = s
	}
	t := &table{}
	t.row(cell{"UNIT", bold}, cell{"CPU", bold}, cell{"CPU TIME", bold}, cell{"MEMORY", bold}, cell{"LIMIT", bold},
		cell{"READ", bold}, cell{"WRITTEN", bold}, cell{"TASKS", bold}, cell{"PRESSURE cpu/mem", bold})
	for _, s := range now {
		share := "-"
		if o, ok := old[s.Unit]; ok && s.Time.After(o.Time) && s.CPU.UsageUsec >= o.CPU.UsageUsec {
			share = fmt.Sprintf("%.1f%%", float64(s.CPU.UsageUsec-o.CPU.UsageUsec)/float64(s.Time.Sub(o.Time).Microseconds())*100)
		}
		limit := "-"
		if s.Memory.Max != nil {
			limit = bytesText(*s.Memory.Max)
		}
		var read, written uint64
		for _, io := range s.IO {
			read, written = read+io.ReadBytes, written+io.WriteBytes
		}
		t.row(cell{text: s.Unit}, cell{text: share}, cell{text: (time.Duration(s.CPU.UsageUsec) * time.Microsecond).Round(time.Millisecond).String()},
			cell{text: bytesText(s.Memory.Current)}, cell{text: limit}, cell{text: bytesText(read)}, cell{text: bytesText(written)},
			cell{text: fmt.Sprint(s.Pids.Current)}, cell{text: pressure(s.CPU.Pressure) + " / " + pressure(s.Memory.Pressure)})
	}
	t.print(a.out, a.paint())
}

func pressure(p *cgroup.Pressure) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", p.Some.Avg10)
}
