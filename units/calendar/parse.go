package calendar

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Error tells what is wrong with an expression, and where.
type Error struct {
	Text   string // the expression
	Offset int    // where in it, in bytes from 0
	Reason string
	Hint   string // what to write instead; "": nothing to say
}

func (e *Error) Error() string {
	return fmt.Sprintf("at character %d: %s", e.Offset+1, e.Reason)
}

// shorthands are the named expressions of systemd.time(7); crontab(5) has some
// of them behind an @.
var shorthands = map[string]string{
	"minutely": "*:*", "hourly": "*:0", "daily": "*-*-*", "weekly": "Mon *-*-*", "monthly": "*-*-1",
	"yearly": "*-1-1", "annually": "*-1-1", "quarterly": "*-1,4,7,10-1", "semiannually": "*-1,7-1",
}

var weekdayNames = [...]string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}

// Parse reads an expression in the notation of systemd.time(7), or a line of
// five fields, or an @name, as in crontab(5). Errors are of type *Error. Whether
// there is data for the zone that it names is for the caller to find out.
//
// As in systemd.time(7), "24:00", years outside 1970 to 2199 and ranges that end
// before they begin are errors.
func Parse(text string) (Expr, error) {
	p := &parser{text: text}
	var e Expr
	var err *Error
	if fields := p.cronFields(); fields != nil {
		e, err = p.parseCron(fields)
	} else {
		e, err = p.parse()
	}
	if err != nil {
		return Expr{}, err
	}
	return e, nil
}

// parser reads text from pos on, up to end.
type parser struct {
	text string
	pos  int
	end  int
}

func (p *parser) fail(at int, hint, format string, args ...any) *Error {
	return &Error{p.text, at, fmt.Sprintf(format, args...), hint}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func (p *parser) skip() {
	for p.pos < p.end && isSpace(p.text[p.pos]) {
		p.pos++
	}
}

// word gives what stands at pos up to the next space.
func (p *parser) word() string {
	end := p.pos
	for end < p.end && !isSpace(p.text[end]) {
		end++
	}
	return p.text[p.pos:end]
}

// take goes over s if it stands at pos.
func (p *parser) take(s string) bool {
	if !strings.HasPrefix(p.text[p.pos:p.end], s) {
		return false
	}
	p.pos += len(s)
	return true
}

func (p *parser) parse() (Expr, *Error) {
	p.end = len(strings.TrimRight(p.text, " \t"))
	p.skip()
	if p.pos >= p.end {
		return Expr{}, p.fail(0, `write it like "*-*-* 03:00", "Mon..Fri 08:00" or "daily"`, "the expression is empty")
	}
	zone, err := p.takeZone()
	if err != nil {
		return Expr{}, err
	}
	e := Expr{weekdays: everyDay, zone: zone}
	rest := strings.ToLower(p.text[p.pos:p.end])
	switch {
	case rest[0] == '@':
		return p.at(rest, zone)
	case shorthands[rest] != "":
		e, _ := Parse(shorthands[rest])
		e.zone = zone
		return e, nil
	case rest == "bi-annually", rest == "biannually", rest == "semi-annually", rest == "anually":
		return Expr{}, p.fail(p.pos, `write "semiannually" or "annually"`, "there is no expression %q", rest)
	}
	if err := p.expression(&e); err != nil {
		return Expr{}, err
	}
	return e, nil
}

// expression reads weekdays, date and time, of which at least one is there.
func (p *parser) expression(e *Expr) *Error {
	if c := p.text[p.pos]; letter(c) {
		var err *Error
		if e.weekdays, err = p.weekdays(); err != nil {
			return err
		}
		p.skip()
	}
	if w := p.word(); w != "" && !strings.Contains(w, ":") {
		if !strings.ContainsAny(w, "-~") {
			return p.fail(p.pos, `a date is like "*-*-01" or "12-24", a time like "03:00"`, "%q is neither a date nor a time", w)
		}
		if err := p.date(e); err != nil {
			return err
		}
		p.skip()
	}
	e.hour, e.minute, e.second = set{{0, -1, 0}}, set{{0, -1, 0}}, set{{0, -1, 0}}
	if p.pos < p.end {
		if err := p.clock(e); err != nil {
			return err
		}
		p.skip()
	}
	if p.pos < p.end {
		return p.fail(p.pos, "weekdays, date, time and zone, in this order", "%q is not understood", p.text[p.pos:p.end])
	}
	return nil
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// takeZone takes the last word off the text if it is the name of a time zone.
func (p *parser) takeZone() (string, *Error) {
	at := strings.LastIndexAny(p.text[p.pos:p.end], " \t")
	if at < 0 {
		return "", nil
	}
	at += p.pos + 1
	w := p.text[at:p.end]
	if !letter(w[0]) || isWeekday(w) || strings.Contains(w, "..") || strings.Contains(w, ",") {
		return "", nil
	}
	for i := range len(w) {
		if c := w[i]; !letter(c) && !digit(c) && !strings.ContainsRune("_+-/", rune(c)) {
			return "", p.fail(at+i, `a zone is "UTC" or like "Europe/Berlin"`, "%q cannot be in the name of a time zone", c)
		}
	}
	p.end = at
	for p.end > p.pos && isSpace(p.text[p.end-1]) {
		p.end--
	}
	if strings.EqualFold(w, "UTC") {
		w = "UTC"
	}
	return w, nil
}

func isWeekday(w string) bool {
	w = strings.ToLower(w)
	return slices.ContainsFunc(weekdayNames[:], func(n string) bool { return w == n || w == n[:3] })
}

// at reads a moment in seconds since 1970, or a name of crontab(5).
func (p *parser) at(rest, zone string) (Expr, *Error) {
	name := rest[1:]
	if name == "midnight" {
		name = "daily"
	}
	switch n, err := strconv.ParseInt(name, 10, 64); {
	case name == "reboot":
		return Expr{}, p.fail(p.pos, `use start = "boot" in [unit]`, "@reboot is not a time")
	case shorthands[name] != "":
		e, _ := Parse(shorthands[name])
		e.zone = zone
		return e, nil
	case err != nil || n < 0 || time.Unix(n, 0).UTC().Year() > maxYear:
		return Expr{}, p.fail(p.pos, "seconds since 1970, or @hourly, @daily, @weekly, @monthly, @yearly", "%q is not a time", rest)
	case zone != "":
		return Expr{}, p.fail(p.end+1, "leave the zone out", "seconds since 1970 have no zone")
	default:
		one := func(v int) set { return set{{v, -1, 0}} }
		t := time.Unix(n, 0).UTC()
		return Expr{weekdays: everyDay, year: one(t.Year()), month: one(int(t.Month())), day: one(t.Day()),
			hour: one(t.Hour()), minute: one(t.Minute()), second: one(t.Second() * second), zone: "UTC"}, nil
	}
}

// weekdays reads "Mon", "Mon..Fri,Sun" and the like.
func (p *parser) weekdays() (uint8, *Error) {
	var days uint8
	for {
		at := p.pos
		first, err := p.weekday()
		if err != nil {
			return 0, err
		}
		last := first
		if p.take("..") || p.take("-") {
			if last, err = p.weekday(); err != nil {
				return 0, err
			}
		}
		if last < first {
			return 0, p.fail(at, "a week begins on Monday: write two ranges", "the range ends before it begins")
		}
		for d := first; d <= last; d++ {
			days |= 1 << d
		}
		if !p.take(",") {
			if p.pos < p.end && !isSpace(p.text[p.pos]) {
				return 0, p.fail(p.pos, `like "Mon..Fri" or "Mon,Thu"`, "%q cannot follow a weekday", p.text[p.pos])
			}
			return days, nil
		}
		p.skip()
		if p.pos >= p.end || !letter(p.text[p.pos]) {
			return days, nil // a comma may end the list
		}
	}
}

func (p *parser) weekday() (int, *Error) {
	at := p.pos
	for p.pos < p.end && letter(p.text[p.pos]) {
		p.pos++
	}
	w := strings.ToLower(p.text[at:p.pos])
	for i, n := range weekdayNames {
		if w == n || w == n[:3] {
			return i, nil
		}
	}
	if w == "" {
		return 0, p.fail(at, "Mon, Tue, Wed, Thu, Fri, Sat or Sun", "a weekday is missing")
	}
	return 0, p.fail(at, "a weekday in English, or daily, weekly, monthly and the like", "%q is not a weekday", p.text[at:p.pos])
}

// date reads year-month-day, month-day, or the same with ~ before the day.
func (p *parser) date(e *Expr) *Error {
	type part struct {
		at  int
		set set
	}
	var parts []part
	for {
		at := p.pos
		s, err := p.set(1)
		if err != nil {
			return err
		}
		parts = append(parts, part{at, s})
		if e.fromEnd || len(parts) == 3 {
			break
		}
		if p.take("~") {
			e.fromEnd = true
		} else if !p.take("-") {
			break
		}
	}
	if p.pos < p.end && !isSpace(p.text[p.pos]) {
		return p.fail(p.pos, `a date is year-month-day: "*-*-01"; "~" before the day counts from the end of the month`, "%q cannot stand here in a date", p.text[p.pos])
	}
	if len(parts) == 1 {
		return p.fail(parts[0].at, `a date is like "*-*-01" or "12-24"`, "the day is missing")
	}
	if len(parts) == 3 {
		e.year = fullYears(parts[0].set)
		if err := p.check(parts[0].at, e.year, "year", minYear, maxYear); err != nil {
			return err
		}
		parts = parts[1:]
	}
	e.month, e.day = parts[0].set, parts[1].set
	if err := p.check(parts[0].at, e.month, "month", 1, 12); err != nil {
		return err
	}
	day := "day"
	if e.fromEnd {
		day = lastDays
	}
	if err := p.check(parts[1].at, e.day, day, 1, 31); err != nil {
		return err
	}
	e.fromEnd = e.fromEnd && e.day != nil
	e.year, e.month, e.day = e.year.normal(), e.month.normal(), e.day.normal()
	return nil
}

// fullYears writes years of two digits with four: 70 to 99 are of the 20th century.
func fullYears(s set) set {
	full := func(y int) int {
		switch {
		case y >= 0 && y < 70:
			return y + 2000
		case y >= 70 && y < 100:
			return y + 1900
		}
		return y
	}
	for i := range s {
		s[i].start, s[i].stop = full(s[i].start), full(s[i].stop)
	}
	return s
}

// clock reads hour:minute or hour:minute:second.
func (p *parser) clock(e *Expr) *Error {
	names := [...]string{"hour", "minute", "second"}
	limits := [...]int{23, 59, maxSecond}
	for i, to := range []*set{&e.hour, &e.minute, &e.second} {
		at, unit := p.pos, 1
		if i == 2 {
			unit = second
		}
		s, err := p.set(unit)
		if err != nil {
			return err
		}
		if i == 2 && s == nil {
			s = set{{0, -1, second}}
		}
		if err := p.check(at, s, names[i], 0, limits[i]); err != nil {
			return err
		}
		*to = s.normal()
		if i < 2 && !p.take(":") {
			if i == 0 {
				return p.fail(p.pos, `a time is hour:minute, like "03:00"`, "the minute is missing")
			}
			break
		}
	}
	if p.pos < p.end && !isSpace(p.text[p.pos]) {
		return p.fail(p.pos, `a time is hour:minute or hour:minute:second; lists have commas, ranges "..", steps "/"`, "%q cannot stand here in a time", p.text[p.pos])
	}
	return nil
}

// set reads "*" or a list of numbers, ranges and steps. Numbers are multiplied
// with unit; only where that is more than 1 they may have a fraction.
func (p *parser) set(unit int) (set, *Error) {
	if p.take("*") {
		if p.pos < p.end && p.text[p.pos] == '/' {
			return nil, p.fail(p.pos, `write the first value in place of "*": "0/5" is every fifth minute`, `"*" has no steps`)
		}
		if p.pos < p.end && p.text[p.pos] == ',' {
			return nil, p.fail(p.pos, `leave the rest out`, `"*" is every value already`)
		}
		return nil, nil
	}
	s := set{}
	for {
		at := p.pos
		v, err := p.number(unit)
		if err != nil {
			return nil, err
		}
		one := span{v, -1, 0}
		if p.take("..") {
			if one.stop, err = p.number(unit); err != nil {
				return nil, err
			}
			one.step = unit
		}
		if p.take("/") {
			if one.step, err = p.number(unit); err != nil {
				return nil, err
			}
			if one.step == 0 {
				return nil, p.fail(at, "", "a step of 0 leads nowhere")
			}
		}
		s = append(s, one)
		if !p.take(",") {
			return s, nil
		}
	}
}

func (p *parser) number(unit int) (int, *Error) {
	at, n := p.pos, 0
	for p.pos < p.end && digit(p.text[p.pos]) {
		if n = 10*n + int(p.text[p.pos]-'0'); n > 100_000 {
			return 0, p.fail(at, "", "the number is too large")
		}
		p.pos++
	}
	if p.pos == at {
		if at < p.end {
			return 0, p.fail(at, "", "%q stands where a number is expected", p.text[at])
		}
		return 0, p.fail(at, "", "a number is missing")
	}
	n *= unit
	if unit > 1 && p.pos+1 < p.end && p.text[p.pos] == '.' && digit(p.text[p.pos+1]) {
		p.pos++
		from := p.pos
		for p.pos < p.end && digit(p.text[p.pos]) {
			p.pos++
		}
		n += fraction(p.text[from:p.pos])
	}
	return n, nil
}

// fraction gives the microseconds of the digits behind the point, rounded.
func fraction(digits string) int {
	n := 0
	for i := range 6 {
		n *= 10
		if i < len(digits) {
			n += int(digits[i] - '0')
		}
	}
	if len(digits) > 6 && digits[6] >= '5' {
		n++
	}
	return n
}

// lastDays are days that count from the end of the month: steps lead towards it.
const lastDays = "day from the end"

// check holds the values of a set to their bounds.
func (p *parser) check(at int, s set, what string, low, high int) *Error {
	show := func(v int) string {
		if what == "second" {
			return formatSecond(v)
		}
		return strconv.Itoa(v)
	}
	for _, one := range s {
		if one.start < low || one.start > high {
			return p.fail(at, fmt.Sprintf("from %s to %s", show(low), show(high)), "there is no %s %s", what, show(one.start))
		}
		switch {
		case one.stop >= 0 && one.stop < one.start:
			return p.fail(at, "", "the range %s..%s ends before it begins", show(one.start), show(one.stop))
		case one.stop > high:
			return p.fail(at, fmt.Sprintf("from %s to %s", show(low), show(high)), "there is no %s %s", what, show(one.stop))
		case one.stop >= 0 || one.step == 0:
		case what == lastDays && one.start <= one.step:
			return p.fail(at, `"~7/1" is each of the last seven days`, "a step of %d from day ~%d leads beyond the end of the month", one.step, one.start)
		case what != lastDays && one.start+one.step > high:
			return p.fail(at, "", "a step of %s beyond %s %s leads to none", show(one.step), what, show(one.start))
		}
	}
	return nil
}
