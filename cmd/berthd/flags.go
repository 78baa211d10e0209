package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"berth/config"
	"berth/reaper"
)

// options are the flags; what is empty is left to the settings file.
type options struct {
	config     string
	units      list
	runtimeDir string
	stateDir   string
	cgroup     string
	slice      string
	logLevel   string
	maxDelay   time.Duration
	version    bool
	done       bool // help was asked for and given
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ", ") }

func (l *list) Set(v string) error {
	v, err := filepath.Abs(v)
	if err != nil {
		return err
	}
	*l = append(*l, v)
	return nil
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("berthd", flag.ContinueOnError)
	f.SetOutput(os.Stderr)
	f.Usage = func() {
		fmt.Fprint(f.Output(), `berthd runs the units of its unit directories, as PID 1 or as a service.
Stop it with SIGTERM: it stops all units in order first.

Flags, each over its key in the settings file:
`)
		f.PrintDefaults()
	}
	f.StringVar(&o.config, "config", config.OwnPlaces().Settings, "settings `file`; may be missing")
	f.Var(&o.units, "units", "unit `directory`, several times for several, highest first (default /etc/berth/units, /run/berth/units, /usr/lib/berth/units; an ordinary user's: below ~/.config/berth, its runtime directory, ~/.local/share/berth)")
	f.StringVar(&o.runtimeDir, "runtime-dir", "", "`directory` of the control socket (default /run/berth; an ordinary user's: $XDG_RUNTIME_DIR/berth)")
	f.StringVar(&o.stateDir, "state-dir", "", "`directory` of volumes, persistent layers and log files (default /var/lib/berth; an ordinary user's: ~/.local/state/berth)")
	f.StringVar(&o.cgroup, "cgroup-parent", "", "control `group` below which berth.slice is made (default: the one berthd is in)")
	f.StringVar(&o.slice, "slice", "berth.slice", "`name` of the group of all units; a second berthd on a machine needs another")
	f.StringVar(&o.logLevel, "log-level", "", "debug, info, warn or error (default info)")
	f.DurationVar(&o.maxDelay, "max-restart-delay", reaper.DefaultBackoff.Max, "longest `time` until the reaper starts a supervisor or launcher again that keeps ending")
	f.BoolVar(&o.version, "version", false, "print the version")
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		o.done = true
		return o, nil
	}
	if err != nil {
		return nil, errors.New("see berthd --help")
	}
	// As PID 1 the kernel hands over the words of its command line that it does
	// not know (kernel-parameters: "passed to init"); they are not for us.
	if f.NArg() > 0 && os.Getpid() != 1 && !isRole(os.Args) {
		return nil, fmt.Errorf("%q is not a flag; see berthd --help", f.Arg(0))
	}
	return o, nil
}

func isRole(args []string) bool { return len(args) > 1 && strings.HasPrefix(args[1], "--role=") }
