package main

import (
	"fmt"
	"io"
	"slices"
)

// command is one verb.
type command struct {
	name    string
	usage   string // what follows the name
	summary string
	text    string // more of it for help, or ""
	flags   []flagDef

	args  int  // how many arguments there must be,
	exact bool // exactly so many
	most  int  // at the most; 0: any number
	raw   bool // flags end at the first argument

	needsRuntime bool
	run          func(*invocation) error
}

func find(name string) *command {
	i := slices.IndexFunc(commands, func(c *command) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return commands[i]
}

func printHelp(w io.Writer) {
	fmt.Fprintf(w, "NAME:\n   %s - run OCI containers by berth's isolation core\n\n", name)
	fmt.Fprintf(w, "USAGE:\n   %s [global options] command [command options] [arguments...]\n\nCOMMANDS:\n", name)
	for _, c := range commands {
		fmt.Fprintf(w, "   %-12s%s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nGLOBAL OPTIONS:\n")
	printFlags(w, globalFlags)
}

func (c *command) help(w io.Writer) {
	fmt.Fprintf(w, "NAME:\n   %s %s - %s\n\nUSAGE:\n   %s %s", name, c.name, c.summary, name, c.name)
	if len(c.flags) > 0 {
		fmt.Fprint(w, " [command options]")
	}
	fmt.Fprintf(w, " %s\n", c.usage)
	if c.text != "" {
		fmt.Fprintf(w, "\nDESCRIPTION:\n%s\n", c.text)
	}
	if len(c.flags) > 0 {
		fmt.Fprint(w, "\nOPTIONS:\n")
		printFlags(w, c.flags)
	}
}

func printFlags(w io.Writer, flags []flagDef) {
	width := 0
	for i := range flags {
		width = max(width, len(flags[i].String()))
	}
	for i := range flags {
		f := &flags[i]
		fmt.Fprintf(w, "   %-*s  %s", width, f, f.help)
		if f.value != "" {
			fmt.Fprintf(w, " (default: %s)", f.value)
		}
		fmt.Fprintln(w)
	}
}
