package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"berth/units"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "rewrite the generated documents")

// golden holds a document to what the code says.
func golden(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), string(want)); diff != "" {
		t.Errorf("%s is not what the code says (go test ./cmd/berth -update):\n%s", path, diff)
	}
}

// commands gives the root command and all that are shown, in the order of the help.
func commands(t *testing.T) (*cobra.Command, []*cobra.Command) {
	t.Helper()
	t.Setenv("BERTH_SOCKET", "")
	root := (&app{in: os.Stdin, out: os.Stdout, err: os.Stderr}).command()
	var list []*cobra.Command
	for _, g := range root.Groups() {
		for _, c := range root.Commands() {
			if c.GroupID == g.ID {
				list = append(list, c)
			}
		}
	}
	return root, list
}

// Every command says what it is in the same form.
func TestHelp(t *testing.T) {
	root, list := commands(t)
	for _, c := range root.Commands() {
		if c.GroupID == "" && !c.Hidden {
			t.Errorf("%s is in no group", c.Name())
		}
	}
	for _, c := range list {
		if s := c.Short; s == "" || strings.HasSuffix(s, ".") || strings.ToUpper(s[:1]) != s[:1] {
			t.Errorf("%s: the short text %q", c.Name(), s)
		}
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if len(strings.TrimRight(line, "\n")) > 82 {
				t.Errorf("%s: a line of the help is too long: %q", c.Name(), line)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s --%s: %q", c.Name(), f.Name, f.Usage)
			}
		})
		for line := range strings.Lines(c.Example) {
			if words := strings.Fields(line); len(words) > 0 && !strings.Contains(line, "berth "+c.Name()) {
				t.Errorf("%s: an example of something else: %q", c.Name(), line)
			}
		}
	}
}

func flagLine(f *pflag.Flag) (names, usage string) {
	names = "--" + f.Name
	if f.Shorthand != "" {
		names = "-" + f.Shorthand + ", " + names
	}
	value, usage := pflag.UnquoteUsage(f)
	if value != "" {
		names += " " + value
	}
	if d := f.DefValue; d != "" && d != "false" && d != "[]" && d != "0s" && f.Value.Type() != "count" {
		usage += " (default " + d + ")"
	}
	return names, usage
}

func usageLines(c *cobra.Command) []string {
	lines := strings.Split(c.Use, "\n")
	lines[0] = "berth " + lines[0]
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

func TestCLIPage(t *testing.T) {
	root, list := commands(t)
	var b bytes.Buffer
	fmt.Fprintf(&b, "# The command line\n\n<!-- Generated from the commands by go test ./cmd/berth -update. -->\n\n%s\n\n## Flags of all commands\n\n", root.Long)
	table := func(flags *pflag.FlagSet) {
		fmt.Fprintf(&b, "| Flag | Meaning |\n|---|---|\n")
		flags.VisitAll(func(f *pflag.Flag) {
			names, usage := flagLine(f)
			fmt.Fprintf(&b, "| `%s` | %s |\n", names, strings.ReplaceAll(usage, "|", "\\|"))
		})
	}
	table(root.PersistentFlags())
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(g.Title, ":"))
		for _, c := range list {
			if c.GroupID != g.ID {
				continue
			}
			long := c.Long
			if long == "" {
				long = c.Short + "."
			}
			fmt.Fprintf(&b, "\n### berth %s\n\n```\n%s\n```\n\n%s\n", c.Name(), strings.Join(usageLines(c), "\n"), long)
			if c.Example != "" {
				fmt.Fprintf(&b, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
			}
			if c.LocalNonPersistentFlags().HasFlags() {
				fmt.Fprintln(&b)
				table(c.LocalNonPersistentFlags())
			}
		}
	}
	golden(t, "../../docs/cli.md", b.Bytes())
}

// roff makes text harmless for man(7).
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`, "'", `\(aq`).Replace(text)
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, ".") {
			line = `\&` + line
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func paragraphs(b *bytes.Buffer, text string) {
	for i, p := range strings.Split(text, "\n\n") {
		if i > 0 {
			fmt.Fprintln(b, ".PP")
		}
		fmt.Fprintln(b, roff(p))
	}
}

func TestManCommand(t *testing.T) {
	root, list := commands(t)
	var b bytes.Buffer
	fmt.Fprintf(&b, ".\\\" Generated from the commands by go test ./cmd/berth -update.\n.TH BERTH 1\n.SH NAME\nberth \\- %s\n.SH SYNOPSIS\n.B berth\n[\\fIflags\\fR] \\fIcommand\\fR\n.SH DESCRIPTION\n", roff(root.Short))
	paragraphs(&b, root.Long)
	options := func(flags *pflag.FlagSet) {
		flags.VisitAll(func(f *pflag.Flag) {
			names, usage := flagLine(f)
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(names), roff(usage))
		})
	}
	fmt.Fprintln(&b, ".SH OPTIONS")
	options(root.PersistentFlags())
	fmt.Fprintln(&b, ".SH COMMANDS")
	for _, c := range list {
		fmt.Fprintf(&b, ".SS berth %s\n", c.Name())
		for _, l := range usageLines(c) {
			fmt.Fprintf(&b, ".B %s\n.br\n", roff(l))
		}
		fmt.Fprintln(&b, ".PP")
		if c.Long == "" {
			paragraphs(&b, c.Short+".")
		}
		paragraphs(&b, c.Long)
		options(c.LocalNonPersistentFlags())
		if c.Example != "" {
			fmt.Fprintf(&b, ".PP\n.EX\n%s\n.EE\n", roff(c.Example))
		}
	}
	fmt.Fprint(&b, ".SH ENVIRONMENT\n.TP\n.B BERTH_SOCKET\nThe control socket of berthd, where \\-\\-socket does not say it.\n.TP\n.B NO_COLOR\nNo colours, if it is set. Nor are there any where output is no terminal.\n.SH SEE ALSO\n.BR berthd (8),\n.BR berth.unit (5)\n")
	golden(t, "../../docs/man/berth.1", b.Bytes())
}

func TestManUnit(t *testing.T) {
	var b bytes.Buffer
	fmt.Fprint(&b, `.\" Generated from the table of keys by go test ./cmd/berth -update.
.TH BERTH.UNIT 5
.SH NAME
berth.unit \- unit files of berthd
.SH DESCRIPTION
A unit is one TOML file: web.toml is the unit web. worker@.toml is a template,
and worker@eu.toml, or an entry of its instances, makes an instance of it.
Files are looked for in /etc/berth/units, /run/berth/units and
/usr/lib/berth/units; one in an earlier directory replaces one of the same name
in a later. Drop\-ins, web.toml.d/*.toml, are merged over the file in the order of
their names. A key that nobody knows is an error; tables whose names begin with
x\- are ignored. A "./" at the beginning of a path on the host is the directory of
the file.
.PP
For each key its type, its default, and how a change is applied to a unit that
runs: live, by the unit\(aqs own reload, or by a restart.
`)
	section := ""
	for _, f := range units.Fields() {
		if f.Type == units.TypeTable || f.Type == units.TypeTables {
			continue
		}
		if s := f.Section(); s != section {
			section = s
			title := "[" + s + "]"
			if strings.HasPrefix(f.Key, s+"[]") {
				title = "[[" + s + "]]"
			}
			fmt.Fprintf(&b, ".SH %s\n", roff(title))
		}
		about := []string{string(f.Type)}
		if f.Default != "" {
			about = append(about, "default "+f.Default)
		}
		if f.Required {
			about = append(about, "required")
		}
		about = append(about, f.Class.String())
		if f.Later {
			about = append(about, "not supported yet")
		}
		key := f.Key[strings.IndexByte(f.Key, '.')+1:]
		fmt.Fprintf(&b, ".TP\n.B %s\n(%s) %s\n", roff(key), roff(strings.Join(about, "; ")), roff(f.Help))
		if len(f.Values) > 0 {
			fmt.Fprintf(&b, "One of: %s.\n", roff(strings.Join(f.Values, ", ")))
		}
	}
	fmt.Fprint(&b, ".SH EXAMPLE\n.EX\n[service]\ncommand = [\"/usr/sbin/nginx\", \"\\-g\", \"daemon off;\"]\nuser = \"www\\-data\"\n\n[rootfs]\nhost = true\n\n[cgroup]\nmemory\\-max = \"256M\"\n.EE\n.SH SEE ALSO\n.BR berth (1),\n.BR berthd (8)\n")
	golden(t, "../../docs/man/berth.unit.5", b.Bytes())
}
