package config

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// WatchOptions say what to watch. Zero durations mean the defaults.
type WatchOptions struct {
	Dirs   []string      // the search directories; they need not exist
	Settle time.Duration // quiet time after a change before it is told; 150 ms
	Poll   time.Duration // period of looking when inotify cannot be had; 2 s
	// Log is told, as fmt.Sprintf's arguments, what went wrong and what is done
	// about it. It must not block. Nil: nobody is told.
	Log func(format string, args ...any)
}

const (
	defaultSettle = 150 * time.Millisecond
	defaultPoll   = 2 * time.Second
	// maxUnsettled is how many settle times a steady stream of changes may put
	// off the telling.
	maxUnsettled = 10
	// retryInotify is how many polls lie between two tries to go back to inotify.
	retryInotify = 15
)

// Watch tells when something changed that Load would read: a file or drop-in
// written, added, removed or replaced, a directory or a symbolic link on the way
// to it made, removed, renamed or pointed elsewhere. A value on the channel
// means "read everything again"; values that nobody has taken yet merge into
// one. The first thing on the channel comes after the first change: what is there
// when Watch returns is the caller's to read, and no change after that return
// is missed. Changes that settle into what was before may be told too.
//
// Where inotify is at its limits (inotify(7): max_user_watches,
// max_user_instances) it looks every Poll instead and says so through Log. The
// channel is closed when ctx is over; then no goroutine and no descriptor is left.
// It is an error to watch no directory at all.
func Watch(ctx context.Context, o WatchOptions) (<-chan struct{}, error) {
	if len(o.Dirs) == 0 {
		return nil, errors.New("cannot watch the unit directories: there are none")
	}
	return follow(ctx, &watcher{WatchOptions: o, what: "the unit directories", look: survey, print: fingerprint})
}

func follow(ctx context.Context, w *watcher) (<-chan struct{}, error) {
	if w.Settle <= 0 {
		w.Settle = defaultSettle
	}
	if w.Poll <= 0 {
		w.Poll = defaultPoll
	}
	if w.Log == nil {
		w.Log = func(string, ...any) {}
	}
	w.out = make(chan struct{}, 1)
	w.arm()
	go w.run(ctx)
	return w.out, nil
}

// watcher is owned by the goroutine of run, once that is started.
type watcher struct {
	WatchOptions
	out chan struct{}

	what  string                  // is watched, for people
	look  func([]string) interest // lists what decides what is there
	print func([]string) string   // digests it
	every bool                    // any entry of a directory counts, and not only what relevant accepts

	notify *fsnotify.Watcher // nil: polling
	heard  interest          // what notify listens to
	seen   string            // polling: the last fingerprint
	told   bool              // the reason for polling has been logged
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.out)
	defer func() {
		if w.notify != nil {
			w.notify.Close()
		}
	}()
	for ctx.Err() == nil {
		if w.notify == nil {
			w.poll(ctx)
		} else {
			w.listen(ctx)
		}
	}
}

// listen waits for a change, lets it settle, arms anew and tells.
func (w *watcher) listen(ctx context.Context) {
	var settled, late <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.notify.Events:
			if ok && !w.concerns(e) {
				continue
			}
		case err, ok := <-w.notify.Errors:
			if ok && !errors.Is(err, fsnotify.ErrEventOverflow) {
				w.Log("cannot follow changes of %s: %v; everything is looked at again", w.what, err)
			}
		case <-settled:
			w.change()
			return
		case <-late:
			w.change()
			return
		}
		settled = time.After(w.Settle)
		if late == nil {
			late = time.After(maxUnsettled * w.Settle)
		}
	}
}

// concerns tells whether an event is about an entry we read. What happens to a
// watched directory itself is heard from its parent, which is watched too.
func (w *watcher) concerns(e fsnotify.Event) bool {
	name := filepath.Clean(e.Name)
	dir, entry := filepath.Dir(name), filepath.Base(name)
	return w.heard.wants(dir, entry) || w.every && w.heard[dir][anyEntry]
}

// change arms first and tells then: what happens while the reader reads is
// already listened to.
func (w *watcher) change() {
	w.arm()
	w.tell()
}

func (w *watcher) tell() {
	select {
	case w.out <- struct{}{}:
	default: // the reader has not begun to read yet
	}
}

// arm listens to the directories as they are now, with a fresh inotify
// instance: a directory that was renamed or replaced would leave a watch behind
// that reports under a path which is now another's. Where that is impossible it
// goes over to polling.
func (w *watcher) arm() {
	if w.notify != nil {
		w.notify.Close()
		w.notify = nil
	}
	err := w.subscribe()
	if err == nil {
		if w.told {
			w.Log("inotify is available again: changes of %s are noticed at once", w.what)
			w.told = false
		}
		return
	}
	if !w.told {
		w.Log("cannot listen to changes of %s: %v; looking every %s instead (raise fs.inotify.max_user_watches and fs.inotify.max_user_instances)", w.what, err, w.Poll)
		w.told = true
	}
	w.seen = w.print(w.Dirs)
}

func (w *watcher) subscribe() error {
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	// A directory may change between the survey and the watch on it. So survey
	// again afterwards, until both agree; who renames directories faster than
	// this is heard through the watches that are there already.
	var heard interest
	for range maxUnsettled {
		next := w.look(w.Dirs)
		if heard != nil && next.equal(heard) {
			break
		}
		// Parents first: a directory replaced meanwhile is then either the one
		// listened to, or its replacing is heard.
		for _, dir := range slices.Sorted(maps.Keys(next)) {
			if _, there := heard[dir]; there {
				continue
			}
			if err := n.Add(dir); err != nil && !gone(err) {
				n.Close()
				return err
			}
		}
		heard = next
	}
	w.notify, w.heard = n, heard
	return nil
}

// poll looks at the files every now and then until inotify can be had.
func (w *watcher) poll(ctx context.Context) {
	tick := time.NewTicker(w.Poll)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before := w.seen
		if n%retryInotify == 0 {
			w.arm()
		}
		if now := w.print(w.Dirs); now != before {
			w.seen = now
			w.tell()
		}
		if w.notify != nil {
			return
		}
	}
}
