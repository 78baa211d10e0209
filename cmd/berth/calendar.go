package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"berth/config"
	"berth/units/calendar"

	"github.com/spf13/cobra"
)

// occasions is what a calendar expression stands for.
type occasions struct {
	Expression string      `json:"expression"`
	Normal     string      `json:"normal"`
	Next       []time.Time `json:"next"`
}

func (a *app) calendarCommand() *cobra.Command {
	var iterations int
	var from string
	c := &cobra.Command{
		Use: "calendar EXPRESSION...", Short: "Show when a calendar expression comes true",
		Long: `Reads calendar expressions as timer.calendar takes them, in the notation of
systemd.time(7) or as a line of crontab(5), and shows their normal form and the
next times, in the zone of this machine.`,
		Example: `  berth calendar "Mon..Fri 08:00"
  berth calendar --iterations 5 "*-*~1 23:00 Europe/Berlin"
  berth calendar "*/15 8-18 * * 1-5"`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if iterations < 1 || iterations > 10000 {
				return usageOf(cmd, fmt.Errorf("--iterations is from 1 to 10000, not %d", iterations))
			}
			after := time.Now()
			if from != "" {
				var err error
				if after, err = time.Parse(time.RFC3339, from); err != nil {
					return usageOf(cmd, fmt.Errorf("--from is a time like 2026-03-29T00:00:00Z, not %q", from))
				}
			}
			var list []occasions
			for _, text := range args {
				o, err := occasionsOf(text, after, iterations)
				if err != nil {
					return err
				}
				list = append(list, o)
			}
			if a.json() {
				return a.printJSON(list)
			}
			for i, o := range list {
				if i > 0 {
					fmt.Fprintln(a.out)
				}
				a.printOccasions(o, after)
			}
			return nil
		},
	}
	c.Flags().IntVarP(&iterations, "iterations", "n", 3, "how many times to show")
	c.Flags().StringVar(&from, "from", "", "count from this `TIME` (RFC 3339) instead of now")
	return c
}

func occasionsOf(text string, after time.Time, n int) (occasions, error) {
	o := occasions{Expression: text, Next: []time.Time{}}
	e, err := calendar.Parse(text)
	if wrong := (*calendar.Error)(nil); errors.As(err, &wrong) {
		return o, &exitError{exitInvalid, pointed(wrong)}
	} else if err != nil {
		return o, err
	}
	o.Normal = e.String()
	zone, err := config.Zone(e.Zone())
	if err != nil {
		return o, &exitError{exitInvalid, err.Error()}
	}
	at := after.In(zone)
	for range n {
		next, ok := e.Next(at)
		if !ok {
			break
		}
		o.Next = append(o.Next, next.Local())
		at = next
	}
	return o, nil
}

// pointed shows the place of a fault under the expression.
func pointed(e *calendar.Error) string {
	column := utf8.RuneCountInString(e.Text[:e.Offset])
	s := fmt.Sprintf("cannot read the calendar expression: %s\n\n  %s\n  %s^", e.Reason, safe(e.Text), strings.Repeat(" ", column))
	if e.Hint != "" {
		s += " " + e.Hint
	}
	return s
}

func (a *app) printOccasions(o occasions, from time.Time) {
	fmt.Fprintf(a.out, "%s\n", a.paint().in(bold, o.Normal))
	if len(o.Next) == 0 {
		fmt.Fprintln(a.out, "  never again")
	}
	t := &table{}
	for _, at := range o.Next {
		format := "Mon 2006-01-02 15:04:05 MST"
		if at.Nanosecond() != 0 {
			format = "Mon 2006-01-02 15:04:05.000000 MST"
		}
		t.row(cell{text: ""}, cell{text: at.Format(format)}, cell{"in " + age(at.Sub(from)), faint})
	}
	t.print(a.out, a.paint())
}
