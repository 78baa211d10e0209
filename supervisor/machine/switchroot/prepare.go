package switchroot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"berth/supervisor/machine/cmdline"
	"berth/supervisor/machine/conf"
	"berth/supervisor/machine/fsck"
	"berth/supervisor/machine/fstab"
	"berth/supervisor/machine/mount"

	"golang.org/x/sys/unix"
)

// Config is what preparing takes.
type Config struct {
	Root cmdline.Root
	Init string // of the command line; "": the usual
	// Overlay is "", "tmpfs", or the device of a file system: the root stays
	// read-only, and what is written goes there.
	Overlay string
	Fsck    fsck.Options
	// Module loads what an alias such as fs-ext4 stands for.
	Module func(ctx context.Context, alias string)
	Note   func(string)
}

// usualWait is how long the root's device is waited for without rootwait.
const usualWait = 90 * time.Second

// Prepare mounts the root file system at Target and gives the path of the init on
// it. One that somebody has mounted there is taken as it is.
func Prepare(ctx context.Context, c Config) (init string, err error) {
	if !mount.At(Target) {
		if err := os.MkdirAll(Target, 0o755); err != nil {
			return "", fmt.Errorf("cannot make the mount point: %w", err)
		}
		if c.Root.Delay > 0 {
			c.Note(fmt.Sprintf("waiting for %s, as rootdelay= says", c.Root.Delay))
			if err := pause(ctx, c.Root.Delay); err != nil {
				return "", err
			}
		}
		if err := c.mountRoot(ctx); err != nil {
			return "", err
		}
	}
	if err := places(); err != nil {
		return "", err
	}
	return findInit(Target, c.Init)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Config) mountRoot(ctx context.Context) error {
	words := mount.Split(c.Root.Flags)
	words = append(words, map[bool]string{true: "ro", false: "rw"}[c.Root.ReadOnly || c.Overlay != ""])
	if c.Overlay == "" {
		return c.mountDevice(ctx, "root="+c.Root.Source, c.Root.Source, c.Root.Type, words, Target)
	}
	return c.mountOverlay(ctx, words)
}

// withoutDevice are types whose source is a name and no device.
func withoutDevice(kind string) bool { return kind == "virtiofs" || kind == "9p" }

// mountDevice waits for a device, has it checked and mounts it.
func (c *Config) mountDevice(ctx context.Context, what, source, kind string, words []string, target string) error {
	options, err := mount.Parse(words)
	if err != nil {
		return fmt.Errorf("cannot use rootflags=: %w", err)
	}
	m := &mount.Mount{Source: source, Target: target, Type: kind, Options: options}
	if withoutDevice(kind) {
		c.Module(ctx, "fs-"+kind)
		return m.Do(ctx)
	}
	if source, err = deviceName(source); err != nil {
		return fmt.Errorf("cannot use %s: %w", what, err)
	}
	device, err := c.await(ctx, what, source)
	if err != nil {
		return err
	}
	m.Source = device.Path
	if kind == "" || kind == "auto" {
		if !device.Info.Mountable() {
			return fmt.Errorf("cannot use %s: there is no file system on %s that is known; name its type by rootfstype=", what, device.Path)
		}
		kind = device.Info.Type
	}
	r, err := fsck.Run(ctx, device.Path, device.Info.Type, c.Fsck)
	switch {
	case err != nil:
		return fmt.Errorf("%w\nrun fsck.%s %s by hand, or boot with fsck.repair=yes", err, device.Info.Type, device.Path)
	case r.Checked:
		c.Note(fmt.Sprintf("checked %s: %s", device.Path, strings.ReplaceAll(r.Output, "\n", "; ")))
	}
	// A check that asks for a reboot does so for a file system that is mounted. This
	// one is not.
	for k := range strings.SplitSeq(kind, ",") {
		m.Type = k
		c.Module(ctx, "fs-"+k)
		if err = m.Do(ctx); err == nil {
			return nil
		}
	}
	return err
}

// await waits for a device as the command line says.
func (c *Config) await(ctx context.Context, what, source string) (*found, error) {
	limit := usualWait
	if c.Root.Wait {
		limit = c.Root.WaitLimit // 0: for ever
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	wait := watch
	if limit > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(watch, limit)
		defer cancel()
	}
	d, err := fstab.Watch(watch).Wait(wait, source, func() { c.Note("waiting for the device " + source) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot use %s: %w (waited %s)\nlook at /sys/class/block; load its driver by modules_load=, or wait for ever by rootwait", what, err, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", what, err)
	}
	return d, nil
}

// moved are the mounts that PID 1 takes along.
var moved = [...]string{"/dev", "/proc", "/sys", "/run"}

// places sees to it that what is moved has a place on the new root.
func places() error {
	for _, dir := range moved {
		err := os.Mkdir(Target+dir, 0o755)
		if errors.Is(err, unix.EROFS) {
			info, there := os.Stat(Target + dir)
			if there == nil && info.IsDir() {
				continue
			}
			return fmt.Errorf("cannot use the root file system: it is read-only and has no directory %s; make it when the image is made, or boot with rw", dir)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cannot use the root file system: %w", err)
		}
	}
	return nil
}

// usual are the inits that are looked for.
var usual = []string{"/sbin/init", "/usr/sbin/init", "/usr/sbin/berthd", "/sbin/berthd", "/etc/init", "/bin/init"}

// findInit gives the path of the program to execute, links followed inside the
// new root.
func findInit(target, asked string) (string, error) {
	root, err := conf.OpenRoot(target)
	if err != nil {
		return "", err
	}
	defer root.Close()
	list := usual
	if asked != "" {
		list = []string{asked}
	}
	for _, p := range list {
		f, err := root.Open(p, unix.O_PATH)
		if err != nil {
			continue
		}
		info, err := f.Stat()
		f.Close()
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("cannot use the root file system: there is no program %s on it; name one by init=", strings.Join(list, ", "))
}
