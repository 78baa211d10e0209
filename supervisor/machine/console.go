package machine

import (
	"context"
	"errors"

	"berth/supervisor/terminal"

	"golang.org/x/sys/unix"
)

// setUpConsole makes the settings of /dev/console sane. It is opened without
// waiting for a carrier, and becomes nobody's controlling terminal.
func setUpConsole(context.Context, *Boot) error {
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
			return nil // a machine without any console
		}
		return err
	}
	defer unix.Close(fd)
	return terminal.Sane(fd)
}
