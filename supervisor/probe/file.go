package probe

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// File tells whether the path exists in the container, of whatever kind; err is
// nil if it does. The path is resolved inside the container's root and by it, as
// its main process would, and nothing is opened for reading, so that neither a
// link nor a FIFO does anything. A file system of the container's own that never
// answers holds one thread, until it does; further looks fail meanwhile.
func File(ctx context.Context, t Target, path string) error {
	select {
	case t.Looks <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("cannot look for %s: an earlier look has not come back", path)
	}
	result := make(chan error, 1)
	go func() {
		err := look(t, path)
		<-t.Looks
		result <- err
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("cannot look for %s: %w", path, plain(ctx.Err()))
	}
}

func look(t Target, path string) error {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", t.PID), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open the container's root: %w", err)
	}
	defer unix.Close(root)
	// The pid was not another process's if its pidfd still knows it.
	if err := t.Use(func(fd int) error { return unix.PidfdSendSignal(fd, 0, nil, 0) }); err != nil {
		return errors.New("the main process has ended")
	}
	fd, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s does not exist", path)
	case err != nil:
		return fmt.Errorf("cannot look for %s: %w", path, err)
	}
	unix.Close(fd)
	return nil
}
