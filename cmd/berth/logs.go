package main

import (
	"encoding/json"
	"fmt"
	"time"

	"berth/supervisor/api"

	"github.com/spf13/cobra"
)

func (a *app) logsCommand() *cobra.Command {
	var follow bool
	var lines int
	var sinceText string
	c := &cobra.Command{
		Use: "logs UNIT...", Short: "Show the log lines of units, from journald or berth's files",
		Long: `Shows the log lines of units in order of time, whether journald or berth's own
files hold them. Control characters that a unit wrote are shown as �; with
-o json each line is given as it was, one object a line.`,
		Example: `  berth logs web
  berth logs -f web db
  berth logs --since 10m -n 100 web`,
		Args: usage(cobra.MinimumNArgs(1)), ValidArgsFunction: a.units,
		RunE: func(cmd *cobra.Command, args []string) error {
			q := api.LogQuery{Units: args, Lines: lines, Follow: follow}
			if sinceText != "" {
				t, err := parseSince(sinceText, time.Now())
				if err != nil {
					return &usageError{err, "logs"}
				}
				q.Since = t
			}
			if !cmd.Flags().Changed("lines") && !follow {
				q.Lines = -1
			}
			entries, err := a.client().Logs(cmd.Context(), q)
			if err != nil {
				return err
			}
			enc := json.NewEncoder(a.out)
			for e, err := range entries {
				if err != nil {
					return fmt.Errorf("the log was cut: %w", err)
				}
				if a.json() {
					if err := enc.Encode(e); err != nil {
						return err
					}
				} else {
					a.printEntry(e, len(args) > 1)
				}
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on as new lines come")
	c.Flags().IntVarP(&lines, "lines", "n", 10, "the last so many; without -f: all, unless given")
	c.Flags().StringVar(&sinceText, "since", "", "from this time on: 10m (ago), 15:04, 2006-01-02 15:04:05, or RFC 3339")
	return c
}

func (a *app) printEntry(e api.LogEntry, named bool) {
	p := a.paint()
	line := p.in(faint, e.Time.Local().Format("Jan 02 15:04:05.000"))
	if named {
		line += " " + p.in(bold, e.Unit)
	}
	text := safe(e.Text)
	if e.Priority <= 3 {
		text = p.in(red, text)
	}
	fmt.Fprintln(a.out, line+" "+text)
}

// parseSince reads a point in time: a span before now, or a local time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d.Abs()), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, form := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, form := range []string{"15:04:05", "15:04"} {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			y, m, d := now.Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q is not a time: write 10m, 15:04, or 2006-01-02 15:04:05", text)
}
