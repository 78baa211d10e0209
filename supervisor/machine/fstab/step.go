package fstab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"berth/supervisor/machine/blkid"
	"berth/supervisor/machine/conf"
	"berth/supervisor/machine/fsck"
	"berth/supervisor/machine/mount"

	"golang.org/x/sys/unix"
)

// do does a step whose turn has come.
func (j *Job) do(s *Step, t *task) error {
	if s.Network {
		t.settle()
		return j.retry(s)
	}
	source := s.Source
	var device *blkid.Device
	if root := s.Target == "/" && mount.At(j.path("/")); s.Device && root {
		// It is mounted, whatever it is on: that is not waited for.
		d, err := Find(s.Source)
		if err != nil {
			j.cfg.Note(fmt.Sprintf("the root file system is not checked: %v", err))
		}
		device = d
	} else if s.Device {
		var err error
		if device, err = j.wait(s, t); err != nil {
			return err
		}
		source = device.Path
	}
	if s.Entry.Swap() {
		return j.swapOn(s, source)
	}
	return j.mount(s, source, device)
}

// wait waits for the step's device as long as the step says.
func (j *Job) wait(s *Step, t *task) (*blkid.Device, error) {
	ctx := j.ctx
	if s.Timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, s.Timeout)
		defer cancel()
		ctx = limited
	}
	d, err := j.devices.Wait(ctx, s.Source, func() {
		if s.Wanted {
			t.settle()
		}
		j.cfg.Note(fmt.Sprintf("waiting for the device %s for %s", s.Source, s.name()))
	})
	if errors.Is(err, fs.ErrNotExist) && s.Timeout > 0 {
		err = fmt.Errorf("%w (waited %s)", err, s.Timeout)
	}
	return d, err
}

// retry mounts what needs a network, which units bring up: for as long as a
// device would be waited for, at growing intervals.
func (j *Job) retry(s *Step) error {
	deadline := time.Now().Add(s.Timeout)
	for pause := time.Second; ; pause = min(2*pause, 15*time.Second) {
		err := j.mount(s, s.Source, nil)
		if err == nil || s.Timeout > 0 && time.Now().Add(pause).After(deadline) {
			return err
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-j.ctx.Done():
			again.Stop()
			return err
		}
	}
}

// api are the kernel's file systems, which PID 1 has mounted before: an entry for
// one of them changes its options.
var api = map[string]bool{"proc": true, "sysfs": true, "devtmpfs": true, "devpts": true, "cgroup2": true, "tmpfs": true}

// mount mounts the step's source, on a device that it may be on.
func (j *Job) mount(s *Step, source string, device *blkid.Device) error {
	target := j.path(s.Target)
	m := &mount.Mount{Source: source, Target: target, Type: s.Type, Options: s.Mount}
	if m.Options.Bind && j.cfg.Root != "/" {
		m.Source = j.path(source)
	}
	if mount.At(target) && !s.Mount.Remount {
		return j.present(s, m, device)
	}
	if err := j.point(s, m); err != nil {
		return err
	}
	if m.Type == "auto" && device != nil {
		switch kind := device.Info.Type; {
		case device.Info.Mountable():
			m.Type = kind
		case kind != "":
			return fmt.Errorf("on %s is %s, which cannot be mounted", source, kind)
		}
	}
	if device != nil && s.Check {
		if err := j.check(s, source, m.Type, device.Disk); err != nil {
			return err
		}
	}
	return j.mountTypes(s, m)
}

// point makes the mount point if it is missing.
func (j *Job) point(s *Step, m *mount.Mount) error {
	if exists(m.Target) {
		return nil
	}
	if info, err := os.Stat(m.Source); err == nil && s.Mount.Bind && !info.IsDir() {
		f, err := os.OpenFile(m.Target, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("cannot make the mount point %s: %w", s.Target, err)
		}
		return f.Close()
	}
	if err := os.MkdirAll(m.Target, s.Mkdir); err != nil {
		return fmt.Errorf("cannot make the mount point %s: %w", s.Target, err)
	}
	return nil
}

// mountTypes tries each type that the entry has, and loads what a type needs. A
// device that cannot be written to is mounted read-only.
func (j *Job) mountTypes(s *Step, m *mount.Mount) error {
	types := strings.Split(m.Type, ",")
	if m.Type == "auto" {
		if !m.Options.Bind && !m.Options.Remount {
			return fmt.Errorf("no file system is recognized on %s", m.Source)
		}
		types = []string{""}
	}
	var err error
	for _, kind := range types {
		m.Type = kind
		if kind != "" && kind != "none" && !m.Options.Bind {
			j.load(kind)
		}
		if err = m.Do(j.ctx); err == nil {
			return nil
		}
		if s.Device && (errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES)) && !m.Options.ReadOnly() {
			m.Options.Set |= unix.MOUNT_ATTR_RDONLY
			m.Options.FS = append([]string{"ro"}, withoutRW(m.Options.FS)...)
			if m.Do(j.ctx) == nil {
				j.tell(conf.Problem{File: s.File, Line: s.Line, Minor: true, What: s.Target + " is mounted read-only: its device cannot be written to"})
				return nil
			}
		}
	}
	return err
}

func withoutRW(list []string) []string {
	var rest []string
	for _, word := range list {
		if word != "rw" {
			rest = append(rest, word)
		}
	}
	return rest
}

// load brings a file system's module in, unless the kernel has the type. A kernel
// that asks for it by itself finds no modprobe on a small machine.
func (j *Job) load(kind string) {
	known, err := os.ReadFile("/proc/filesystems")
	if err == nil {
		for line := range strings.Lines(string(known)) {
			if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == kind {
				return
			}
		}
	}
	if j.cfg.Module != nil {
		j.cfg.Module(j.ctx, "fs-"+kind)
	}
}

// present is for what is mounted already: the root file system is checked, if it
// can still be, and gets its options, as the kernel's own file systems do. All
// else is as somebody wants it.
func (j *Job) present(s *Step, m *mount.Mount, device *blkid.Device) error {
	var st unix.Statfs_t
	if err := unix.Statfs(m.Target, &st); err != nil {
		return err
	}
	root := s.Target == "/"
	if root && inPlace(st.Type) {
		j.cfg.Note("the entry of the root file system is left out: an overlay, or memory, is in its place")
		return nil
	}
	if root && s.Check && device != nil {
		if st.Flags&unix.ST_RDONLY == 0 {
			j.cfg.Note("the root file system is not checked: it is mounted for writing; boot with ro on the kernel command line")
		} else {
			kind := m.Type
			if kind == "auto" {
				kind = device.Info.Type
			}
			if err := j.check(s, device.Path, kind, device.Disk); err != nil {
				return err
			}
		}
	}
	if !root && !api[m.Type] || m.Options.Bind {
		return nil
	}
	m.Options.Remount = true
	if root && !m.Options.ReadOnly() {
		m.Options.Clear |= unix.MOUNT_ATTR_RDONLY
		m.Options.FS = append([]string{"rw"}, withoutRW(m.Options.FS)...)
	}
	if len(m.Options.FS) == 0 && m.Options.Set == 0 && m.Options.Clear == 0 {
		return nil
	}
	return m.Do(j.ctx)
}

// inPlace tells whether a root of this kind stands for the one that fstab names.
func inPlace(magic int64) bool {
	return magic == unix.OVERLAYFS_SUPER_MAGIC || magic == unix.TMPFS_MAGIC || magic == unix.RAMFS_MAGIC
}

// check has the file system checked when its turn has come.
func (j *Job) check(s *Step, device, kind, disk string) error {
	if !s.First {
		j.checks.first.Wait()
	}
	lock := j.checks.disk(disk)
	lock.Lock()
	defer lock.Unlock()
	r, err := fsck.Run(j.ctx, device, kind, j.cfg.Fsck)
	switch {
	case err != nil:
		return err
	case !r.Checked && j.cfg.Fsck.Mode != "skip":
		j.cfg.Note(fmt.Sprintf("%s is not checked: there is no program fsck.%s", device, kind))
	case r.Fixed:
		j.cfg.Note(fmt.Sprintf("the check of %s corrected errors: %s", device, oneLine(r.Output)))
	case r.Checked:
		j.cfg.Note(fmt.Sprintf("checked %s: %s", device, oneLine(r.Output)))
	}
	if r.Reboot {
		j.mu.Lock()
		j.reboot = true
		j.mu.Unlock()
		return errors.New("its check asks for a reboot")
	}
	return nil
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// advice tells what to try after a failure.
func advice(s *Step, err error) string {
	var bad *fsck.Error
	var path *fs.PathError
	switch {
	case errors.As(err, &bad):
		return "run fsck." + s.Type + " by hand, or boot with fsck.repair=yes"
	case s.Device && errors.Is(err, fs.ErrNotExist) && !errors.As(err, &path):
		if s.Wanted {
			return ""
		}
		return "look at /sys/class/block; write nofail if the machine can do without it"
	case errors.Is(err, unix.EROFS):
		return "make the directory when the image is made"
	case errors.Is(err, unix.ENODEV):
		return "look at /proc/filesystems; load or build in the module"
	}
	return ""
}
