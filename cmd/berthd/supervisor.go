package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"berth/config"
	"berth/reaper"
	"berth/supervisor"
	"berth/supervisor/logs"
	"berth/supervisor/machine"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// runSupervisor is the daemon's mind. It returns when everything is down after
// an orderly stop, or when it cannot begin; else it ends with its reaper.
func runSupervisor(args []string) (int, error) {
	if err := reaper.Harden(); err != nil {
		return 1, err
	}
	reaper.SetName("berthd")
	collectLater()
	go growTable()
	// Whoever signals the whole group means the daemon: the reaper passes the
	// signal on, and that is the one that is acted on. Not signal.Ignore, which
	// services would inherit.
	signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	place, begin := machine.Where(), machine.Began() // before the connection: see there
	client, hand, err := reaper.Connect(reaper.SupervisorFD)
	if err != nil {
		return 1, err
	}
	code, err := supervise(args, place, begin, client, hand)
	if err == nil {
		return code, client.Exit(code)
	}
	// The first supervisor of a daemon that a machine does not depend on tells its
	// starter that it cannot begin; any later one is tried again by the reaper.
	if hand.Supervisors <= 1 && place != machine.Machine {
		fmt.Fprintln(os.Stderr, "berthd: "+err.Error())
		return code, client.Exit(code)
	}
	return code, err
}

func supervise(args []string, place machine.Place, begin machine.Begin, client *reaper.Client, hand *reaper.Handover) (int, error) {
	opt, err := parse(args)
	if err != nil {
		return 2, err
	}
	settings, diags := config.LoadSettings(opt.config)
	if diags.HasErrors() && place != machine.Machine {
		diags.Format(os.Stderr, false)
		return 5, fmt.Errorf("the settings in %s are not valid", opt.config)
	}
	line, text := commandLine(place)
	obey(&line, opt, &settings)
	if opt.logLevel != "" {
		settings.LogLevel = opt.logLevel
	}
	parsed, err := zapcore.ParseLevel(settings.LogLevel)
	if err != nil {
		return 2, fmt.Errorf("cannot use the log level: %w", err)
	}
	level := zap.NewAtomicLevelAt(parsed)
	own, err := ownLog(place, logs.LoggerOptions{Level: level, Target: settings.LogTarget})
	if err != nil {
		return 1, err
	}
	log := own.Logger
	defer func() { _ = log.Sync() }() // a terminal cannot be synced
	if diags.HasErrors() {
		log.Error("the settings are not valid, going on with the defaults for what is wrong", zap.Error(diags))
	}
	cfg, err := configure(opt, settings)
	if err != nil {
		return 1, err
	}
	if place == machine.Container && opt.runtimeDir == "" && settings.RuntimeDir == config.OwnPlaces().RuntimeDir {
		if err := findRuntimeDir(cfg, log); err != nil {
			return 1, err
		}
	}
	cfg.Log, cfg.Level, cfg.ReopenLog, cfg.Place = log, &level, own.Reopen, place
	cfg.Target = line.Target
	cfg.Final, cfg.Again = []string{"berthd", roleFinal}, append([]string{"berthd"}, args...)
	cfg.Reread = func() (supervisor.Watchdogs, error) {
		settings, diags := config.LoadSettings(opt.config)
		if diags.HasErrors() {
			return supervisor.Watchdogs{}, diags
		}
		return watchdogs(settings), nil
	}
	b := &machine.Boot{Place: place, Options: line, Line: text}
	if err := boot(context.Background(), b, cfg, client, hand, begin); err != nil {
		return 1, err
	}
	if err := own.Keep(cfg.StateDir); err != nil {
		log.Warn("the daemon's own log stays in the kernel's", zap.Error(err))
	}
	return supervisor.Run(context.Background(), *cfg, client, hand)
}

// findRuntimeDir puts what is for the runtime directory where it can be written.
func findRuntimeDir(cfg *supervisor.Config, log *zap.Logger) error {
	dir, why, err := machine.RuntimeDir(cfg.RuntimeDir, config.InsteadDirs())
	if err != nil || dir == cfg.RuntimeDir {
		return err
	}
	if filepath.Dir(cfg.Socket) == cfg.RuntimeDir {
		cfg.Socket = filepath.Join(dir, supervisor.SocketName)
	}
	log.Warn("the runtime directory cannot be written", zap.String("directory", cfg.RuntimeDir), zap.String("because", why), zap.String("socket", cfg.Socket))
	cfg.RuntimeDir = dir
	return nil
}

// ownLog makes the daemon's own log.
func ownLog(place machine.Place, o logs.LoggerOptions) (*logs.Daemon, error) {
	if place == machine.Machine {
		return logs.NewDaemon(o)
	}
	log, err := logs.NewLogger(o)
	return &logs.Daemon{Logger: log}, err
}

// configure puts flags over settings.
func configure(opt *options, s config.Settings) (*supervisor.Config, error) {
	c := &supervisor.Config{
		Directories: s.Units, RuntimeDir: s.RuntimeDir, StateDir: s.StateDir, Socket: s.Socket,
		Cgroup: s.CgroupParent, Slice: opt.slice, Version: version,
		Manual: s.Reload == "manual", History: s.History,
		ShutdownTimeout: max(0, time.Duration(s.ShutdownTimeout)), // infinity: none
		ExitUnit:        s.ExitUnit,
		FinalTimeout:    time.Duration(s.FinalTimeout),
		Watchdogs:       watchdogs(s),
	}
	if len(opt.units) > 0 {
		c.Directories = opt.units
	}
	if opt.runtimeDir != "" {
		c.RuntimeDir = opt.runtimeDir
		c.Socket = opt.runtimeDir + "/" + supervisor.SocketName
	}
	if opt.stateDir != "" {
		c.StateDir = opt.stateDir
	}
	if opt.cgroup != "" {
		c.Cgroup = opt.cgroup
	}
	var err error
	if c.ReadGroup, err = group("read-group", s.ReadGroup); err != nil {
		return nil, err
	}
	c.OperateGroup, err = group("operate-group", s.OperateGroup)
	return c, err
}

func watchdogs(s config.Settings) supervisor.Watchdogs {
	return supervisor.Watchdogs{Supervisor: time.Duration(s.SupervisorWatchdog), Hardware: time.Duration(s.HardwareWatchdog)}
}

// group gives a group's id, -1 for none.
func group(key, name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	if id, err := strconv.Atoi(name); err == nil {
		return id, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return -1, fmt.Errorf("cannot use %s = %q: %w", key, name, err)
	}
	return strconv.Atoi(g.Gid)
}
