// Package hwdog is the machine's watchdog, a device that resets the machine when
// it is not fed in time (the kernel's Documentation/watchdog/watchdog-api.rst).
//
// The supervisor opens it, feeds it from its loop, and has the reaper keep the
// descriptor: the device stays armed whoever dies, and the next supervisor feeds
// on. The last stage of a shutdown gets the same descriptor, so that a machine
// that hangs on its way down is reset too.
package hwdog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Path is the first watchdog device. (/dev/watchdog is the same one.)
	Path = "/dev/watchdog0"
	// Stored is the name under which the last stage finds the descriptor
	// (reaper.Kept), and what follows reaper.KeptPrefix in the reaper's store.
	Stored = "watchdog"
)

// Device is an open watchdog, which runs. Its methods are for one goroutine at a time.
type Device struct {
	file    *os.File
	timeout time.Duration
	name    string
}

// Open opens the device at path, which arms it, and sets its timeout, rounded up
// to whole seconds; Timeout tells what the driver took. The errors say what to
// try. The descriptor is close-on-exec and belongs to the Device.
func Open(path string, timeout time.Duration) (*Device, error) {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the watchdog: %w%s", err, hint(err))
	}
	d, err := Adopt(file)
	if err == nil {
		err = d.SetTimeout(timeout)
	}
	if err != nil {
		// Nothing is to be reset because of what this process could not do.
		_ = (&Device{file: file}).Disarm()
		return nil, err
	}
	return d, nil
}

// hint says what to try.
func hint(err error) string {
	switch {
	case errors.Is(err, unix.EBUSY):
		return " (another process has it: two cannot feed one; stop that, or leave hardware-watchdog out)"
	case errors.Is(err, fs.ErrNotExist):
		return " (is there a watchdog? its driver may be a module that is not loaded; softdog is one without hardware)"
	case errors.Is(err, fs.ErrPermission):
		return " (it is root's)"
	}
	return ""
}

// Adopt makes a Device of an open watchdog, which it takes over unless it fails:
// when the file is no watchdog.
func Adopt(file *os.File) (*Device, error) {
	d := &Device{file: file}
	var info *unix.WatchdogInfo
	err := d.control(func(fd int) (err error) {
		info, err = unix.IoctlGetWatchdogInfo(fd)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s is no watchdog: %w", file.Name(), err)
	}
	d.name = unix.ByteSliceToString(info.Identity[:])
	return d, d.readTimeout()
}

// Name is what the driver calls itself.
func (d *Device) Name() string { return d.name }

// Timeout is what the driver has set, in whole seconds.
func (d *Device) Timeout() time.Duration { return d.timeout }

// File is the descriptor, for the reaper's store. It stays the Device's.
func (d *Device) File() *os.File { return d.file }

// SetTimeout sets the timeout, rounded up to whole seconds. A driver may take
// another one, and one that cannot be set at all is left as it is: Timeout tells.
func (d *Device) SetTimeout(timeout time.Duration) error {
	seconds := int((timeout + time.Second - 1) / time.Second)
	err := d.control(func(fd int) error {
		return unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, seconds)
	})
	// EINVAL: out of the driver's range.
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("cannot set the watchdog's timeout to %d seconds: %w", seconds, err)
	}
	return d.readTimeout()
}

func (d *Device) readTimeout() error {
	err := d.control(func(fd int) error {
		seconds, err := unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT)
		d.timeout = time.Duration(seconds) * time.Second
		return err
	})
	if err == nil && d.timeout <= 0 {
		err = errors.New("it has none")
	}
	if err != nil {
		return fmt.Errorf("cannot learn the watchdog's timeout: %w", err)
	}
	return nil
}

// Feed puts the reset off for another timeout.
func (d *Device) Feed() error {
	if err := d.control(unix.IoctlWatchdogKeepalive); err != nil {
		return fmt.Errorf("cannot feed the watchdog: %w", err)
	}
	return nil
}

// Disarm stops the device and closes it, the magic way: with a V written last. A
// driver that was told to go on for ever (nowayout) does, and resets the machine;
// the kernel's log then says that the watchdog did not stop. The device is closed
// whatever is returned. Whoever else holds the descriptor has to close it too.
func (d *Device) Disarm() error {
	_, err := d.file.Write([]byte("V"))
	if closed := d.file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("cannot stop the watchdog: %w", err)
	}
	return nil
}

// control calls do with the descriptor, which stays open meanwhile.
func (d *Device) control(do func(fd int) error) error {
	raw, err := d.file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}
