package fstab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"berth/supervisor/machine/blkid"
	"berth/supervisor/machine/uevent"

	"golang.org/x/sys/unix"
)

// Devices finds block devices and tells when there may be new ones. Its methods
// may be called from any goroutine.
type Devices struct {
	mu      sync.Mutex
	changed chan struct{} // closed at the next event
	err     error
}

// Watch listens to the kernel until ctx ends.
func Watch(ctx context.Context) *Devices {
	d := &Devices{changed: make(chan struct{})}
	events, err := uevent.Listen()
	if err != nil {
		d.err = err
		return d
	}
	go func() {
		defer events.Close()
		for {
			e, err := events.Next(ctx)
			if err == nil && !e.Lost() && e.Env["SUBSYSTEM"] != "block" {
				continue
			}
			d.mu.Lock()
			close(d.changed)
			d.changed = make(chan struct{})
			d.err = err
			d.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return d
}

func (d *Devices) next() (<-chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed, d.err
}

// probeAgain is how often devices are looked at anew without an event: what is on
// one can change without any, as when somebody makes a file system.
const probeAgain = 5 * time.Second

// Wait gives the device that a source means, as soon as there is one. missing is
// called once if it is not there at first. It ends with ctx.
func (d *Devices) Wait(ctx context.Context, source string, missing func()) (*blkid.Device, error) {
	for first := true; ; first = false {
		changed, broken := d.next()
		device, err := Find(source)
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOMEDIUM) {
			return device, err
		}
		if first && missing != nil {
			missing()
		}
		if broken != nil {
			changed = nil // then only time tells
		}
		again := time.NewTimer(probeAgain)
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil, err
		}
		again.Stop()
	}
}

// Find gives the device that a source means now: a path, or a tag.
func Find(source string) (*blkid.Device, error) {
	if tag, ok := blkid.ParseTag(source); ok {
		if strings.HasPrefix(source, "/dev/") {
			if d, err := blkid.At(source); err == nil { // somebody made the link
				return d, nil
			}
		}
		return blkid.Find(tag)
	}
	d, err := blkid.At(source)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no device %s: %w", source, fs.ErrNotExist)
	}
	return d, err
}
