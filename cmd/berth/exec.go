package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"berth/supervisor/api"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

func (a *app) execCommand() *cobra.Command {
	var e api.Exec
	var env []string
	var noTTY, tty bool
	c := &cobra.Command{
		Use: "exec UNIT -- COMMAND [ARG...]", Short: "Run a command in the container of a running unit",
		Long: `Runs a command in the container of a running unit: in its namespaces and its
group, with its user, capabilities and filter. It has a terminal of its own when
standard input and output are terminals. Flags stand before the unit. Exits as
the command does, with 128+n after signal n, with 127 if it is not there and 126
if it cannot be executed, and ends it when it is killed.`,
		Example: `  berth exec web sh
  berth exec -u root -e DEBUG=1 web -- /usr/bin/app --check
  tar c . | berth exec web tar x -C /srv`,
		Args: usage(cobra.MinimumNArgs(2)), ValidArgsFunction: a.units,
		RunE: func(cmd *cobra.Command, args []string) error {
			// Flags end at the unit's name, so that a -- after it is still here.
			if e.Args = args[1:]; e.Args[0] == "--" {
				e.Args = e.Args[1:]
			}
			if len(e.Args) == 0 {
				return usageOf(cmd, errors.New("no command is given"))
			}
			for _, kv := range env {
				k, v, ok := strings.Cut(kv, "=")
				if !ok || k == "" {
					return &usageError{fmt.Errorf("--env %q is not NAME=VALUE", kv), "exec"}
				}
				if e.Environment == nil {
					e.Environment = map[string]string{}
				}
				e.Environment[k] = v
			}
			e.Terminal = tty || (!noTTY && term.IsTerminal(int(a.in.Fd())) && term.IsTerminal(int(a.out.Fd())))
			return a.exec(cmd.Context(), args[0], e)
		},
	}
	f := c.Flags()
	f.SetInterspersed(false)
	f.StringVarP(&e.User, "user", "u", "", "user inside the container; default: the unit's")
	f.StringVarP(&e.Dir, "workdir", "w", "", "working directory; default: the unit's")
	f.StringArrayVarP(&env, "env", "e", nil, "NAME=VALUE")
	f.BoolVarP(&tty, "tty", "t", false, "a terminal, even if this is none")
	f.BoolVarP(&noTTY, "no-tty", "T", false, "no terminal, even if this is one")
	return c
}

// endOfFile is Ctrl-D, the default of VEOF (termios(3)).
const endOfFile = 4

func (a *app) exec(ctx context.Context, unit string, e api.Exec) error {
	if e.Terminal {
		if ws, err := unix.IoctlGetWinsize(int(a.out.Fd()), unix.TIOCGWINSZ); err == nil {
			e.Rows, e.Cols = ws.Row, ws.Col
		}
		if t := os.Getenv("TERM"); t != "" {
			if e.Environment == nil {
				e.Environment = map[string]string{}
			}
			if _, ok := e.Environment["TERM"]; !ok {
				e.Environment["TERM"] = t
			}
		}
	}
	remote, err := a.client().Exec(ctx, unit, e)
	if err != nil {
		return err
	}
	defer remote.Close()
	if e.Terminal && term.IsTerminal(int(a.in.Fd())) {
		old, err := term.MakeRaw(int(a.in.Fd()))
		if err != nil {
			return fmt.Errorf("cannot switch the terminal: %w", err)
		}
		defer term.Restore(int(a.in.Fd()), old)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGWINCH, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer signal.Stop(signals)
	go func() {
		for s := range signals {
			if s == unix.SIGWINCH {
				if ws, err := unix.IoctlGetWinsize(int(a.out.Fd()), unix.TIOCGWINSZ); err == nil && e.Terminal {
					_ = remote.Resize(ws.Row, ws.Col) // the session may have ended
				}
				continue
			}
			_ = remote.Signal(strings.TrimPrefix(unix.SignalName(s.(unix.Signal)), "SIG"))
		}
	}()
	go func() {
		_, _ = io.Copy(remote.Stdin(), a.in) // ends with the input or the session
		if e.Terminal {
			_, _ = remote.Stdin().Write([]byte{endOfFile}) // a terminal knows no other end
		}
		_ = remote.CloseStdin()
	}()
	code, err := remote.Copy(a.out, a.err)
	if err != nil {
		return err
	}
	if code != 0 {
		return &exitError{code, ""}
	}
	return nil
}
