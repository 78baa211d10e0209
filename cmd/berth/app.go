package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"berth/config"
	"berth/supervisor/api"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// defaultSocket is that of the user's own berthd, or if it has none the machine's.
func defaultSocket() string {
	own := config.OwnPlaces().Socket()
	if _, err := os.Stat(own); err == nil {
		return own
	}
	machine := config.SystemPlaces().Socket()
	if _, err := os.Stat(machine); err != nil {
		for _, dir := range config.InsteadDirs() { // in a container whose root is read-only
			if path := filepath.Join(dir, filepath.Base(machine)); config.OwnDir(dir) && unix.Access(path, unix.F_OK) == nil {
				return path
			}
		}
	}
	return machine
}

// app is what all commands share.
type app struct {
	in       *os.File
	out, err *os.File
	socket   string
	output   string // text | json
	timeout  time.Duration
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "berth",
		Short: "See and steer the services of berthd",
		Long: `berth shows and steers the units that berthd runs, and runs, checks and
explains unit files without it.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not running, 4 no such unit,
5 invalid configuration, 6 timed out.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usage(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if a.output == "nsinit" && cmd.Name() == "stats" {
				return nil
			}
			if a.output != "text" && a.output != "json" {
				return &usageError{fmt.Errorf("--output is text or json, not %q", a.output), ""}
			}
			return nil
		},
	}
	socket := os.Getenv("BERTH_SOCKET")
	if socket == "" {
		socket = defaultSocket()
	}
	f := root.PersistentFlags()
	f.StringVar(&a.socket, "socket", socket, "control socket of berthd (also BERTH_SOCKET)")
	f.StringVarP(&a.output, "output", "o", "text", "text or json")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageOf(cmd, err) })
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.AddGroup(&cobra.Group{ID: "look", Title: "Look:"}, &cobra.Group{ID: "act", Title: "Act:"}, &cobra.Group{ID: "files", Title: "Unit files:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("look", a.listCommand(), a.statusCommand(), a.whyCommand(), a.logsCommand(), a.statsCommand(), a.metricsCommand(), a.eventsCommand(), a.waitCommand(), a.historyCommand(), a.graphCommand(), a.analyzeCommand())
	add("act", a.verbCommand("start", "Start units and what they require"), a.verbCommand("stop", "Stop units and what requires them"),
		a.restartCommand(), a.reloadCommand(), a.applyCommand(), a.rollbackCommand(), a.killCommand(), a.pauseCommand(), a.resumeCommand(), a.verbCommand("reset-failed", "Forget failures and start limits"),
		a.execCommand(), a.runCommand(), a.reexecCommand())
	add("act", a.shutdownCommands()...)
	root.AddCommand(a.keeperCommand())
	add("files", a.checkCommand(), a.planCommand(), a.specCommand(), a.explainCommand(), a.schemaCommand(), a.calendarCommand(), a.buildImageCommand())
	return root
}

func (a *app) client() *api.Client { return api.NewClient(a.socket) }

// deadline bounds a command by --timeout; 0: no bound.
func (a *app) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, a.timeout)
}

func (a *app) json() bool { return a.output == "json" }

// printJSON prints one value, indented.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func colored(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

func (a *app) colorErr() bool { return colored(a.err) }

// paint colours text for a terminal.
type paint bool

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
	bold   = "1"
)

func (p paint) in(code, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (a *app) paint() paint { return paint(colored(a.out)) }

// safe makes text that a container may have written harmless for a terminal.
func safe(text string) string {
	out := make([]rune, 0, len(text))
	for _, r := range text {
		if r == '\t' || (r >= ' ' && r != 0x7f && !(r >= 0x80 && r < 0xa0)) {
			out = append(out, r)
		} else {
			out = append(out, '\ufffd')
		}
	}
	return string(out)
}

// units completes unit names from the daemon; without one there are none.
func (a *app) units(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	list, err := a.client().List(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, u := range list {
		names = append(names, u.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
