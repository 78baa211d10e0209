package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// clockFile is what was last known to be the time: when it was changed last.
const clockFile = "clock"

// setClock sets a clock that the kernel has not set: it does so itself where the
// driver of the hardware clock is built in (CONFIG_RTC_HCTOSYS).
func setClock(_ context.Context, b *Boot) error {
	made := time.Time{}
	if info, err := os.Stat("/proc/self/exe"); err == nil {
		made = info.ModTime()
	}
	now := time.Now()
	if !now.Before(made) && now.After(time.Unix(yearAfterEpoch, 0)) {
		return nil
	}
	hardware, err := hardwareClock()
	if err != nil {
		b.Note("cannot read the hardware clock: " + err.Error())
	}
	if hardware.After(now) {
		now = hardware
	}
	return stepClock(b, later(now, made))
}

// yearAfterEpoch is where the clock of a machine that has none does not get by
// counting from 1970.
const yearAfterEpoch = 366 * 24 * 60 * 60

// raiseClock sees that the clock does not stand before the time at which the
// machine was last up.
func raiseClock(_ context.Context, b *Boot) error {
	info, err := os.Stat(filepath.Join(b.StateDir, clockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return stepClock(b, info.ModTime())
}

// stepClock sets the clock if it stands before that.
func stepClock(b *Boot, floor time.Time) error {
	now := time.Now()
	if !now.Before(floor) {
		return nil
	}
	t := unix.NsecToTimespec(floor.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &t); err != nil {
		return os.NewSyscallError("clock_settime", err)
	}
	b.Note(fmt.Sprintf("the clock stood at %s and was set to %s, the latest time known", now.UTC().Format(time.RFC3339), floor.UTC().Format(time.RFC3339)))
	return nil
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// hardwareClock reads the first hardware clock (rtc(4)), in UTC.
func hardwareClock() (time.Time, error) {
	fd, err := unix.Open("/dev/rtc0", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return time.Time{}, &os.PathError{Op: "open", Path: "/dev/rtc0", Err: err}
	}
	defer unix.Close(fd)
	t, err := unix.IoctlGetRTCTime(fd)
	if err != nil {
		return time.Time{}, os.NewSyscallError("RTC_RD_TIME", err)
	}
	return time.Date(int(t.Year)+1900, time.Month(t.Mon+1), int(t.Mday), int(t.Hour), int(t.Min), int(t.Sec), 0, time.UTC), nil
}

// SaveClock notes the time in the state directory: the next boot's clock does not
// stand before it, whatever the hardware says. To be called now and then, and at
// shutdown.
func SaveClock(stateDir string) error {
	path := filepath.Join(stateDir, clockFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Chtimes(path, time.Time{}, time.Now())
	}
	if err != nil {
		return fmt.Errorf("cannot note the time for the next boot: %w", err)
	}
	return nil
}
