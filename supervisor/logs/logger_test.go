package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
)

// captureStderr gives what f writes to standard error.
func captureStderr(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	old := os.Stderr
	os.Stderr = w
	f()
	os.Stderr = old
	_ = w.Close()
	out, _ := io.ReadAll(r)
	return string(out)
}

func TestLoggerConsole(t *testing.T) {
	out := captureStderr(t, func() {
		log, err := NewLogger(LoggerOptions{Target: "console"})
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("hidden")
		log.Warn("cannot start unit", zap.String("unit", "web"), zap.Error(errors.New("no such file")))
	})
	if strings.Contains(out, "hidden") || strings.Contains(out, "\x1b") || !strings.Contains(out, `WARN  cannot start unit  {"unit": "web", "error": "no such file"}`) {
		t.Errorf("got %q", out)
	}
}

func TestLoggerUnknown(t *testing.T) {
	if _, err := NewLogger(LoggerOptions{Target: "syslog"}); err == nil || !strings.Contains(err.Error(), `"syslog"`) {
		t.Errorf("got %v", err)
	}
}

func TestLoggerJournald(t *testing.T) {
	j := startJournald(t)
	log, err := NewLogger(LoggerOptions{Target: "journald"})
	if err != nil {
		t.Fatal(err)
	}
	log.With(zap.Int("pid", 5)).Error("cannot do it", zap.String("two-lines", "a\nb"), zap.Error(errors.New("why")))
	j.sync(t)
	out, err := exec.Command("journalctl", "-q", "-t", "berthd", "-o", "export").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"BERTH_PID=5\n", "PRIORITY=3\n", "BERTH_TWO_LINES\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\n", "BERTH_ERROR=why\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	j.stop()
	if got := captureStderr(t, func() {
		log, _ := NewLogger(LoggerOptions{Target: "journald"})
		log.Info("nobody listens")
	}); !strings.Contains(got, "nobody listens") {
		t.Errorf("without journald, stderr has %q", got)
	}
	j.start(t)
}

func TestJournalStream(t *testing.T) {
	var st syscall.Stat_t
	if err := syscall.Fstat(2, &st); err != nil {
		t.Fatal(err)
	}
	if !stderrIsJournal(fmt.Sprintf("%d:%d", st.Dev, st.Ino)) {
		t.Error("stderr's own numbers do not match")
	}
	for _, bad := range []string{"", "1", "1:2", fmt.Sprintf("%d:%d", st.Dev, st.Ino+1)} {
		if stderrIsJournal(bad) {
			t.Errorf("%q matches", bad)
		}
	}
}
