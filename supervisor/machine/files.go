package machine

import (
	"context"
	"errors"
	"sync"

	"berth/supervisor/machine/cmdline"
	"berth/supervisor/machine/conf"
	"berth/supervisor/machine/fsck"
	"berth/supervisor/machine/fstab"
	"berth/supervisor/machine/modules"
	"berth/supervisor/machine/sysctl"
	"berth/supervisor/machine/tmpfiles"
	"berth/supervisor/machine/uevent"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// report makes of problems what a duty tells: notes of the minor ones, and an
// error of the others.
func (b *Boot) report(problems conf.Problems) error {
	for _, p := range problems {
		if p.Minor {
			b.Note(p.String())
		}
	}
	return problems.Err()
}

func (b *Boot) openModules() (*modules.Loader, conf.Problems, error) {
	return modules.Open("/", cmdline.Words(b.Line))
}

// loadModules loads what is asked for first: that may be what finds the others.
// Modules of devices that appear later are loaded from then on.
func loadModules(ctx context.Context, b *Boot) error {
	l, problems, err := b.openModules()
	if err != nil {
		return err
	}
	defer l.Close()
	if l.Any() {
		if err := b.answerKernel(); err != nil {
			b.Note(err.Error())
		}
	}
	problems = append(problems, l.LoadConfigured(ctx, b.Options.Modules)...)
	if !b.Options.Coldplug {
		return b.report(problems)
	}
	events, err := uevent.Listen() // before it is looked what there is: nothing is missed
	problems = append(problems, l.Coldplug(ctx)...)
	if err == nil {
		b.hotplugs = true
		go b.hotplug(b.Life, events)
	}
	return errors.Join(err, b.report(problems))
}

func setParameters(ctx context.Context, b *Boot) error { return b.report(sysctl.Apply(ctx, "/")) }

func makeTemporaryFiles(ctx context.Context, b *Boot) error {
	return b.report(tmpfiles.Apply(ctx, "/"))
}

// moduleOnDemand gives a function that loads a module for an alias, and one that
// frees what it keeps.
func (b *Boot) moduleOnDemand() (load func(context.Context, string), done func()) {
	var mu sync.Mutex
	var l *modules.Loader
	load = func(ctx context.Context, alias string) {
		mu.Lock()
		defer mu.Unlock()
		if l == nil {
			var err error
			if l, _, err = b.openModules(); err != nil { // its problems are told by the duty that loads modules
				b.Log.Error("cannot load a module", zap.String("module", alias), zap.Error(err))
				return
			}
		}
		for _, p := range l.Load(ctx, modules.Request{Name: alias, Device: true}) {
			b.Log.Warn(p.String())
		}
	}
	done = func() {
		mu.Lock()
		defer mu.Unlock()
		if l != nil {
			l.Close()
			l = nil
		}
	}
	return load, done
}

// fsckOptions are what the command line says of checks.
func (b *Boot) fsckOptions() fsck.Options {
	return fsck.Options{Mode: b.Options.Check, Repair: b.Options.Repair, Locks: b.RuntimeDir + "/fsck"}
}

// mountFileSystems mounts what the boot has to wait for; the rest goes on behind
// it, and what goes wrong with that is told when it is over.
func mountFileSystems(_ context.Context, b *Boot) error {
	load, done := b.moduleOnDemand()
	job := fstab.Begin(b.Life, fstab.Config{Root: "/", Fsck: b.fsckOptions(), Module: load,
		Note: func(text string) { b.Log.Info(text) }})
	problems, reboot := job.Required()
	told := len(problems)
	go func() {
		for _, p := range job.Wait()[told:] {
			b.Log.Error(p.String())
		}
		done()
	}()
	if reboot {
		b.Log.Warn("rebooting: the check of a file system asks for it")
		unix.Sync()
		return errors.Join(problems.Err(), unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART))
	}
	return b.report(problems)
}

// Hotplug loads modules for devices that appear, for Life, where the machine wants
// that. It returns at once; each supervisor calls it after [Run].
func (b *Boot) Hotplug() {
	if b.Place != Machine || !b.Options.Coldplug || b.hotplugs {
		return
	}
	events, err := uevent.Listen()
	if err != nil {
		b.Log.Error("no modules are loaded for devices that appear", zap.Error(err))
		return
	}
	go func() {
		// What has appeared since an earlier supervisor listened is there now.
		if l, _, err := b.openModules(); err == nil {
			b.tellModules(l.Coldplug(b.Life))
			l.Close()
		}
		b.hotplug(b.Life, events)
	}()
}

// hotplug takes the socket over.
func (b *Boot) hotplug(ctx context.Context, events *uevent.Socket) {
	defer events.Close()
	if err := modules.Hotplug(ctx, events, b.openModules, b.tellModules); err != nil {
		b.Log.Error("no modules are loaded for devices that appear from now on", zap.Error(err))
	}
}

func (b *Boot) tellModules(problems conf.Problems) {
	for _, p := range problems {
		if p.Minor {
			b.Log.Debug(p.String())
		} else {
			b.Log.Warn(p.String())
		}
	}
}
