package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"
	"berth/supervisor/history"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func (a *app) statusCommand() *cobra.Command {
	var lines int
	c := &cobra.Command{
		Use: "status [UNIT...]", Short: "Show units, or the daemon itself, in full",
		Long: `Shows each unit's state with its reason, main process, resources, processes and
last log lines. Without a unit it shows the daemon, and what is wrong with the
unit files if anything is.

Exits with 3 if a unit named is not running, and with 5 if the daemon's unit
files are not valid.`,
		ValidArgsFunction: a.units,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.daemonStatus(cmd.Context())
			}
			return a.unitStatus(cmd.Context(), args, lines)
		},
	}
	c.Flags().IntVarP(&lines, "lines", "n", 10, "log lines to show")
	return c
}

func (a *app) daemonStatus(ctx context.Context) error {
	d, err := a.client().Daemon(ctx)
	if err != nil {
		return err
	}
	invalid := error(nil)
	if d.Invalid.HasErrors() {
		invalid = &exitError{exitInvalid, ""}
	}
	if a.json() {
		if err := a.printJSON(d); err != nil {
			return err
		}
		return invalid
	}
	p := a.paint()
	state, color := "running", green
	if invalid != nil {
		state, color = "running, with invalid unit files", red
	}
	if s := d.Shutdown; s != nil {
		state, color = shutdownText(s), yellow
	}
	fmt.Fprintf(a.out, "%s berthd %s\n", p.in(color, "●"), d.Version)
	a.field("State", p.in(color, state))
	a.field("Generation", generationText(d))
	if d.Pending != nil {
		a.field("Pending", p.in(yellow, pendingText(d.Pending)))
	}
	a.field("Processes", fmt.Sprintf("reaper %d, supervisor %d (number %d, since %s)", d.ReaperPID, d.PID, d.Supervisors, since(d.Started)))
	a.field("Orphans", fmt.Sprintf("%d reaped", d.Orphans))
	a.field("Cgroup", d.Cgroup)
	a.field("Unit files", strings.Join(d.Directories, ", "))
	var counts []string
	for _, phase := range slices.Sorted(maps.Keys(d.Units)) {
		counts = append(counts, p.in(phaseColor(phase), fmt.Sprintf("%d %s", d.Units[phase], phase)))
	}
	a.field("Units", strings.Join(counts, ", "))
	if stops, err := a.client().Stops(ctx, nil); err == nil { // an older berthd: none
		for _, s := range stops {
			a.field("Stopping", p.in(yellow, stoppingText(s)))
		}
	}
	if len(d.Invalid) > 0 {
		fmt.Fprintln(a.out, "\nThe unit files on disk are not valid; the last good generation runs on:")
		d.Invalid.Format(a.out, bool(p))
	}
	return invalid
}

func generationText(d *api.Daemon) string {
	text := fmt.Sprint(d.Generation)
	if d.RolledBackTo != 0 {
		text += fmt.Sprintf(", rolled back to %d", d.RolledBackTo)
	}
	if d.Outcome != nil {
		outcome, _ := outcomeText(history.Record{Outcome: *d.Outcome})
		text += " (" + outcome + ")"
	}
	if d.Reload == "manual" {
		text += "; changes wait for berth apply"
	}
	return text
}

func pendingText(p *api.Pending) string {
	why := ""
	if p.Held == "rollback" {
		why = ", held back by a rollback"
	}
	return fmt.Sprintf("a change of %s since %s%s: berth plan shows it, berth apply takes it up", count(p.Units, "unit"), p.Since.Local().Format("2006-01-02 15:04:05"), why)
}

func (a *app) unitStatus(ctx context.Context, names []string, lines int) error {
	var all []*api.Status
	down := false
	for _, name := range names {
		st, err := a.client().Status(ctx, name)
		if err != nil {
			return err
		}
		all = append(all, st)
		down = down || !isUp(st.Phase)
	}
	if a.json() {
		if err := a.printJSON(all); err != nil {
			return err
		}
	} else {
		for i, st := range all {
			if i > 0 {
				fmt.Fprintln(a.out)
			}
			if err := a.card(ctx, st, lines); err != nil {
				return err
			}
		}
	}
	if down {
		return &exitError{exitNotRunning, ""}
	}
	return nil
}

func isUp(p core.Phase) bool { return p == core.Running || p == core.Completed }

func (a *app) field(name, value string) {
	if value != "" {
		fmt.Fprintf(a.out, "%12s: %s\n", name, value)
	}
}

func since(t time.Time) string {
	return fmt.Sprintf("%s, %s ago", t.Local().Format("Mon 2006-01-02 15:04:05 MST"), age(time.Since(t)))
}

// card shows one unit as systemctl status does.
func (a *app) card(ctx context.Context, st *api.Status, lines int) error {
	p := a.paint()
	color := phaseColor(st.Phase)
	title := p.in(color, "●") + " " + p.in(bold, st.Name)
	if st.Description != "" {
		title += " - " + safe(st.Description)
	}
	fmt.Fprintln(a.out, title)
	if len(st.Files) > 0 {
		a.field("Loaded", strings.Join(st.Files, ", "))
	}
	state := p.in(color, string(st.Phase))
	if st.Listening {
		state += ", " + p.in(green, "listening")
	}
	if st.Paused {
		state += ", " + p.in(yellow, "paused")
	}
	if st.Health != "" {
		state += ", " + p.in(healthColor(st.Health), string(st.Health))
	}
	if st.Reason != "" {
		state += " (" + safe(st.Reason) + ")"
	}
	a.field("Active", state+" since "+since(st.Since))
	a.told(p, st.Told)
	if st.RestartAt != nil {
		a.field("Restart", "in "+age(time.Until(*st.RestartAt)))
	}
	a.field("Sockets", strings.Join(st.Sockets, ", "))
	if st.Timer != nil {
		a.field("Timer", timerText(st.Timer, time.Now()))
	}
	if st.Restarts > 0 {
		a.field("Restarts", fmt.Sprint(st.Restarts))
	}
	if st.Stop != nil {
		a.field("Stop", p.in(yellow, progressText(*st.Stop)))
	}
	if st.LastStop != nil {
		a.field("Last stop", stopText(*st.LastStop)+", "+age(time.Since(st.LastStop.Ended))+" ago")
	}
	if st.LastExit != nil {
		a.field("Last exit", exitText(st.LastExit))
	}
	if st.MainPID > 0 {
		a.field("Main PID", fmt.Sprintf("%d (%s)", st.MainPID, safe(strings.Join(st.Command, " "))))
	}
	if st.Tasks != nil {
		a.field("Tasks", bounded(fmt.Sprint(*st.Tasks), st.TasksMax, func(n uint64) string { return fmt.Sprint(n) }))
	}
	if st.Memory != nil {
		text := bounded(bytesText(*st.Memory), st.MemoryMax, bytesText)
		if st.MemoryPeak != nil {
			text += ", peak " + bytesText(*st.MemoryPeak)
		}
		a.field("Memory", text)
	}
	if st.CPUUsec != nil {
		a.field("CPU", (time.Duration(*st.CPUUsec) * time.Microsecond).Round(time.Millisecond).String())
	}
	for _, c := range st.Checks {
		a.check(c)
	}
	a.field("Requires", strings.Join(st.Requires, ", "))
	a.field("Required by", strings.Join(st.RequiredBy, ", "))
	a.field("Cgroup", st.Cgroup)
	a.processes(st.Processes)
	a.beside(st.Beside)
	if lines <= 0 {
		return nil
	}
	entries, err := a.client().Logs(ctx, api.LogQuery{Units: []string{st.Name}, Lines: lines})
	if err != nil {
		fmt.Fprintf(a.out, "\n(no log: %s)\n", err)
		return nil
	}
	first := true
	for e, err := range entries {
		if err != nil {
			return err
		}
		if first {
			fmt.Fprintln(a.out)
			first = false
		}
		a.printEntry(e, false)
	}
	return nil
}

func (a *app) processes(list []api.Process) {
	for i, pr := range list {
		branch := "├─"
		if i == len(list)-1 {
			branch = "└─"
		}
		fmt.Fprintf(a.out, "%14s%s%d %s\n", "", branch, pr.PID, safe(pr.Command))
	}
}

// beside shows the other instance of a unit that is being replaced.
func (a *app) beside(l *api.Instance) {
	if l == nil {
		return
	}
	name := "New instance"
	if l.Old {
		name = "Old instance"
	}
	state := a.paint().in(phaseColor(l.Phase), string(l.Phase))
	if l.Phase == core.Running {
		state += ", not ready yet"
	}
	if l.NotReady != "" {
		state += ": " + safe(l.NotReady)
	}
	if l.Reason != "" {
		state += " (" + safe(l.Reason) + ")"
	}
	a.field(name, state+" since "+since(l.Since))
	if l.MainPID > 0 {
		a.field("Its main PID", fmt.Sprint(l.MainPID))
	}
	a.field("Its cgroup", l.Cgroup)
	a.processes(l.Processes)
}

// check shows one health check, with the end of what it has last seen.
func (a *app) check(c api.Check) {
	text := c.Name + " " + a.paint().in(healthColor(c.State), string(c.State))
	if c.Failed > 0 {
		text += fmt.Sprintf(", failed %d times in a row", c.Failed)
	}
	if c.At != nil {
		text += fmt.Sprintf(", last %s ago in %s", age(time.Since(*c.At)), c.Took.Round(time.Millisecond))
	}
	if c.Next != nil {
		text += ", next in " + age(max(time.Until(*c.Next), 0))
	}
	a.field("Health", text)
	if c.Error != "" {
		fmt.Fprintf(a.out, "%14s%s\n", "", safe(c.Error))
	}
	for _, line := range lastLinesOf(c.Output) {
		fmt.Fprintf(a.out, "%14s%s\n", "", safe(line))
	}
}

// lastLinesOf gives the last lines of a check's output that are not empty.
func lastLinesOf(output string) []string {
	lines := slices.DeleteFunc(strings.Split(output, "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
	return lines[max(0, len(lines)-5):]
}

// timerText tells what a timer goes by, and when it is due.
func timerText(t *api.Timer, now time.Time) string {
	text := t.Calendar
	if text == "" {
		text = "every " + t.Every.String()
	}
	if t.Next == nil {
		return text + ", not set"
	}
	text += fmt.Sprintf(", next %s, in %s", t.Next.Local().Format("Mon 2006-01-02 15:04:05 MST"), age(max(t.Next.Sub(now), 0)))
	if t.Last != nil {
		text += ", last " + since(*t.Last)
	}
	return text
}

// told shows how far a running unit has come, and what it says of itself.
func (a *app) told(p paint, t *api.Told) {
	if t == nil {
		return
	}
	switch {
	case !t.Ready && t.NotReady != "":
		a.field("Ready", p.in(yellow, "not ready")+": "+safe(t.NotReady))
	case !t.Ready:
		a.field("Ready", p.in(yellow, "not ready"))
	case t.Since != nil:
		a.field("Ready", "since "+since(*t.Since))
	}
	var says []string
	if t.Stopping {
		says = append(says, "stopping")
	}
	if t.Reloading {
		says = append(says, "reloading")
	}
	if t.Status != "" {
		says = append(says, "\""+safe(t.Status)+"\"")
	}
	if t.Errno != 0 {
		says = append(says, "errno "+fmt.Sprint(t.Errno)+" ("+syscall.Errno(t.Errno).Error()+")")
	}
	if t.BusError != "" {
		says = append(says, "bus error "+safe(t.BusError))
	}
	a.field("Says", strings.Join(says, ", "))
	if w := t.Watchdog; w != nil {
		text := "to be heard of every " + (time.Duration(w.IntervalUsec) * time.Microsecond).String()
		if w.Heard != nil {
			text += ", last heard of " + age(time.Since(*w.Heard)) + " ago"
		}
		a.field("Watchdog", text)
	}
	if len(t.Kept) > 0 {
		a.field("Kept", safe(strings.Join(t.Kept, ", "))+" (descriptors)")
	}
}

func bounded(text string, limit *uint64, format func(uint64) string) string {
	if limit != nil {
		text += " (limit " + format(*limit) + ")"
	}
	return text
}

func exitText(e *core.ExitStatus) string {
	var text string
	switch {
	case e.Signal != 0:
		text = "killed by " + unix.SignalName(syscall.Signal(e.Signal))
		if e.Core {
			text += ", core dumped"
		}
	case e.Code == 0:
		text = "success"
	default:
		text = fmt.Sprintf("status %d", e.Code)
	}
	if e.OOM {
		text += ", out of memory"
	}
	return text
}
