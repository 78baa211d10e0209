package fstab

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWait: an event has devices looked at anew, long before it is time to.
func TestWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device")
	d := &Devices{changed: make(chan struct{})}
	missing := make(chan struct{})
	type result struct {
		path string
		err  error
	}
	got := make(chan result)
	go func() {
		device, err := d.Wait(t.Context(), path, func() { close(missing) })
		if err != nil {
			got <- result{err: err}
			return
		}
		got <- result{device.Path, nil}
	}()
	<-missing
	begun := time.Now()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	close(d.changed)
	d.changed = make(chan struct{})
	d.mu.Unlock()
	if r := <-got; r.err != nil || r.path != path || time.Since(begun) >= probeAgain {
		t.Errorf("%+v after %v", r, time.Since(begun))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Wait(ctx, path+"x", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestWatch: it listens until it is told to end, and says so then.
func TestWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := Watch(ctx)
	changed, err := d.next()
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for err == nil { // an event of this machine may come before
		<-changed
		changed, err = d.next()
	}
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
