package units

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// This file holds the notations of scalar values, each a parser and the String
// that it reads back.

// parseDuration reads a Go duration that is not negative.
func parseDuration(s string, infinity bool) (Duration, error) {
	if s == "infinity" {
		if !infinity {
			return 0, errors.New(`"infinity" is not possible here`)
		}
		return Infinity, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%s is not a duration", quote(s))
	}
	if d < 0 {
		return 0, fmt.Errorf("the duration %s is negative", quote(s))
	}
	return Duration(d), nil
}

// String writes the duration as a unit file does: "1m30s", "5m", "infinity".
func (d Duration) String() string {
	if d == Infinity {
		return "infinity"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// parseOffset reads a Go duration.
func parseOffset(s string) (Offset, error) {
	size, negative := strings.CutPrefix(s, "-")
	d, err := parseDuration(size, false)
	if err != nil {
		return 0, fmt.Errorf("%s is not an offset", quote(s))
	}
	if negative {
		d = -d
	}
	return Offset(d), nil
}

// String writes the offset as a unit file does: "-1m30s".
func (o Offset) String() string {
	if o < 0 {
		return "-" + Duration(-o).String()
	}
	return Duration(o).String()
}

var sizePattern = lazy(`^([0-9]{1,19})(\.[0-9]{1,6})?([KMGTPEkmgtpe]?)(?:[iI]?[bB])?$`)

const sizeUnits = "KMGTPE"

// parseSize reads a number of bytes or things with an optional binary unit.
func parseSize(s string, maximum bool) (Size, error) {
	if s == "max" {
		if !maximum {
			return 0, errors.New(`"max" is not possible here`)
		}
		return Max, nil
	}
	if n, err := strconv.ParseUint(s, 10, 63); err == nil && len(s) <= 19 {
		return Size(n), nil // as most are, without the pattern
	}
	m := sizePattern.get().FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%s is not a size", quote(s))
	}
	shift := uint(0)
	if m[3] != "" {
		shift = 10 * uint(strings.Index(sizeUnits, strings.ToUpper(m[3]))+1)
	}
	whole, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || whole > math.MaxInt64>>shift {
		return 0, fmt.Errorf("the size %s is too large: at most 2^63-1 bytes", quote(s))
	}
	size := whole << shift
	if m[2] != "" {
		f, _ := strconv.ParseFloat("0"+m[2], 64)
		part := f * float64(int64(1)<<shift)
		if part != math.Trunc(part) {
			return 0, fmt.Errorf("the size %s is not a whole number of bytes", quote(s))
		}
		if size > math.MaxInt64-int64(part) {
			return 0, fmt.Errorf("the size %s is too large: at most 2^63-1 bytes", quote(s))
		}
		size += int64(part)
	}
	return Size(size), nil
}

// String writes the size exactly, in the largest unit that divides it.
func (s Size) String() string {
	if s == Max {
		return "max"
	}
	n, unit := int64(s), -1
	for n != 0 && n%1024 == 0 && unit < len(sizeUnits)-1 {
		n /= 1024
		unit++
	}
	if unit < 0 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10) + sizeUnits[unit:unit+1]
}

// maxCPU bounds CPU at a million processors, far beyond any machine.
const maxCPU = 1_000_000

// parseCPU reads "150%", "1.5" or "max".
func parseCPU(s string) (CPU, error) {
	if s == "max" {
		return CPU(Max), nil
	}
	number, percent := strings.CutSuffix(s, "%")
	if !decimal.MatchString(number) {
		return 0, fmt.Errorf("%s is not an amount of processor time", quote(s))
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is not an amount of processor time", quote(s))
	}
	if percent {
		f /= 100
	}
	return cpuOf(f)
}

var decimal = lazy(`^[0-9]{1,9}(\.[0-9]{1,9})?$`)

// cpuOf turns a number of processors into thousandths.
func cpuOf(f float64) (CPU, error) {
	thousandths := math.Round(f * 1000)
	if !(thousandths >= 1 && thousandths <= maxCPU*1000) {
		return 0, errors.New("the amount of processor time must be between 0.1% and 1000000 processors")
	}
	return CPU(thousandths), nil
}

// String writes the amount as a percentage of one processor: "150%", or "max".
func (c CPU) String() string {
	if c == CPU(Max) {
		return "max"
	}
	return strconv.FormatFloat(float64(c)/10, 'f', -1, 64) + "%"
}

// parseRate reads "LINES/DURATION", or "0" for no limit.
func parseRate(s string) (Rate, error) {
	if s == "0" {
		return Rate{}, nil
	}
	count, per, ok := strings.Cut(s, "/")
	lines, err := strconv.ParseInt(count, 10, 32)
	if !ok || err != nil || lines < 0 || strings.HasPrefix(count, "+") {
		return Rate{}, fmt.Errorf("%s is not a rate", quote(s))
	}
	d, err := parseDuration(per, false)
	if err != nil || d <= 0 {
		return Rate{}, fmt.Errorf("%s is not a rate: the part after the slash must be a duration above zero", quote(s))
	}
	return Rate{Lines: int(lines), Per: d}, nil
}

// String writes the rate as a unit file does: "10000/30s", or "0".
func (r Rate) String() string {
	if r.Per == 0 {
		return strconv.Itoa(r.Lines)
	}
	return strconv.Itoa(r.Lines) + "/" + r.Per.String()
}

// parseLimit reads "soft:hard" or one value for both.
func parseLimit(s string) (Limit, error) {
	soft, hard, both := strings.Cut(s, ":")
	if !both {
		hard = soft
	}
	var l Limit
	var err error
	if l.Soft, err = parseLimitValue(soft); err != nil {
		return Limit{}, err
	}
	if l.Hard, err = parseLimitValue(hard); err != nil {
		return Limit{}, err
	}
	return l, nil
}

func parseLimitValue(s string) (Size, error) {
	switch s {
	case "unlimited", "infinity", "max":
		return Max, nil
	}
	return parseSize(s, true)
}

// String writes the limit as a unit file does: "65536", "1K:4K", "unlimited".
func (l Limit) String() string {
	if l.Soft == l.Hard {
		return limitValue(l.Soft)
	}
	return limitValue(l.Soft) + ":" + limitValue(l.Hard)
}

func limitValue(s Size) string {
	if s == Max {
		return "unlimited"
	}
	return s.String()
}

// parseMode reads an octal mode of at most four digits.
func parseMode(s string) (uint32, error) {
	if !isOctal(s) {
		return 0, fmt.Errorf("%s is not an octal mode", quote(s))
	}
	n, err := strconv.ParseUint(s, 8, 32)
	return uint32(n), err
}

// octalPattern is what isOctal accepts, for the schema.
const octalPattern = `^0?[0-7]{1,4}$`

func isOctal(s string) bool {
	if len(s) == 5 && s[0] == '0' {
		s = s[1:]
	}
	return s != "" && len(s) <= 4 && strings.Trim(s, "01234567") == ""
}

// Mode gives the number of an octal mode as umask and mount.mode hold it, and
// false when s is not one; "" is 0.
func Mode(s string) (uint32, bool) {
	if s == "" {
		return 0, true
	}
	m, err := parseMode(s)
	return m, err == nil
}

// signals are the signals of Linux by number, on every architecture that berth
// builds for (signal(7)).
var signals = [...]string{
	1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE",
	9: "KILL", 10: "USR1", 11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM",
	16: "STKFLT", 17: "CHLD", 18: "CONT", 19: "STOP", 20: "TSTP", 21: "TTIN", 22: "TTOU",
	23: "URG", 24: "XCPU", 25: "XFSZ", 26: "VTALRM", 27: "PROF", 28: "WINCH", 29: "IO",
	30: "PWR", 31: "SYS",
}

// The real-time signals as glibc counts them: it keeps 32 and 33 for itself.
const rtMin, rtMax = 34, 64

// SignalNumber gives the number of a signal named as the fields of a Unit hold
// it ("TERM", "RTMIN+3"), with or without SIG, in any case. The numbers are
// those of Linux on amd64 and arm64.
func SignalNumber(name string) (int, bool) {
	n, _, ok := lookupSignal(name)
	return n, ok
}

// lookupSignal gives number and normal form of a signal's name.
func lookupSignal(name string) (int, string, bool) {
	name = strings.TrimPrefix(strings.ToUpper(name), "SIG")
	for n, s := range signals {
		if s != "" && s == name {
			return n, s, true
		}
	}
	for _, rt := range []struct {
		base string
		at   int
	}{{"RTMIN", rtMin}, {"RTMAX", rtMax}} {
		rest, ok := strings.CutPrefix(name, rt.base)
		if !ok {
			continue
		}
		n := rt.at
		if rest != "" {
			offset, err := strconv.Atoi(rest)
			if err != nil || rest[0] != '+' && rest[0] != '-' {
				return 0, "", false
			}
			n += offset
		}
		if n < rtMin || n > rtMax {
			return 0, "", false
		}
		return n, name, true
	}
	return 0, "", false
}

func signalNames() []string {
	var names []string
	for _, s := range signals {
		if s != "" {
			names = append(names, s)
		}
	}
	return names
}

// String names the class as `berth plan` prints it.
func (c Class) String() string {
	switch c {
	case None:
		return "none"
	case Live:
		return "live"
	case ReloadClass:
		return "reload"
	case RestartClass:
		return "restart"
	}
	return "class " + strconv.Itoa(int(c))
}

// quote writes s for a message: in double quotes, with everything that could
// move a terminal's cursor escaped, and cut to a length that fits a line.
func quote(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}

// MarshalText writes the class by its name.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (c *Class) UnmarshalText(text []byte) error {
	for _, class := range []Class{None, Live, ReloadClass, RestartClass} {
		if class.String() == string(text) {
			*c = class
			return nil
		}
	}
	return fmt.Errorf("cannot read the apply class %q", text)
}
