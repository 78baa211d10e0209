package calendar

import (
	"slices"
	"strings"
)

var (
	cronMonths   = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	cronWeekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
)

// field is one field of a cron line.
type field struct {
	at   int
	text string
}

// cronFields gives the fields of a text that can only be a cron line: five of
// them, without what only the other notation has. A sixth may be a time zone.
func (p *parser) cronFields() []field {
	var fields []field
	for at := 0; at < len(p.text); {
		if isSpace(p.text[at]) {
			at++
			continue
		}
		end := at
		for end < len(p.text) && !isSpace(p.text[end]) {
			end++
		}
		fields = append(fields, field{at, p.text[at:end]})
		at = end
	}
	if len(fields) != 5 && len(fields) != 6 {
		return nil
	}
	if len(fields) == 6 && !letter(fields[5].text[0]) {
		return nil
	}
	for i, f := range fields[:5] {
		if strings.ContainsAny(f.text, ":~") || strings.Contains(f.text, "..") || strings.HasSuffix(f.text, ",") || i == 0 && letter(f.text[0]) {
			return nil
		}
	}
	return fields
}

func (p *parser) parseCron(fields []field) (Expr, *Error) {
	e := Expr{weekdays: everyDay, second: set{{0, -1, 0}}}
	if len(fields) == 6 {
		p.pos, p.end = fields[4].at+len(fields[4].text), len(strings.TrimRight(p.text, " \t"))
		var err *Error
		if e.zone, err = p.takeZone(); err != nil {
			return Expr{}, err
		}
		fields = fields[:5]
	}
	var weekdays set
	kinds := [...]struct {
		what      string
		low, high int
		names     []string
		to        *set
	}{
		{"minute", 0, 59, nil, &e.minute}, {"hour", 0, 23, nil, &e.hour}, {"day of the month", 1, 31, nil, &e.day},
		{"month", 1, 12, cronMonths, &e.month}, {"day of the week", 0, 7, cronWeekdays, &weekdays},
	}
	var words []string
	for i, f := range fields {
		k := kinds[i]
		p.pos, p.end = f.at, f.at+len(f.text)
		s, err := p.cronSet(k.what, k.low, k.high, k.names)
		if err != nil {
			return Expr{}, err
		}
		*k.to = s
		words = append(words, strings.ToLower(f.text))
	}
	if weekdays != nil {
		e.weekdays = 0
		for v := range 8 {
			if weekdays.has(v, 7) {
				e.weekdays |= 1 << ((v + 6) % 7)
			}
		}
	}
	// What crontab(5) calls restricted: a field that does not begin with a star.
	e.either = fields[2].text[0] != '*' && fields[4].text[0] != '*'
	e.cron = strings.Join(words, " ")
	return e, nil
}

// cronSet reads "*", "*/5" or a list of numbers, names, ranges and ranges with steps.
func (p *parser) cronSet(what string, low, high int, names []string) (set, *Error) {
	s := set{}
	for {
		at := p.pos
		one := span{low, high, 1}
		star := p.take("*")
		if !star {
			first, err := p.cronValue(what, low, high, names, false)
			if err != nil {
				return nil, err
			}
			one = span{first, -1, 0}
			if p.take("-") {
				last, err := p.cronValue(what, low, high, names, true)
				if err != nil {
					return nil, err
				}
				if last < first {
					return nil, p.fail(at, "write two ranges", "the range ends before it begins")
				}
				one = span{first, last, 1}
			}
		}
		if p.take("/") {
			step, err := p.number(1)
			if err != nil {
				return nil, err
			}
			switch {
			case one.stop < 0:
				return nil, p.fail(at, `a step belongs to a range: "5-59/10", or to a star: "*/10"`, "a single %s has no steps", what)
			case step == 0:
				return nil, p.fail(at, "", "a step of 0 leads nowhere")
			}
			one.step = step
			star = false
		}
		if star && p.pos == p.end && len(s) == 0 {
			return nil, nil
		}
		s = append(s, one)
		if p.pos == p.end {
			return s, nil
		}
		if !p.take(",") {
			return nil, p.fail(p.pos, `like "5", "1-5", "*/10" or "1,15"`, "%q cannot stand here in the %s", p.text[p.pos], what)
		}
	}
}

// cronValue reads a number or a name. Sunday is 0, and 7 at the end of a range.
func (p *parser) cronValue(what string, low, high int, names []string, last bool) (int, *Error) {
	at := p.pos
	for p.pos < p.end && letter(p.text[p.pos]) {
		p.pos++
	}
	if w := strings.ToLower(p.text[at:p.pos]); w != "" {
		switch i := slices.Index(names, w); {
		case i < 0:
			return 0, p.fail(at, "numbers, or the first three letters of the English name of a month or weekday", "there is no %s %q", what, w)
		case i == 0 && last && low == 0:
			return 7, nil
		default:
			return i + low, nil
		}
	}
	v, err := p.number(1)
	if err != nil {
		return 0, err
	}
	if v < low || v > high {
		return 0, p.fail(at, "", "there is no %s %d: from %d to %d", what, v, low, high)
	}
	return v, nil
}
