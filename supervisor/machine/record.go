package machine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Span is a part of the boot. Times are on CLOCK_BOOTTIME, the time since the
// kernel's start.
type Span struct {
	Name  string        `json:"name"`
	Begin time.Duration `json:"begin"`
	End   time.Duration `json:"end,omitempty"` // 0: not finished
	Error string        `json:"error,omitempty"`
	Notes []string      `json:"notes,omitempty"`
}

// Record is what is known of this boot, up to the start of the first unit.
type Record struct {
	// Spans are in the order in which they began: "kernel" (not after a soft
	// reboot, which has none), the parts of an
	// initramfs that berthd was the init of, each with "initramfs/" before its
	// name, "reaper" (from the start of PID 1 to that of its supervisor),
	// "supervisor" (from there to the first duty), and the duties.
	Spans []Span `json:"spans"`
	// Done: all duties have been begun and are over.
	Done bool `json:"done"`
}

func (r *Record) span(name string, begin time.Duration) *Span {
	for i := range r.Spans {
		if s := &r.Spans[i]; s.Name == name && s.Begin == begin {
			return s
		}
	}
	return nil
}

// tries tells how often a part was begun, and whether it was ever over.
func (r *Record) tries(name string) (begun int, over bool) {
	for _, s := range r.Spans {
		if s.Name == name {
			begun, over = begun+1, over || s.End != 0
		}
	}
	return begun, over
}

// The record is a file of JSON lines in the runtime directory, written as things
// happen, so that it is right whenever the supervisor ends.
const (
	recordFile = "boot.json"
	formerFile = "boot.initramfs.json"
)

// line is one of them: the first tells which boot it is, each other one of the
// rest. A span is written twice, when it begins and when it is over.
type line struct {
	Boot string `json:"boot,omitempty"`
	Span *Span  `json:"span,omitempty"`
	Done bool   `json:"done,omitempty"`
}

// book writes the record; nil writes nothing.
type book struct{ file *os.File }

// openBook goes on with the record of this boot, or begins one.
func openBook(dir string, begin Begin) (*book, *Record, error) {
	past := &Record{}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, past, err
	}
	path, boot := filepath.Join(dir, recordFile), identity(begin)
	text, err := os.ReadFile(path)
	fresh, again := true, false
	if err == nil {
		var of string
		past, of = parseRecord(text)
		fresh, again = of != boot, sameKernel(of, boot)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, past, err
	}
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE | unix.O_NOFOLLOW
	if fresh {
		flags |= os.O_TRUNC
		past = &Record{}
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return nil, past, err
	}
	k := &book{f}
	if fresh {
		now := bootTime()
		k.write(line{Boot: boot})
		from := time.Duration(0)
		if former, err := os.ReadFile(filepath.Join(dir, formerFile)); err == nil {
			r, _ := parseRecord(former)
			for _, s := range r.Spans {
				if s.Name == "kernel" {
					k.write(line{Span: &s})
				} else {
					s.Name = "initramfs/" + s.Name
					k.write(line{Span: &s})
				}
				from = max(from, s.End)
			}
		}
		for _, s := range [...]Span{{Name: "kernel", End: begin.Init}, {Name: "reaper", Begin: begin.Init, End: begin.Supervisor}, {Name: "supervisor", Begin: begin.Supervisor, End: now}} {
			if s.End > 0 && (s.Name != "kernel" || from == 0 && !again) {
				k.write(line{Span: &s})
			}
		}
	}
	return k, past, nil
}

// write adds a line. A record that cannot be written holds nothing up.
func (k *book) write(l line) {
	if k == nil {
		return
	}
	if text, err := json.Marshal(l); err == nil {
		_, _ = k.file.Write(append(text, '\n'))
	}
}

func (k *book) finish() { k.write(line{Done: true}) }

func (k *book) close() {
	if k != nil {
		_ = k.file.Close()
	}
}

// parseRecord reads a record and tells which boot it is of. Lines that are not
// whole are passed over: the last one may be half written.
func parseRecord(text []byte) (r *Record, boot string) {
	r = &Record{}
	for t := range bytes.Lines(text) {
		var l line
		if json.Unmarshal(t, &l) != nil {
			continue
		}
		switch {
		case l.Boot != "":
			boot = l.Boot
		case l.Done:
			r.Done = true
		case l.Span != nil:
			if s := r.span(l.Span.Name, l.Span.Begin); s != nil {
				*s = *l.Span
			} else {
				r.Spans = append(r.Spans, *l.Span)
			}
		}
	}
	return r, boot
}

// ReadRecord reads the record of the boot from the daemon's runtime directory.
// Where berthd is no PID 1 there is none, and the error is fs.ErrNotExist.
func ReadRecord(runtimeDir string) (*Record, error) {
	text, err := os.ReadFile(filepath.Join(runtimeDir, recordFile))
	if err != nil {
		return nil, fmt.Errorf("cannot read the record of the boot: %w", err)
	}
	r, _ := parseRecord(text)
	return r, nil
}

// HandOver keeps the record for the berthd on the root file system that an
// initramfs is about to hand over to, which shares the runtime directory, does its
// own duties and has those of the initramfs in its record.
func HandOver(runtimeDir string) error {
	err := os.Rename(filepath.Join(runtimeDir, recordFile), filepath.Join(runtimeDir, formerFile))
	if err != nil {
		return fmt.Errorf("cannot keep the record of the boot: %w", err)
	}
	return nil
}

// identity tells this life of PID 1 apart from any other, even where the runtime
// directory outlives it, as with a soft reboot or in a container that is started
// again: the kernel's boot, and when PID 1 began, else when its process was started
// (proc_pid_stat(5), field 22).
func identity(begin Begin) string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if begin.Init > 0 {
		return strings.TrimSpace(string(boot)) + "/" + begin.Init.String()
	}
	stat, _ := os.ReadFile("/proc/1/stat")
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	start := ""
	if len(fields) > 19 {
		start = fields[19]
	}
	return strings.TrimSpace(string(boot)) + "/" + start
}

// sameKernel tells whether two identities are of one start of the kernel: then
// PID 1 began anew, by a soft reboot.
func sameKernel(a, b string) bool {
	a, _, _ = strings.Cut(a, "/")
	b, _, _ = strings.Cut(b, "/")
	return a == b
}

// bootTime is now on CLOCK_BOOTTIME.
func bootTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // fails only for a clock that is not there
	return time.Duration(t.Nano())
}
