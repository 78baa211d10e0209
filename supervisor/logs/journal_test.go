package logs

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"berth/units"
)

var journaldLog = units.Log{Target: "journald"}

// read collects what a query gives.
func read(t *testing.T, m *Manager, q Query) []Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var entries []Entry
	for e, err := range m.Read(ctx, q) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

func texts(entries []Entry) (lines []string) {
	for _, e := range entries {
		lines = append(lines, e.Stream+" "+e.Text)
	}
	return lines
}

func TestJournald(t *testing.T) {
	j := startJournald(t)
	m := newManager(t, t.TempDir())
	s, w := newStreams(t, m, "web", units.Log{Target: "auto"})
	s.SetMainPID(os.Getpid())
	long := strings.Repeat("é", 100<<10/2) + "!"
	write(t, w.Stdout, "one\n\n<3>three\n"+long+"\nbin\x00\xff\x01ary\r\nlast without newline")
	_ = w.Stdout.Close()
	finish(t, s)
	j.sync(t)
	want := []Entry{
		{Priority: 6, Text: "one"}, {Priority: 6}, {Priority: 3, Text: "three"}, {Priority: 6, Text: long},
		{Priority: 6, Text: "bin\x00\xff\x01ary\r"}, {Priority: 6, Text: "last without newline"},
	}
	got := read(t, m, Query{Units: []string{"web"}, Lines: -1})
	for i := range got {
		if time.Since(got[i].Time) > time.Minute {
			t.Errorf("entry %d is from %s", i, got[i].Time)
		}
		got[i].Time = time.Time{}
	}
	for i := range want {
		want[i].Unit, want[i].Stream, want[i].Incarnation = "web", "stdout", 7
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	out, err := exec.Command("journalctl", "-q", "-u", "web", "-o", "cat", "-n", "1").CombinedOutput()
	if err != nil || string(out) != "last without newline\n" {
		t.Errorf("journalctl -u web: %q, %v", out, err)
	}
	out, err = exec.Command("journalctl", "-q", "-u", "web", "-o", "verbose", "-n", "1").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "OBJECT_PID=") || !strings.Contains(string(out), "SYSLOG_IDENTIFIER=web\n") {
		t.Errorf("journalctl -o verbose: %s, %v", out, err)
	}
}

// TestJournaldLong makes lines exceed the datagram size, so that they go as memfd.
func TestJournaldLong(t *testing.T) {
	j := startJournald(t)
	m := newManager(t, t.TempDir())
	s, w := newStreams(t, m, "web", journaldLog)
	m.journal.mu.Lock()
	err := m.journal.connect()
	if err == nil {
		err = unix.SetsockoptInt(m.journal.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<10)
	}
	m.journal.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"stdout before", "stdout " + strings.Repeat("a", 40<<10), "stdout between", "stdout " + strings.Repeat("b", 30<<10), "stdout after"}
	for _, line := range want {
		write(t, w.Stdout, strings.TrimPrefix(line, "stdout ")+"\n")
	}
	finish(t, s)
	j.sync(t)
	if diff := cmp.Diff(want, texts(read(t, m, Query{Units: []string{"web"}, Lines: -1}))); diff != "" {
		t.Error(diff)
	}
}

// TestJournaldAway: lines wait for a journald that is not there, and other units
// do not.
func TestJournaldAway(t *testing.T) {
	j := startJournald(t)
	dir := t.TempDir()
	m := newManager(t, dir)
	s, w := newStreams(t, m, "web", journaldLog)
	write(t, w.Stdout, "before\n")
	eventually(t, "the line is sent", func() bool { return len(read(t, m, Query{Units: []string{"web"}, Lines: -1})) == 1 })
	j.stop()
	write(t, w.Stdout, "while away\n")
	other, ow := newStreams(t, m, "other", units.Log{Target: "file"})
	write(t, ow.Stdout, "not held up\n")
	finish(t, other)
	if got := fileLines(t, dir, "other"); len(got) != 1 {
		t.Errorf("other unit: %q", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Finish(ctx); err == nil {
		t.Error("Finish succeeded without journald")
	}
	j.start(t)
	finish(t, s)
	j.sync(t)
	want := []string{"stdout before", "stdout while away"}
	if diff := cmp.Diff(want, texts(read(t, m, Query{Units: []string{"web"}, Lines: -1}))); diff != "" {
		t.Error(diff)
	}
}

// TestJournaldGivenUp: when its target is changed, what waits goes to the new one.
func TestJournaldGivenUp(t *testing.T) {
	j := startJournald(t)
	dir := t.TempDir()
	m := newManager(t, dir)
	s, w := newStreams(t, m, "web", journaldLog)
	j.stop()
	write(t, w.Stderr, "waits\n")
	if err := s.Update(units.Log{Target: "file"}); err != nil {
		t.Fatal(err)
	}
	finish(t, s)
	if diff := cmp.Diff([]string{"stderr F waits"}, fileLines(t, dir, "web")); diff != "" {
		t.Error(diff)
	}
	j.start(t)
}

func TestStreamSocket(t *testing.T) {
	j := startJournald(t)
	m := newManager(t, t.TempDir())
	s, w := newStreams(t, m, "web", units.Log{Target: "journald", Stream: "socket"})
	if w.Pipe || len(s.Descriptors()) != 0 {
		t.Errorf("a stream socket is no pipe and nothing to keep: %+v", w)
	}
	cmd := exec.Command("/bin/sh", "-c", "echo direct; echo '<4>warned' >&2")
	cmd.Stdout, cmd.Stderr = w.Stdout, w.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	_ = w.Stdout.Close()
	_ = w.Stderr.Close()
	finish(t, s)
	var got []Entry
	eventually(t, "both lines are in the journal", func() bool {
		got = read(t, m, Query{Units: []string{"web"}, Lines: -1})
		return len(got) == 2
	})
	prio := map[string]int{got[0].Text: got[0].Priority, got[1].Text: got[1].Priority}
	if prio["direct"] != 6 || prio["warned"] != 4 {
		t.Errorf("got %+v", got)
	}
	_ = j
}

func TestKilledPumpJournald(t *testing.T) {
	j := startJournald(t)
	v, w := startSurvivor(t, "web", "journald", 0)
	v.run(t, w, nil)
	j.sync(t)
	c := &counter{t: t}
	m := newManager(t, t.TempDir())
	for e, err := range m.Read(context.Background(), Query{Units: []string{"web"}, Lines: -1}) {
		if err != nil {
			t.Fatal(err)
		}
		c.line(e.Stream, e.Text)
	}
	c.end(v)
}
