package runtime

import (
	"context"
	"fmt"
	"time"

	"berth/isolate/cgroup/nsinit"
	"berth/isolate/cgroup/ocigroup"
)

// Stats tells what a container has used. It must not have stopped.
func (rt *Runtime) Stats(id string) (*nsinit.Event, error) {
	r, err := rt.store.read(id)
	if err != nil {
		return nil, err
	}
	if err := rt.checkRunning(r); err != nil {
		return nil, err
	}
	var event *nsinit.Event
	err = rt.withGroup(r, func(g *ocigroup.Group) error {
		stats, err := g.Stats()
		if err == nil {
			event = nsinit.NewEvent(id, stats, nil)
		}
		return err
	})
	return event, err
}

func (rt *Runtime) checkRunning(r *Record) error {
	status, pidfd, err := rt.status(r)
	if err != nil {
		return err
	}
	closeFD(pidfd)
	if status == Stopped {
		return fmt.Errorf("container with id %s is not running", r.ID)
	}
	return nil
}

// Events tells what happens to a container until it has stopped: what it has
// used, at once and then after each interval, and when the kernel has killed a
// process of it for lack of memory. It ends with the first error of emit.
func (rt *Runtime) Events(id string, interval time.Duration, emit func(*nsinit.Event) error) error {
	r, status, pidfd, err := rt.look(id)
	if err != nil {
		return err
	}
	defer closeFD(pidfd)
	if status == Stopped || pidfd < 0 {
		return fmt.Errorf("container with id %s is not running", id)
	}
	return rt.withGroup(r, func(g *ocigroup.Group) error {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		kills, err := g.OOMKills()
		if err != nil {
			return err
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for !awaitEnd(pidfd, time.Hour) {
			}
		}()
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		ooms := watchOOM(ctx, g, kills)
		for {
			stats, err := g.Stats()
			if err == nil {
				err = emit(nsinit.NewEvent(id, stats, nil))
			}
			for wait := true; wait && err == nil; {
				select {
				case <-ended:
					return lastOOM(g, id, kills, emit)
				case kills = <-ooms:
					err = emit(&nsinit.Event{Type: "oom", ID: id})
				case <-ticker.C:
					wait = false
				}
			}
			if err != nil {
				return err
			}
		}
	})
}

// watchOOM gives the number of OOM kills each time it has grown.
func watchOOM(ctx context.Context, g *ocigroup.Group, seen uint64) <-chan uint64 {
	out := make(chan uint64)
	go func() {
		for {
			n, err := g.WaitOOM(ctx, seen)
			if err != nil {
				return // the caller has enough, or the group has gone
			}
			seen = n
			select {
			case out <- n:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// lastOOM tells of a kill that the container did not survive.
func lastOOM(g *ocigroup.Group, id string, seen uint64, emit func(*nsinit.Event) error) error {
	if n, err := g.OOMKills(); err == nil && n > seen {
		return emit(&nsinit.Event{Type: "oom", ID: id})
	}
	return nil
}
