package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"berth/config"
	"berth/isolate"
	"berth/supervisor/container"
	"berth/supervisor/idrange"
	"berth/units"

	"github.com/spf13/cobra"
)

// defaultStateDir is where volumes and persistent roots of this user are.
func defaultStateDir() string { return config.OwnPlaces().StateDir }

// load reads unit directories; files named singly are read with the directory
// they are in, and only their own faults are kept.
func load(paths []string) (*config.Set, []string, error) {
	var dirs, files []string
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot check %s: %w", p, err)
		}
		dir := p
		if !st.IsDir() {
			files = append(files, p)
			dir = filepath.Dir(p)
		}
		if dir, err = filepath.Abs(dir); err != nil {
			return nil, nil, fmt.Errorf("cannot check %s: %w", p, err)
		}
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	set, err := config.Load(config.Options{Dirs: dirs})
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, f := range files {
		name, ok := strings.CutSuffix(filepath.Base(f), ".toml")
		if !ok {
			return nil, nil, &usageError{fmt.Errorf("%s is no unit file: its name does not end in .toml", f), ""}
		}
		names = append(names, name)
	}
	if len(files) > 0 {
		set.Diagnostics = slices.DeleteFunc(set.Diagnostics, func(d units.Diagnostic) bool {
			return !slices.ContainsFunc(names, func(n string) bool {
				return strings.HasSuffix(d.Path, "/"+n+".toml") || strings.Contains(d.Path, "/"+n+".toml.d/")
			})
		})
	}
	return set, names, nil
}

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check [DIR|FILE...]", Short: "Check unit files, all faults in one go",
		Long: `Checks the unit files of directories, or single ones (with the directory they
are in), and prints every fault with its place. Nothing is started. Without
arguments it checks the directories that berthd reads.`,
		Example: `  berth check
  berth check -o json ./units
  berth check web.toml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = existing(config.OwnPlaces().Units)
			}
			set, _, err := load(args)
			if err != nil {
				return err
			}
			if a.json() {
				diags := set.Diagnostics
				if diags == nil {
					diags = units.Diagnostics{}
				}
				if err := a.printJSON(diags); err != nil {
					return err
				}
			} else {
				set.Diagnostics.Format(a.out, bool(a.paint()))
			}
			if set.Diagnostics.HasErrors() {
				return &exitError{exitInvalid, ""}
			}
			if !a.json() {
				fmt.Fprintf(a.out, "%d units, no errors\n", len(set.Units))
			}
			return nil
		},
	}
}

func existing(dirs []string) []string {
	return slices.DeleteFunc(slices.Clone(dirs), func(d string) bool { _, err := os.Stat(d); return err != nil })
}

// unitOf finds one unit, by file or by name in the unit directories.
func unitOf(arg string, dirs []string) (*units.Unit, error) {
	paths, name := dirs, arg
	if strings.HasSuffix(arg, ".toml") || strings.Contains(arg, "/") {
		paths = []string{arg}
		name = strings.TrimSuffix(filepath.Base(arg), ".toml")
	}
	set, _, err := load(paths)
	if err != nil {
		return nil, err
	}
	u := set.Units[name]
	if u == nil || set.Diagnostics.HasErrors() {
		if err := set.Diagnostics.Err(); err != nil {
			return nil, err
		}
		text := fmt.Sprintf("there is no unit %q in %s", name, strings.Join(paths, ", "))
		var names []string
		for n := range set.Units {
			names = append(names, n)
		}
		if near := units.Nearest(name, names); near != "" {
			text += fmt.Sprintf("; did you mean %q?", near)
		}
		return nil, &exitError{exitNoUnit, text}
	}
	return u, nil
}

func (a *app) planCommand() *cobra.Command {
	var syscalls bool
	var dirs []string
	c := &cobra.Command{
		Use: "plan [--syscalls UNIT|FILE]", Short: "Show what berth apply would do, or what a start does",
		Long: `Without flags: compares the unit files on disk with what berthd runs, and shows
per unit what berth apply would do, with the keys that cause it, their old and new
values, and how each is applied. + is a new unit, - one whose file is gone, ~ one
that changes. Values of environment variables are shown only to root. Files that
are not valid give exit code 5.

With --syscalls: prints the system calls that start the unit, one commented line
a step, without running any. This needs no berthd.`,
		Example: `  berth plan
  berth plan --syscalls ./web.toml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if syscalls {
				return usage(cobra.ExactArgs(1))(cmd, args)
			}
			return usage(cobra.NoArgs)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if syscalls {
				return a.planSyscalls(args[0], dirs)
			}
			out, err := a.client().Plan(cmd.Context())
			if err != nil {
				return err
			}
			return a.printReload(out, true)
		},
	}
	c.Flags().BoolVar(&syscalls, "syscalls", false, "print the system calls that start one unit")
	c.Flags().StringArrayVar(&dirs, "units", nil, "unit directory, for a unit given by name; default: those that berthd reads")
	return c
}

// environment is what this user's berthd would start units in.
func environment() (container.Environment, error) {
	ordinary, err := container.OrdinaryUser()
	state := defaultStateDir()
	return container.Environment{StateDir: state, IDs: idrange.New(state).Look, Sealed: ordinary == nil, Ordinary: ordinary}, err
}

func (a *app) planSyscalls(arg string, dirs []string) error {
	if len(dirs) == 0 {
		dirs = existing(config.OwnPlaces().Units)
	}
	u, err := unitOf(arg, dirs)
	if err != nil {
		return err
	}
	env, err := environment()
	if err != nil {
		return err
	}
	env.Unified = true
	c, err := container.Build(u, env)
	if err != nil {
		return err
	}
	prog, err := isolate.Compile(c.Spec)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := prog.Format(&text); err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n"))
	}
	_, err = a.out.Write(text.Bytes())
	return err
}

func (a *app) specCommand() *cobra.Command {
	var oci bool
	c := &cobra.Command{
		Use: "spec UNIT|FILE", Short: "Print the effective unit, or an OCI config.json of it",
		Long: `Prints a unit with drop-ins, instance and defaults applied: one that berthd runs,
or one from a file. With --oci it is printed as an OCI runtime config.json.`,
		Example: `  berth spec web
  berth spec --oci ./web.toml > config.json`,
		Args: usage(cobra.ExactArgs(1)), ValidArgsFunction: a.units,
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.HasSuffix(args[0], ".toml") || strings.Contains(args[0], "/") {
				return a.specFile(args[0], oci)
			}
			text, err := a.client().Spec(cmd.Context(), args[0], oci)
			if err != nil {
				return err
			}
			if a.json() && !oci {
				u, diags := units.Decode(args[0], []units.Source{{Path: args[0], Text: text}})
				if err := diags.Err(); err != nil {
					return err
				}
				return a.printJSON(u)
			}
			_, err = a.out.Write(text)
			return err
		},
	}
	c.Flags().BoolVar(&oci, "oci", false, "as OCI runtime config.json")
	return c
}

func (a *app) specFile(path string, oci bool) error {
	u, err := unitOf(path, nil)
	if err != nil {
		return err
	}
	switch {
	case oci:
		env, err := environment()
		if err != nil {
			return err
		}
		text, err := container.OCI(u, env)
		if err != nil {
			return err
		}
		_, err = a.out.Write(text)
		return err
	case a.json():
		return a.printJSON(u)
	}
	_, err = a.out.Write(units.Format(u))
	return err
}

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use: "explain CODE|KEY", Short: "Explain a diagnostic (U014) or a key (cgroup.memory-max)",
		Example: `  berth explain U014
  berth explain cgroup.memory-max`,
		Args: usage(cobra.ExactArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			names := units.Codes()
			for _, f := range units.Fields() {
				names = append(names, f.Key)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if e, ok := units.Explain(strings.ToUpper(args[0])); ok {
				if a.json() {
					return a.printJSON(e)
				}
				fmt.Fprint(a.out, e.String())
				return nil
			}
			if text, ok := config.Explain(strings.ToUpper(args[0])); ok {
				if a.json() {
					return a.printJSON(units.Explanation{Code: strings.ToUpper(args[0]), Text: text})
				}
				fmt.Fprintln(a.out, strings.ToUpper(args[0])+": "+text)
				return nil
			}
			if f, ok := units.FieldOf(args[0]); ok {
				if a.json() {
					return a.printJSON(f)
				}
				fmt.Fprint(a.out, f.String())
				return nil
			}
			var names []string
			for _, f := range units.Fields() {
				names = append(names, f.Key)
			}
			text := fmt.Sprintf("there is no diagnostic and no key %q", args[0])
			if near := units.Nearest(args[0], append(names, units.Codes()...)); near != "" {
				text += fmt.Sprintf("; did you mean %q?", near)
			}
			return &exitError{exitUsage, text}
		},
	}
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON schema of unit files, for editors",
		Long: `Prints the JSON schema of unit files. Editors with a TOML language server check
and complete a unit file that begins with "#:schema PATH".`,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			text, err := units.Schema()
			if err != nil {
				return err
			}
			_, err = a.out.Write(text)
			return err
		},
	}
}

// signalName normalises a signal given by name or number.
func signalName(text string) (string, error) {
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if _, ok := units.SignalNumber(name); !ok {
		return "", &usageError{fmt.Errorf("there is no signal %q", text), "kill"}
	}
	return name, nil
}
