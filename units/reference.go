package units

import (
	"bytes"
	"fmt"
	"strings"
)

// String writes the field as `berth explain` prints it.
func (f Field) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n\n", f.Key, wrap(f.Help, 78))
	for _, row := range f.facts() {
		fmt.Fprintf(&b, "  %-10s %s\n", row[0]+":", row[1])
	}
	return b.String()
}

// facts lists what the table says about a field beside its help.
func (f Field) facts() [][2]string {
	var rows [][2]string
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, [2]string{name, value})
		}
	}
	add("type", string(f.Type)+notation(f.Type))
	if len(f.Values) > 0 {
		add("values", strings.Join(f.Values, ", "))
	}
	add("range", rangeHint(f))
	switch {
	case f.Required:
		add("default", "none: it must be written")
	default:
		add("default", f.Default)
	}
	if f.Type != TypeTable && f.Type != TypeTables && f.Type != TypeNamed {
		add("a change", applied(f.Class))
	}
	switch {
	case f.Later && f.Default != "":
		add("note", "not supported yet: only the default is accepted")
	case f.Later:
		add("note", "not supported yet")
	case len(f.LaterValues) > 0:
		add("note", "not supported yet: "+strings.Join(f.LaterValues, ", "))
	}
	return rows
}

// applied says what a change of a key does to a running unit.
func applied(c Class) string {
	switch c {
	case None:
		return "touches nothing that runs"
	case Live:
		return "is applied to the running unit"
	case ReloadClass:
		return "runs the unit's own reload"
	}
	return "restarts the unit"
}

// notation shows how values of a type are written, where its name does not say it.
func notation(t Type) string {
	switch t {
	case TypeDuration:
		return `, as "500ms" or "1m30s"`
	case TypeTimeout:
		return `, as "500ms", "1m30s" or "infinity"`
	case TypeOffset:
		return `, as "30s" or "-1h30m"`
	case TypeSize:
		return `, as "64M" or an integer of bytes`
	case TypeSizeMax:
		return `, as "64M", an integer of bytes, or "max"`
	case TypeCountMax:
		return `, an integer or "max"`
	case TypeCPU:
		return `, as "150%", 1.5 or "max"`
	case TypeRate:
		return `, as "10000/30s"`
	case TypeListen:
		return `, as "127.0.0.1:80", "[::]:80", "80", "/run/app.sock" or "@name"`
	case TypeCalendar:
		return `, as "*-*-* 03:00", "Mon..Fri 08:00 Europe/Berlin", "daily" or "0 3 * * 1-5"`
	case TypeCommand:
		return `, an array of words, or a string that is split into words`
	case TypeCommands:
		return `, as [["/bin/mkdir", "-p", "/run/x"]]`
	case TypeSignal:
		return `, by name: "HUP"`
	case TypeMode:
		return `, as "0755"`
	case TypeNamespace:
		return `, "unit:NAME" or "path:FILE" beside the values`
	case TypeAddress:
		return `, as "127.0.0.1:80"`
	case TypeURL:
		return `, as "http://127.0.0.1:80/up"`
	case TypeCPUList:
		return `, as "0-1,4"`
	case TypeAccess:
		return `, of the letters r, w and m`
	case TypeFileAccess:
		return `, of the letters r, w and x`
	case TypePorts:
		return `, as [80, 443]`
	case TypeLimit:
		return `, as 1024, "1024:4096", { soft = 1024, hard = 4096 } or "unlimited"`
	case TypeDependencies:
		return `, names or { unit, is }`
	}
	return ""
}

// Reference writes the text of docs/reference.md.
func Reference() []byte {
	var out bytes.Buffer
	out.WriteString(`# The keys of a unit file

This page is written by a program from the table that berth itself reads (package units); a test holds it to that.

A unit is one TOML file, NAME.toml. Drop-ins, NAME.toml.d/*.toml, are laid over it in the order of their names: tables merge, everything else replaces. In every string %i is the instance of a template NAME@.toml, %n the unit's name, %p the part before the @, and %% a percent sign. Tables at the top whose names begin with x- are ignored; every other unknown name is an error.

`)
	out.WriteString("| Table | |\n|---|---|\n")
	for _, f := range table() {
		if f.Section() == f.Key {
			fmt.Fprintf(&out, "| [%s](#%s) | %s |\n", strings.Trim(header(f), "[]"), f.Key, cell(f.Help))
		}
	}
	for _, f := range table() {
		if f.Section() == f.Key {
			fmt.Fprintf(&out, "\n## %s\n\n%s\n", f.Key, f.Help)
			if f.Later {
				out.WriteString("\nNot supported yet.\n")
			}
			if f.Type != TypeNamed {
				continue
			}
		}
		fmt.Fprintf(&out, "\n### `%s`\n\n", f.Key)
		if f.Section() != f.Key {
			fmt.Fprintf(&out, "%s\n\n", f.Help)
		}
		for _, row := range f.facts() {
			value := row[1]
			if row[0] == "values" || row[0] == "default" && !f.Required {
				value = "`" + strings.ReplaceAll(value, ", ", "`, `") + "`"
				if row[0] == "default" {
					value = "`" + row[1] + "`"
				}
			}
			fmt.Fprintf(&out, "- %s: %s\n", row[0], value)
		}
	}
	out.WriteString("\n## Diagnostics\n\n`berth explain CODE` shows each with an example.\n\n| Code | |\n|---|---|\n")
	for _, e := range explanations() {
		fmt.Fprintf(&out, "| %s | %s |\n", e.Code, cell(e.Title))
	}
	return out.Bytes()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
