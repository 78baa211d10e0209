package logs

import (
	"regexp"
	"strings"
	"testing"

	"berth/units"
)

// TestWatch: the line is found once, wherever it ends, on either stream and
// whatever becomes of it, and it is not delivered before the caller knows.
func TestWatch(t *testing.T) {
	for _, target := range []string{"file", "null"} {
		t.Run(target, func(t *testing.T) {
			dir := t.TempDir()
			m := newManager(t, dir)
			s, w := newStreams(t, m, "web", units.Log{Target: target})
			found, known := make(chan struct{}, 8), make(chan struct{})
			s.Watch(regexp.MustCompile(`ready on port \d+$`), func() {
				found <- struct{}{}
				<-known
			})
			write(t, w.Stdout, "ready on port x\nready on por")
			write(t, w.Stderr, "nothing\nrea")
			write(t, w.Stdout, "t 80 soon\n")
			select {
			case <-found:
				t.Error("found too early")
			default:
			}
			write(t, w.Stderr, "dy on port 80\r\nready on port 81\n")
			<-found
			if target == "file" && strings.Contains(strings.Join(fileLines(t, dir, "web"), "\n"), "port 80\r") {
				t.Error("the line was delivered before the caller knew")
			}
			close(known)
			finish(t, s)
			if len(found) > 0 {
				t.Error("found more than once")
			}
			if target == "file" && !strings.Contains(strings.Join(fileLines(t, dir, "web"), "\n"), "ready on port 81") {
				t.Errorf("lines are lost: %q", fileLines(t, dir, "web"))
			}
		})
	}
}

// TestWatchLast: a last line without newline is one too.
func TestWatchLast(t *testing.T) {
	m := newManager(t, t.TempDir())
	s, w := newStreams(t, m, "web", units.Log{Target: "file"})
	found := make(chan struct{})
	s.Watch(regexp.MustCompile("^done$"), func() { close(found) })
	write(t, w.Stdout, "working\ndone")
	_ = w.Stdout.Close()
	finish(t, s)
	<-found
}
