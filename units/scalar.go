package units

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// scalar decodes a single value. It is false where v is none.
func (d *decoder) scalar(n *node, v reflect.Value, f Field) bool {
	switch p := v.Addr().Interface().(type) {
	case *string:
		if f.Type == TypeSysctl && n.kind == integer {
			if i, err := parseInteger(n.text); err == nil {
				*p = strconv.FormatInt(i, 10)
				return true
			}
		}
		if d.is(n, text, f) {
			if s, ok := d.text(n, f); ok {
				*p = s
			}
		}
	case *int:
		if i, ok := d.integer(n, f); ok {
			*p = int(i)
		}
	case *int64:
		if i, ok := d.integer(n, f); ok {
			*p = i
		}
	case *float64:
		d.number(n, p, f)
	case *Duration:
		if s, ok := d.notation(n, f); ok {
			value, err := parseDuration(s, f.Type == TypeTimeout)
			if d.parsed(n, f, err, "U009", `write it like "500ms", "30s" or "1m30s"`) && d.inRange(n, f, float64(value), value == Infinity) {
				*p = value
			}
		}
	case *Offset:
		if s, ok := d.notation(n, f); ok {
			value, err := parseOffset(s)
			if d.parsed(n, f, err, "U009", `write it like "30s", "1m30s" or "-1h"`) && d.inRange(n, f, float64(value), false) {
				*p = value
			}
		}
	case *Size:
		d.size(n, p, f)
	case *CPU:
		d.cpu(n, p, f)
	case *Rate:
		if s, ok := d.notation(n, f); ok {
			value, err := parseRate(s)
			if d.parsed(n, f, err, "U012", `write lines/duration, like "10000/30s"`) {
				*p = value
			}
		}
	default:
		return false
	}
	return true
}

// notation gives the expanded string of a value that is written as one.
func (d *decoder) notation(n *node, f Field) (string, bool) {
	if !d.is(n, text, f) {
		return "", false
	}
	return d.plain(n.text, n)
}

// parsed reports err at n, if there is one.
func (d *decoder) parsed(n *node, f Field, err error, code, hint string) bool {
	if err != nil {
		d.rep.fail(code, n.at, hint, "%s: %v", displayKey(f), err)
	}
	return err == nil
}

// leadsWithZero tells of a number with a zero before other digits.
func leadsWithZero(s string) bool {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	return len(s) > 1 && s[0] == '0' && (isDigit(s[1]) || s[1] == '_')
}

// parseInteger reads an integer as TOML writes it.
func parseInteger(s string) (int64, error) {
	if leadsWithZero(s) {
		return 0, errors.New("a number cannot begin with a zero")
	}
	return strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 0, 64)
}

func (d *decoder) integer(n *node, f Field) (int64, bool) {
	if !d.is(n, integer, f) {
		return 0, false
	}
	i, err := parseInteger(n.text)
	if err != nil {
		d.rep.fail("U008", n.at, rangeHint(f), "%s: %s is not a 64-bit decimal integer", displayKey(f), quote(n.text))
		return 0, false
	}
	return i, d.inRange(n, f, float64(i), false)
}

func (d *decoder) number(n *node, p *float64, f Field) {
	if n.kind != integer && n.kind != float {
		d.wrongKind(n, "a number", f)
		return
	}
	x, err := strconv.ParseFloat(strings.ReplaceAll(n.text, "_", ""), 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		d.rep.fail("U008", n.at, rangeHint(f), "%s: %s is not a finite number", displayKey(f), quote(n.text))
		return
	}
	if d.inRange(n, f, x, false) {
		*p = x
	}
}

func (d *decoder) size(n *node, p *Size, f Field) {
	const hint = `write it like "64M" or "1.5G": a number with K, M, G or T, each 1024 times the one before`
	var s string
	switch n.kind {
	case text:
		var ok bool
		if s, ok = d.plain(n.text, n); !ok {
			return
		}
	case integer:
		i, err := parseInteger(n.text)
		if err != nil || i < 0 {
			d.rep.fail("U010", n.at, hint, "%s: %s is not a size", displayKey(f), quote(n.text))
			return
		}
		s = strconv.FormatInt(i, 10)
	default:
		d.wrongKind(n, "a string or an integer", f)
		return
	}
	value, err := parseSize(s, f.Type == TypeSizeMax || f.Type == TypeCountMax)
	if d.parsed(n, f, err, "U010", hint) && d.inRange(n, f, float64(value), value == Max) {
		*p = value
	}
}

func (d *decoder) cpu(n *node, p *CPU, f Field) {
	const hint = `write a percentage of one processor ("150%"), a number of processors (1.5), or "max"`
	var value CPU
	var err error
	switch n.kind {
	case text:
		s, ok := d.plain(n.text, n)
		if !ok {
			return
		}
		value, err = parseCPU(s)
	case integer, float:
		var x float64
		if x, err = strconv.ParseFloat(strings.ReplaceAll(n.text, "_", ""), 64); err == nil {
			value, err = cpuOf(x)
		}
	default:
		d.wrongKind(n, "a string or a number", f)
		return
	}
	if d.parsed(n, f, err, "U011", hint) {
		*p = value
	}
}

// inRange holds value to the field's bounds. unbounded: it is "max" or "infinity".
func (d *decoder) inRange(n *node, f Field, value float64, unbounded bool) bool {
	low, hasLow := bound(f, f.Min)
	high, hasHigh := bound(f, f.Max)
	if unbounded || (!hasLow || value >= low) && (!hasHigh || value <= high) {
		return true
	}
	d.rep.fail("U008", n.at, rangeHint(f), "%s: %s is out of range", displayKey(f), n.text)
	return false
}

// bound reads a bound of the table in the field's own notation.
func bound(f Field, s string) (float64, bool) {
	if s == "" {
		return 0, false
	}
	switch f.Type {
	case TypeDuration, TypeTimeout:
		v, err := parseDuration(s, false)
		return float64(v), err == nil
	case TypeOffset:
		v, err := parseOffset(s)
		return float64(v), err == nil
	case TypeSize, TypeSizeMax, TypeCountMax:
		v, err := parseSize(s, false)
		return float64(v), err == nil
	case TypeMode:
		v, err := parseMode(s)
		return float64(v), err == nil
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil
}

func rangeHint(f Field) string {
	switch {
	case f.Min != "" && f.Max != "":
		return fmt.Sprintf("from %s to %s", f.Min, f.Max)
	case f.Min != "":
		return "at least " + f.Min
	case f.Max != "":
		return "at most " + f.Max
	}
	return ""
}

// plain checks what holds for every string, and expands the specifiers in it.
func (d *decoder) plain(s string, n *node) (string, bool) {
	if strings.ContainsRune(s, 0) {
		d.rep.fail("U004", n.at, "", "a NUL character cannot be part of any value")
		return "", false
	}
	if len(s) > maxText {
		d.rep.fail("U003", n.at, "", "the string is longer than %d bytes", maxText)
		return "", false
	}
	out, bad := d.expansion.expand(s)
	if bad == "" && len(out) > maxText {
		d.rep.fail("U003", n.at, "", "the string is longer than %d bytes when its specifiers are expanded", maxText)
		return "", false
	}
	switch bad {
	case "":
		return out, true
	case "%i":
		d.rep.fail("U029", n.at, "write %% for a percent sign; only a template NAME@.toml has instances", "%%i has no meaning: this unit is not an instance of a template")
	default:
		d.rep.fail("U029", n.at, "write %% for a percent sign; %i is the instance, %n the unit, %p the part before the @", "unknown specifier %s", quote(bad))
	}
	return "", false
}
