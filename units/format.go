package units

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Format writes the unit as a unit file, for `berth spec`: every key that has a
// value, whether it was written or is a default, but for defaults that have no
// effect in this unit and would be refused. Decode of the result, under the same
// name, gives the same unit.
func Format(u *Unit) []byte {
	text := formatAll(u)
	useless := map[int]bool{} // lines
	_, ds := Decode(u.Name, []Source{{Path: u.Name + ".toml", Text: text}})
	for _, d := range ds {
		if d.Code == "U031" {
			useless[d.Line] = true
		}
	}
	if len(useless) == 0 {
		return text
	}
	var out bytes.Buffer
	number, dropped := 0, false // dropped: a whole table
	for line := range bytes.Lines(text) {
		number++
		if line[0] == '[' {
			dropped = useless[number]
		}
		if !dropped && !useless[number] {
			out.Write(line)
		}
	}
	short := append(bytes.TrimSpace(out.Bytes()), '\n')
	// A unit that was refused for such a key has more in it than defaults.
	if again, _ := Decode(u.Name, []Source{{Path: u.Name + ".toml", Text: short}}); len(Diff(u, again)) > 0 {
		return text
	}
	return short
}

func formatAll(u *Unit) []byte {
	var out bytes.Buffer
	v := reflect.ValueOf(u).Elem()
	defaults := reflect.ValueOf(Defaults()).Elem()
	for i := range v.NumField() {
		tag := tags(v.Type())[i]
		if tag == "-" {
			continue
		}
		f := fieldIndex()[tag]
		if f.Later && reflect.DeepEqual(v.Field(i).Interface(), defaults.Field(i).Interface()) {
			continue
		}
		switch f.Type {
		case TypeTables:
			for j := range v.Field(i).Len() {
				elem := reflect.New(v.Field(i).Type().Elem()).Elem()
				applyDefaults(elem, tag+"[].")
				section(&out, "[["+tag+"]]", pairs(v.Field(i).Index(j), elem, tag+"[]."))
			}
		case TypeNamed:
			if v.Field(i).Type().Elem().Kind() != reflect.Struct || v.Field(i).Type().Elem() == reflect.TypeFor[Limit]() {
				section(&out, "["+tag+"]", namedPairs(v.Field(i)))
				continue
			}
			for _, name := range sortedNames(v.Field(i)) {
				elem := reflect.New(v.Field(i).Type().Elem()).Elem()
				applyDefaults(elem, tag+".*.")
				section(&out, "["+tag+"."+bareKey(name)+"]", pairs(v.Field(i).MapIndex(reflect.ValueOf(name)), elem, tag+".*."))
			}
		default:
			section(&out, "["+tag+"]", pairs(v.Field(i), defaults.Field(i), tag+"."))
		}
	}
	return out.Bytes()
}

// pair is one line of a table.
type pair struct{ key, value string }

func section(out *bytes.Buffer, header string, lines []pair) {
	if len(lines) == 0 && !strings.HasPrefix(header, "[[") {
		return
	}
	if out.Len() > 0 {
		out.WriteByte('\n')
	}
	fmt.Fprintln(out, header)
	for _, p := range lines {
		fmt.Fprintf(out, "%s = %s\n", p.key, p.value)
	}
}

// pairs lists the keys of a struct that have a value, or that differ from the
// default, which a value like false then does.
func pairs(v, defaults reflect.Value, prefix string) []pair {
	var out []pair
	for i := range v.NumField() {
		tag := tags(v.Type())[i]
		same := reflect.DeepEqual(v.Field(i).Interface(), defaults.Field(i).Interface())
		if v.Field(i).IsZero() && same {
			continue
		}
		if fieldIndex()[prefix+tag].Later && same {
			continue
		}
		out = append(out, pair{tag, inline(v.Field(i))})
	}
	return out
}

func namedPairs(v reflect.Value) []pair {
	var out []pair
	for _, name := range sortedNames(v) {
		out = append(out, pair{bareKey(name), inline(v.MapIndex(reflect.ValueOf(name)))})
	}
	return out
}

func sortedNames(v reflect.Value) []string {
	var names []string
	for _, k := range v.MapKeys() {
		names = append(names, k.String())
	}
	slices.Sort(names)
	return names
}

// inline writes a value of the model as a TOML value on one line; "" if there is none.
func inline(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case Duration, Offset, Size, CPU, Rate:
		return quoted(fmt.Sprint(x))
	case *IDMap:
		if x != nil && x.Auto {
			return `"auto"`
		} else if x != nil {
			return inline(reflect.ValueOf(x.Ranges))
		}
		return ""
	case Limit:
		return quoted(x.String())
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return inline(v.Elem())
	case reflect.String:
		return quoted(escapePercent(v.String()))
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		return formatFloat(v.Float())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = inline(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Map:
		return braces(namedPairs(v))
	case reflect.Struct:
		return braces(structPairs(v))
	}
	panic("units: no notation for " + v.Type().String())
}

// structPairs lists the keys of an inline table. A number is always written: a
// zero may differ from the default of its key.
func structPairs(v reflect.Value) []pair {
	zeroMatters := map[reflect.Kind]bool{reflect.Int: true, reflect.Int64: true, reflect.Float64: true}
	var out []pair
	for i := range v.NumField() {
		if v.Field(i).IsZero() && !zeroMatters[v.Field(i).Kind()] {
			continue
		}
		out = append(out, pair{tags(v.Type())[i], inline(v.Field(i))})
	}
	return out
}

func braces(lines []pair) string {
	if len(lines) == 0 {
		return "{}"
	}
	parts := make([]string, len(lines))
	for i, p := range lines {
		parts[i] = p.key + " = " + p.value
	}
	return "{ " + strings.Join(parts, ", ") + " }"
}

func formatFloat(x float64) string {
	s := strconv.FormatFloat(x, 'g', -1, 64)
	if x == math.Trunc(x) && !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

var bare = lazy(`^[A-Za-z0-9_-]+$`)

func bareKey(s string) string {
	if bare.MatchString(s) {
		return s
	}
	return quoted(s)
}

// quoted writes a TOML basic string.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
