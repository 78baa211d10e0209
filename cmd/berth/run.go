package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"berth/config"
	"berth/supervisor/foreground"
	"berth/units"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// commandLine is what diagnostics of keys set by flags show as their file.
const commandLine = "(command line)"

// runFlags are the keys of a unit that can be given on the command line.
type runFlags struct {
	host      bool
	rootfs    string
	name      string
	writable  string
	mounts    []string
	env       []string
	user      string
	workdir   string
	hostname  string
	network   string
	keep      []string
	memoryMax string
	pidsMax   string
	cpuMax    string
	init      bool
	set       []string
	stateDir  string
	tty       bool
	noTTY     bool
}

func (a *app) runCommand() *cobra.Command {
	var o runFlags
	c := &cobra.Command{
		Use:   "run FILE.toml [-- COMMAND [ARG...]]\n  berth run --rootfs DIR|--host [-- COMMAND [ARG...]]",
		Short: "Run one unit in the foreground, without berthd",
		Long: `Runs one unit in the foreground, without berthd: one from a file, with the
drop-ins beside it, or one made of flags with a directory or this machine's own
root as its root file system. A command after -- replaces the unit's.

The unit runs once, whatever its restart policy, in the same container that
berthd would make. It has a terminal of its own when standard input and output
are terminals. Signals are sent on to it. Each flag stands for a key of the unit
file and goes over what the file says; --set takes any key.

Exits as the program does, with 128+n after signal n, with 127 if it is not there,
126 if it cannot be executed, and 1 if it could not be started. Nothing of it is
left afterwards, even when berth itself is killed.`,
		Example: `  berth run web.toml                          # as berthd would, but here
  berth run web.toml -- /bin/sh               # a shell in its container
  berth run --host --memory-max 64M -- sh     # a shell on this machine's root
  berth run --rootfs /srv/debian --writable ephemeral -e LANG=C.UTF-8 -- bash`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"toml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			// What stands after -- is the command; cobra takes the -- away.
			command := []string(nil)
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				args, command = args[:n], args[n:]
			}
			return a.run(&o, args, command)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.host, "host", false, "on this machine's own root, read-only (rootfs.host)")
	f.StringVar(&o.rootfs, "rootfs", "", "on this directory (rootfs.path)")
	f.StringVar(&o.name, "name", "", "name of the unit, without a file (default run)")
	f.StringVar(&o.writable, "writable", "", "none, ephemeral or persistent (rootfs.writable)")
	f.StringArrayVar(&o.mounts, "mount", nil, "bind mount as SOURCE:TARGET[:OPTION,...] ([[mount]])")
	f.StringArrayVarP(&o.env, "env", "e", nil, "variable as NAME=VALUE (service.environment)")
	f.StringVarP(&o.user, "user", "u", "", "user inside the container (service.user)")
	f.StringVarP(&o.workdir, "workdir", "w", "", "working directory (service.working-directory)")
	f.StringVar(&o.hostname, "hostname", "", "host name (namespaces.hostname)")
	f.StringVar(&o.network, "network", "", "new, host or path:FILE (namespaces.network)")
	f.StringArrayVar(&o.keep, "keep", nil, "capability that is not dropped (capabilities.keep)")
	f.StringVar(&o.memoryMax, "memory-max", "", "memory limit (cgroup.memory-max)")
	f.StringVar(&o.pidsMax, "pids-max", "", "limit of processes (cgroup.pids-max)")
	f.StringVar(&o.cpuMax, "cpu-max", "", "processor time, as 150% or 1.5 (cgroup.cpu-max)")
	f.BoolVar(&o.init, "init", false, "a minimal init as PID 1 (service.init)")
	f.StringArrayVar(&o.set, "set", nil, "any key, as SECTION.KEY=VALUE with the value in TOML")
	f.StringVar(&o.stateDir, "state-dir", defaultStateDir(), "where volumes and persistent roots are")
	f.BoolVarP(&o.tty, "tty", "t", false, "a terminal, even if this is none")
	f.BoolVarP(&o.noTTY, "no-tty", "T", false, "no terminal, even if this is one")
	_ = c.MarkFlagDirname("rootfs") // the flag exists
	return c
}

// run finds the unit and runs it.
func (a *app) run(o *runFlags, args, command []string) error {
	u, diags, err := o.unit(args, command)
	if err != nil {
		return err
	}
	diags.Format(a.err, a.colorErr())
	if diags.HasErrors() {
		return &exitError{exitInvalid, ""}
	}
	stateDir, err := filepath.Abs(o.stateDir)
	if err != nil {
		return fmt.Errorf("cannot use --state-dir: %w", err)
	}
	terminal := o.tty || (!o.noTTY && term.IsTerminal(int(a.in.Fd())) && term.IsTerminal(int(a.out.Fd())))
	if t := os.Getenv("TERM"); terminal && t != "" && u.Service.Environment["TERM"] == "" {
		if u.Service.Environment == nil {
			u.Service.Environment = map[string]string{}
		}
		u.Service.Environment["TERM"] = t
	}
	slice := "berth-run-" + strconv.Itoa(os.Getpid()) + ".slice"
	code, err := foreground.Run(foreground.Options{
		Unit: u, StateDir: stateDir, Slice: slice, Terminal: terminal,
		Stdin: a.in, Stdout: a.out, Stderr: a.err,
		Keeper: []string{"/proc/self/exe", keeperCommand, slice},
	})
	if err != nil {
		return &exitError{max(code, exitFailed), err.Error()}
	}
	if code != 0 {
		return &exitError{code, ""}
	}
	return nil
}

// unit gives the unit of a file, or of flags alone.
func (o *runFlags) unit(args, command []string) (*units.Unit, units.Diagnostics, error) {
	alone := o.host || o.rootfs != ""
	switch {
	case o.host && o.rootfs != "":
		return nil, nil, &usageError{errors.New("--host and --rootfs exclude each other"), "run"}
	case !alone && len(args) == 0:
		return nil, nil, &usageError{errors.New("name a unit file, or a root file system by --rootfs or --host"), "run"}
	case alone && len(args) > 0 && command == nil:
		return nil, nil, &usageError{fmt.Errorf("the command of --rootfs and --host stands after --: -- %s", strings.Join(args, " ")), "run"}
	case alone && len(args) > 0, !alone && len(args) > 1:
		return nil, nil, &usageError{fmt.Errorf("%q is one word too many", args[len(args)-1]), "run"}
	case o.name != "" && !alone:
		return nil, nil, &usageError{errors.New("--name is for --rootfs and --host: a unit of a file has the file's name"), "run"}
	}
	more, err := o.source(command)
	if err != nil {
		return nil, nil, err
	}
	if !alone {
		return config.LoadFile(args[0], more...)
	}
	name := o.name
	if name == "" {
		name = "run"
	}
	if !units.ValidName(name) {
		return nil, nil, &usageError{fmt.Errorf("--name %q is no name of a unit", name), "run"}
	}
	u, diags := units.Decode(name, more)
	return u, diags, nil
}

// source gives the flags as texts of unit files, so that everything is checked
// and explained as in one.
func (o *runFlags) source(command []string) ([]units.Source, error) {
	var t toml
	if o.host {
		t.add("rootfs", "host", "true")
	}
	if o.rootfs != "" {
		path, err := filepath.Abs(o.rootfs)
		if err != nil {
			return nil, fmt.Errorf("cannot use --rootfs: %w", err)
		}
		t.add("rootfs", "path", quote(path))
	}
	if len(command) > 0 {
		t.add("service", "command", quoteAll(command))
	}
	for _, f := range []struct{ section, key, value string }{
		{"rootfs", "writable", o.writable}, {"service", "user", o.user}, {"service", "working-directory", o.workdir},
		{"namespaces", "hostname", o.hostname}, {"namespaces", "network", o.network},
		{"cgroup", "memory-max", o.memoryMax}, {"cgroup", "pids-max", o.pidsMax}, {"cgroup", "cpu-max", o.cpuMax},
	} {
		if f.value != "" {
			t.add(f.section, f.key, quote(f.value))
		}
	}
	if o.init {
		t.add("service", "init", "true")
	}
	if len(o.keep) > 0 {
		t.add("capabilities", "keep", quoteAll(o.keep))
	}
	for _, kv := range o.env {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, &usageError{fmt.Errorf("--env %q is not NAME=VALUE", kv), "run"}
		}
		t.add("service.environment", quote(k), quote(v))
	}
	for _, m := range o.mounts {
		if err := t.mount(m); err != nil {
			return nil, err
		}
	}
	sources := []units.Source{{Path: commandLine, Text: t.text()}}
	for _, kv := range o.set {
		key, value, ok := strings.Cut(kv, "=")
		section, name, dotted := strings.Cut(strings.TrimSpace(key), ".")
		if !ok || !dotted {
			return nil, &usageError{fmt.Errorf("--set %q is not SECTION.KEY=VALUE", kv), "run"}
		}
		// Each is a drop-in of its own, so that the last of several wins.
		sources = append(sources, units.Source{Path: commandLine, Text: fmt.Appendf(nil, "[%s]\n%s = %s\n", section, name, strings.TrimSpace(value))})
	}
	return sources, nil
}

// toml gathers keys by section.
type toml struct {
	sections []string
	keys     map[string][]string
	mounts   []string
}

func (t *toml) add(section, key, value string) {
	if t.keys == nil {
		t.keys = map[string][]string{}
	}
	if !slices.Contains(t.sections, section) {
		t.sections = append(t.sections, section)
	}
	t.keys[section] = append(t.keys[section], key+" = "+value)
}

func (t *toml) mount(text string) error {
	source, rest, ok := strings.Cut(text, ":")
	target, options, _ := strings.Cut(rest, ":")
	if !ok || source == "" || target == "" {
		return &usageError{fmt.Errorf("--mount %q is not SOURCE:TARGET[:OPTION,...]", text), "run"}
	}
	path, err := filepath.Abs(source)
	if err != nil {
		return fmt.Errorf("cannot use --mount: %w", err)
	}
	m := fmt.Sprintf("[[mount]]\nsource = %s\ntarget = %s\n", quote(path), quote(target))
	if options != "" {
		m += "options = " + quoteAll(strings.Split(options, ",")) + "\n"
	}
	t.mounts = append(t.mounts, m)
	return nil
}

func (t *toml) text() []byte {
	var b strings.Builder
	for _, s := range t.sections {
		fmt.Fprintf(&b, "[%s]\n%s\n", s, strings.Join(t.keys[s], "\n"))
	}
	b.WriteString(strings.Join(t.mounts, ""))
	return []byte(b.String())
}

// quote writes a text as a basic string of TOML, of which JSON's are a part
// but for DEL.
func quote(text string) string {
	b, _ := json.Marshal(text) // a string always can be
	return strings.ReplaceAll(string(b), "\x7f", `\u007f`)
}

func quoteAll(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = quote(t)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// keeperCommand is the hidden command of the process that cleans up after a run.
const keeperCommand = "run-keeper"

func (a *app) keeperCommand() *cobra.Command {
	return &cobra.Command{
		Use: keeperCommand + " SLICE", Hidden: true, Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return foreground.Keep(args[0], a.in) },
	}
}
