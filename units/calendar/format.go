package calendar

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// String writes the expression in the normal form of systemd.time(7), or, for
// one that was a cron line, as such a line. Parse reads it back as the same.
func (e Expr) String() string {
	if e.cron != "" {
		return e.withZone(e.cron)
	}
	var b strings.Builder
	if e.weekdays != everyDay {
		b.WriteString(formatWeekdays(e.weekdays) + " ")
	}
	if e.year == nil {
		b.WriteByte('*')
	} else {
		b.WriteString(e.year.format("%04d"))
	}
	b.WriteString("-" + e.month.format("%02d"))
	if e.fromEnd {
		b.WriteByte('~')
	} else {
		b.WriteByte('-')
	}
	fmt.Fprintf(&b, "%s %s:%s:%s", e.day.format("%02d"), e.hour.format("%02d"), e.minute.format("%02d"), e.second.formatSeconds())
	return e.withZone(b.String())
}

func (e Expr) withZone(s string) string {
	if e.zone != "" {
		s += " " + e.zone
	}
	return s
}

// formatWeekdays writes a run of three or more days as a range.
func formatWeekdays(days uint8) string {
	name := func(d int) string { return strings.ToUpper(weekdayNames[d][:1]) + weekdayNames[d][1:3] }
	var parts []string
	for d := 0; d < 7; d++ {
		last := d
		for last < 7 && days&(1<<last) != 0 {
			last++
		}
		switch n := last - d; {
		case n == 0:
			continue
		case n > 2:
			parts = append(parts, name(d)+".."+name(last-1))
			d = last
		default:
			parts = append(parts, name(d))
		}
	}
	return strings.Join(parts, ",")
}

func (s set) format(verb string) string {
	return s.join(1, func(v int) string { return fmt.Sprintf(verb, v) })
}

func (s set) formatSeconds() string {
	if len(s) == 1 && s[0] == (span{0, -1, second}) {
		return "*"
	}
	return s.join(second, formatSecond)
}

// join writes a list. A range goes in steps of unit unless it says otherwise.
func (s set) join(unit int, show func(int) string) string {
	if s == nil {
		return "*"
	}
	var parts []string
	for _, p := range s {
		text := show(p.start)
		if p.stop >= 0 {
			text += ".." + show(p.stop)
		}
		if p.step > 0 && (p.stop < 0 || p.step != unit) {
			step := strings.TrimLeft(show(p.step), "0")
			if strings.HasPrefix(step, ".") {
				step = "0" + step
			}
			text += "/" + step
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ",")
}

func formatSecond(v int) string {
	if v%second == 0 {
		return fmt.Sprintf("%02d", v/second)
	}
	return fmt.Sprintf("%02d.%06d", v/second, v%second)
}

// normal sorts the list, ends ranges at the last value that they reach, and
// leaves out what is there twice.
func (s set) normal() set {
	for i, p := range s {
		if p.stop >= 0 {
			p.stop -= (p.stop - p.start) % p.step
			if p.stop == p.start {
				p.stop, p.step = -1, 0
			}
		}
		s[i] = p
	}
	slices.SortFunc(s, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.stop, b.stop), cmp.Compare(a.step, b.step))
	})
	return slices.Compact(s)
}
