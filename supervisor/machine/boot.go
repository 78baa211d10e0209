package machine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"berth/supervisor/machine/cmdline"

	"go.uber.org/zap"
)

// Duty is one thing that a boot does before units are started.
type Duty struct {
	Name string // in the record, the log and the documentation
	Why  string
	// Needed tells what follows when it fails: the emergency shell, after which
	// the boot goes on; otherwise a line in the log.
	Needed bool
	// Container tells whether PID 1 of a container does it too. Failing there is
	// no error: a container has what its maker wanted it to have.
	Container bool
	// Do does it. It returns when it is done, or ctx is. Faults that hold nothing
	// up are told by Note; an error is what keeps the machine from being as it
	// should. It runs on a goroutine of the supervisor, one duty at a time.
	Do func(ctx context.Context, b *Boot) error
}

// Boot is what duties know and share. It belongs to the goroutine that runs them.
type Boot struct {
	Place   Place
	Options cmdline.Options
	// Line is the text that Options were made of.
	Line string
	// RuntimeDir and StateDir are the daemon's; the latter may not exist yet, be
	// on a file system that is not mounted yet, or be read-only.
	RuntimeDir, StateDir string
	Log                  *zap.Logger
	// Life ends with the supervisor: what a duty leaves behind it, such as mounts
	// whose devices are missing yet, goes by this and not by the duty's context.
	Life context.Context
	// Emergency runs the emergency shell and returns when the boot shall go on.
	Emergency func(ctx context.Context, why string) error
	// FreshIdentity: the machine ID is of this boot, so that the image may be the
	// copy of another machine's.
	FreshIdentity bool

	notes []string
	// hotplugs: modules are loaded for devices that appear.
	hotplugs bool
}

// Note tells of a fault that holds nothing up: a line for the log and the record.
func (b *Boot) Note(text string) {
	if len(b.notes) < maxNotes {
		b.notes = append(b.notes, text)
	}
}

// maxNotes bounds what one duty can say, whatever the files say that it reads.
const maxNotes = 100

// Begin is when the parts of a boot before the supervisor's own began, on
// CLOCK_BOOTTIME; 0: not known.
type Begin struct {
	Init, Supervisor time.Duration
}

// maxTries is how often a duty that is needed is begun.
const maxTries = 3

// Run does the duties, unless that was done since PID 1 was started: a
// supervisor that takes over from another does only those that were not begun. A
// duty over which a supervisor has died is not tried again, or one that is needed
// not more than three times, so that it can keep no machine from booting. What
// each took is written to the record in
// RuntimeDir. It fails only when ctx is done.
func Run(ctx context.Context, b *Boot, duties []Duty, begin Begin) error {
	if b.Place == Service {
		return nil
	}
	book, past, err := openBook(b.RuntimeDir, begin)
	if err != nil {
		// Duties are more than the record of them.
		b.Log.Error("cannot keep the record of the boot", zap.Error(err))
	}
	defer book.close()
	if past.Done {
		return nil
	}
	for _, d := range duties {
		if b.Place != Machine && (b.Place != Container || !d.Container) {
			continue
		}
		begun, over := past.tries(d.Name)
		if over {
			continue
		}
		if begun >= maxTries || begun > 0 && !d.Needed {
			b.Log.Error("an earlier supervisor ended during a duty of the boot, going on without it", zap.String("duty", d.Name))
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		book.perform(ctx, b, d)
	}
	book.finish()
	return nil
}

// perform does one duty and what follows from its failure.
func (k *book) perform(ctx context.Context, b *Boot, d Duty) {
	b.notes = nil
	span := Span{Name: d.Name, Begin: bootTime()}
	k.write(line{Span: &span})
	err := d.Do(ctx, b)
	if err != nil && b.Place == Container {
		b.Log.Debug("a duty of the boot cannot be done in this container", zap.String("duty", d.Name), zap.Error(err))
		err = nil
	}
	span.End = bootTime()
	span.Notes = b.notes
	if err != nil {
		span.Error = err.Error()
	}
	k.write(line{Span: &span})
	took := zap.Duration("took", span.End-span.Begin)
	for _, n := range span.Notes {
		b.Log.Warn(n, zap.String("duty", d.Name))
	}
	switch {
	case ctx.Err() != nil: // told by who has ended it
	case err == nil:
		b.Log.Debug("done", zap.String("duty", d.Name), took)
	case !d.Needed:
		b.Log.Error("cannot do a duty of the boot, going on without it", zap.String("duty", d.Name), took, zap.Error(err))
	default:
		b.Log.Error("cannot do a duty of the boot", zap.String("duty", d.Name), took, zap.Error(err))
		k.emergency(ctx, b, fmt.Sprintf("The duty %q of the boot failed: %s", d.Name, strings.TrimSpace(err.Error())))
	}
}

// emergency runs the emergency shell, which has a span of its own: nobody wants
// to take the time of a person at the console for that of fsck.
func (k *book) emergency(ctx context.Context, b *Boot, why string) {
	span := Span{Name: "emergency", Begin: bootTime()}
	err := b.Emergency(ctx, why)
	span.End = bootTime()
	if err != nil {
		span.Error = err.Error()
	}
	k.write(line{Span: &span})
	switch {
	case ctx.Err() != nil:
	case err != nil:
		b.Log.Error("cannot run the emergency shell, going on without it", zap.Error(err))
	default:
		b.Log.Warn("the boot goes on after the emergency shell")
	}
}
