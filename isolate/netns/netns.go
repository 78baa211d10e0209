// Package netns does something in the network namespace of a container.
package netns

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// In has a thread enter a network namespace, by setns(2) in enter, do something there,
// and come back. What do makes, such as a socket, stays in that namespace. The error
// is that of do, or tells that the namespace cannot be entered: then do is not called.
func In(enter, do func() error) error {
	done := make(chan error)
	go func() { done <- in(enter, do) }() // its thread may have to end with it
	return <-done
}

// in stays locked to its thread, and its goroutine has to end, when that cannot come
// back. The runtime makes no new thread out of a locked one, so none inherits the
// namespace.
func in(enter, do func() error) error {
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cannot open the network namespace to come back to: %w", err)
	}
	defer unix.Close(own)
	if err := enter(); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cannot enter the container's network namespace: %w", err)
	}
	err = do()
	if unix.Setns(own, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err
}
