package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// roff makes text harmless for man(7).
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`, "'", `\(aq`).Replace(text)
}

func usageLine(c *command) string {
	line := name + " " + c.name
	if len(c.flags) > 0 {
		line += " [options]"
	}
	return strings.TrimSpace(line + " " + c.usage)
}

// paragraph joins what help breaks into lines.
func paragraph(text string) string { return strings.Join(strings.Fields(text), " ") }

func (d *flagDef) described() string {
	text := sentence(d.help)
	if d.value != "" {
		text += " Default: " + d.value + "."
	}
	return text
}

func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// The manual page is written from the table of commands.
func TestManPage(t *testing.T) {
	var b bytes.Buffer
	options := func(flags []flagDef) {
		for i := range flags {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(flags[i].String()), roff(flags[i].described()))
		}
	}
	fmt.Fprint(&b, `.\" Generated from the table of commands by go test ./cmd/berth-oci -update.
.TH BERTH-OCI 8
.SH NAME
berth\-oci \- run OCI containers by berth's isolation core
.SH SYNOPSIS
.B berth\-oci
[\fIoptions\fR] \fIcommand\fR [\fIoptions\fR] [\fIarguments\fR]
.SH DESCRIPTION
.B berth\-oci
is an OCI runtime: containerd, podman and docker start containers by it, in place
of runc(8) or crun(1), whose command line it has. Bundles are those of the OCI
runtime\-spec. See docs/oci.md for what of it there is, and
.B berth\-oci features
for the same as JSON.
.PP
A container is kept in a directory of its own name below the root directory, until
it is deleted. Names have letters, digits and the characters _ + \- . in them.
.SH OPTIONS
`)
	options(globalFlags)
	fmt.Fprintln(&b, ".SH COMMANDS")
	for _, c := range commands {
		fmt.Fprintf(&b, ".SS %s\n.B %s\n.PP\n%s\n", roff(c.name), roff(usageLine(c)), roff(sentence(c.summary)))
		if c.text != "" {
			fmt.Fprintf(&b, ".PP\n%s\n", roff(paragraph(c.text)))
		}
		options(c.flags)
	}
	fmt.Fprint(&b, `.SH EXIT STATUS
0, or 1 for a command that fails, with the reason in the log and on standard error.
A command that does not exist gives 3, and an exec that fails 255. run and exec in
the foreground give the exit code of the process, or 128 and the number of the
signal that ended it.
.SH ENVIRONMENT
.TP
.B XDG_RUNTIME_DIR
Where containers of an ordinary user are kept: in berth\-oci below it.
.TP
.B LISTEN_FDS
How many descriptors from 3 on are for socket activation: they go to the process
of create, run and exec, with the variable and LISTEN_FDNAMES.
.SH FILES
.TP
.I /run/berth\-oci
The containers of root.
.SH SEE ALSO
.BR berthd (8),
.BR podman (1),
.BR ctr (8)
`)
	golden(t, "../../../docs/man/berth-oci.8", b.Bytes())
}

// The section of docs/oci.md about the command line is written from the table, too.
func TestDocumentedCommands(t *testing.T) {
	var b bytes.Buffer
	row := func(where string, f *flagDef) {
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", where, f.String(), f.described())
	}
	fmt.Fprint(&b, "\n| Command | Option | |\n|---|---|---|\n")
	for i := range globalFlags {
		row("all", &globalFlags[i])
	}
	for _, c := range commands {
		fmt.Fprintf(&b, "| `%s` | | %s |\n", strings.ReplaceAll(strings.TrimPrefix(usageLine(c), name+" "), "|", `\|`), sentence(c.summary))
		for i := range c.flags {
			row("`"+c.name+"`", &c.flags[i])
		}
	}
	const file, begin, end = "../../docs/oci.md", "<!-- Written by go test ./cmd/berth-oci -update. -->\n", "\n<!-- The end of that. -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for it", file)
	}
	golden(t, filepath.Join("..", file), []byte(before+begin+b.String()+end+after))
}
