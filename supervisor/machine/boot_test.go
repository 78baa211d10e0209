package machine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// booting gives a boot that counts its emergencies, and duties that note that they
// were done. A duty is a name, with "!" behind it for one that fails and is needed,
// "?" for one that fails, "c" in front for one of containers too.
func booting(t *testing.T, dir string, names ...string) (b *Boot, duties []Duty, done *[]string) {
	done = &[]string{}
	b = &Boot{Place: Machine, RuntimeDir: dir, Log: zap.NewNop()}
	b.Emergency = func(_ context.Context, why string) error {
		*done = append(*done, "emergency: "+why)
		return nil
	}
	for _, n := range names {
		name := strings.Trim(n, "!?")
		duties = append(duties, Duty{Name: name, Needed: strings.HasSuffix(n, "!"), Container: strings.HasPrefix(n, "c"), Do: func(_ context.Context, b *Boot) error {
			*done = append(*done, name)
			b.Note("noted by " + name)
			if n != name {
				return errors.New("broken")
			}
			return nil
		}})
	}
	return b, duties, done
}

func names(r *Record) (list []string) {
	for _, s := range r.Spans {
		list = append(list, s.Name)
	}
	return list
}

func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	b, duties, done := booting(t, dir, "one", "two?", "three!", "four")
	begin := Begin{Init: time.Second, Supervisor: 2 * time.Second}
	for range 2 { // the second supervisor finds all done
		if err := Run(t.Context(), b, duties, begin); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"one", "two", "three", `emergency: The duty "three" of the boot failed: broken`, "four"}; !slices.Equal(*done, want) {
		t.Errorf("done: %q, want %q", *done, want)
	}
	r, err := ReadRecord(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"kernel", "reaper", "supervisor", "one", "two", "three", "emergency", "four"}; !slices.Equal(names(r), want) || !r.Done {
		t.Errorf("the record has %q, done %t; want %q", names(r), r.Done, want)
	}
	for i, s := range r.Spans {
		if s.End < s.Begin || i > 0 && s.Begin < r.Spans[i-1].Begin {
			t.Errorf("%s: %v to %v", s.Name, s.Begin, s.End)
		}
	}
	if s := r.Spans[4]; s.Error != "broken" || len(s.Notes) != 1 {
		t.Errorf("two: %+v", s)
	}
}

// TestRunAgain: a supervisor that died over a duty does not do it again, and goes
// on with the next.
func TestRunAgain(t *testing.T) {
	dir := t.TempDir()
	b, duties, done := booting(t, dir, "one", "two", "three")
	two := duties[1].Do
	duties[1].Do = func(ctx context.Context, b *Boot) error {
		_ = two(ctx, b)
		panic("dies")
	}
	func() {
		defer func() { _ = recover() }()
		_ = Run(t.Context(), b, duties, Begin{})
	}()
	r, err := ReadRecord(dir)
	if err != nil {
		t.Fatal(err)
	}
	if begun, over := r.tries("two"); r.Done || begun != 1 || over {
		t.Fatalf("%+v", r)
	}
	// Its last line may be half written.
	f, err := os.OpenFile(filepath.Join(dir, recordFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("{\"span\":{\"na\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := Run(t.Context(), b, duties, Begin{}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"one", "two", "three"}; !slices.Equal(*done, want) {
		t.Errorf("done: %q, want %q", *done, want)
	}
}

// TestRunNeededAgain: a needed duty is done again, until it has been the end of
// three supervisors.
func TestRunNeededAgain(t *testing.T) {
	dir := t.TempDir()
	b, duties, done := booting(t, dir, "one", "two")
	duties[0].Needed = true
	one := duties[0].Do
	deaths := 0
	duties[0].Do = func(ctx context.Context, b *Boot) error {
		if deaths++; deaths == 3 {
			return one(ctx, b)
		}
		panic("dies")
	}
	try := func() {
		defer func() { _ = recover() }()
		_ = Run(t.Context(), b, duties, Begin{})
	}
	for range 3 {
		try()
	}
	if want := []string{"one", "two"}; !slices.Equal(*done, want) {
		t.Errorf("done: %q, want %q", *done, want)
	}
	dir = t.TempDir()
	b.RuntimeDir, *done, deaths = dir, nil, -100
	for range 4 {
		try()
	}
	if want := []string{"two"}; !slices.Equal(*done, want) || deaths != -97 {
		t.Errorf("done: %q, want %q after three deaths; %d", *done, want, deaths)
	}
}

// TestHandOver: the berthd on the root file system does its own duties, and its
// record has those of the initramfs.
func TestHandOver(t *testing.T) {
	dir := t.TempDir()
	b, duties, done := booting(t, dir, "one")
	if err := Run(t.Context(), b, duties, Begin{Init: time.Second, Supervisor: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if err := HandOver(dir); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), b, duties, Begin{Init: bootTime(), Supervisor: bootTime()}); err != nil {
		t.Fatal(err)
	}
	r, err := ReadRecord(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"kernel", "initramfs/reaper", "initramfs/supervisor", "initramfs/one", "reaper", "supervisor", "one"}; !slices.Equal(names(r), want) || len(*done) != 2 {
		t.Errorf("the record has %q, want %q; done: %q", names(r), want, *done)
	}
}

// TestSoftReboot: another life of PID 1 does its duties, whatever it finds.
func TestSoftReboot(t *testing.T) {
	dir := t.TempDir()
	b, duties, done := booting(t, dir, "one")
	for i := range 3 {
		if err := Run(t.Context(), b, duties, Begin{Init: time.Duration(1+i/2) * time.Second, Supervisor: 3 * time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := ReadRecord(dir); err != nil || len(*done) != 2 || !slices.Equal(names(r), []string{"reaper", "supervisor", "one"}) {
		t.Errorf("done: %q; %+v, %v", *done, r, err)
	}
}

// TestPlaces: a container does what is for containers, a failure there is none,
// and a service does nothing.
func TestPlaces(t *testing.T) {
	for place, want := range map[Place][]string{Service: nil, Container: {"cone", "ctwo"}} {
		b, duties, done := booting(t, t.TempDir(), "cone", "two", "ctwo!")
		b.Place = place
		if err := Run(t.Context(), b, duties, Begin{}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(*done, want) {
			t.Errorf("%v: %q, want %q", place, *done, want)
		}
	}
}

// TestUnwritableRecord: without a record the duties are done.
func TestUnwritableRecord(t *testing.T) {
	b, duties, done := booting(t, "/proc/none", "one")
	if err := Run(t.Context(), b, duties, Begin{}); err != nil || len(*done) != 1 {
		t.Errorf("%v, %q", err, *done)
	}
}

// TestDocumented holds the table in the documentation to the duties.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/pid1.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for _, d := range Duties() {
		rows.WriteString("| `" + d.Name + "` | " + d.Why)
		if d.Container {
			rows.WriteString(" In a container too.")
		}
		if d.Needed {
			rows.WriteString(" **Needed.**")
		}
		rows.WriteString(" |\n")
	}
	if !strings.Contains(string(page), rows.String()) {
		t.Errorf("the table in docs/pid1.md is to be\n%s", rows.String())
	}
}
