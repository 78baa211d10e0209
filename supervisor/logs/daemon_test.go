package logs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// testDaemon is a Daemon whose kernel log is a buffer.
func testDaemon(journal string) (*Daemon, *bytes.Buffer) {
	var kmsg bytes.Buffer
	d := &Daemon{local: &local{kmsg: &kmsg, kept: true, identifier: "berthd"}, conn: &journalConn{path: journal, fd: -1}}
	d.Logger = zap.New(&journalCore{
		fieldCore: fieldCore{LevelEnabler: zapcore.InfoLevel}, identifier: "berthd", conn: d.conn,
		fallback: &localCore{fieldCore: fieldCore{LevelEnabler: zapcore.InfoLevel}, out: d.local},
	})
	return d, &kmsg
}

func TestDaemonLog(t *testing.T) {
	dir := t.TempDir()
	d, kmsg := testDaemon(filepath.Join(dir, "no-journal"))
	d.Debug("hidden")
	d.Info("first", zap.String("unit", "web"))
	d.Error("second\nline", zap.Error(os.ErrNotExist))
	if err := d.Keep(filepath.Join(dir, "missing")); err == nil {
		t.Error("a directory that is missing could be written")
	}
	if err := d.Keep(dir); err != nil {
		t.Fatal(err)
	}
	d.Info("third")
	d.With(zap.Int("n", 1)).Warn("fourth")
	want := "<6>berthd: first unit=web\n<3>berthd: second\n<3>berthd: line: file does not exist\n<4>berthd: fourth n=1\n"
	if got := kmsg.String(); got != want {
		t.Errorf("the kernel's log has %q, want %q", got, want)
	}
	path := filepath.Join(dir, DaemonFile)
	// Someone rotates the file.
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	d.Reopen()
	d.Info("fifth")
	before, after := readText(t, path+".old"), readText(t, path)
	order := regexp.MustCompile(`(?s)^[0-9T:.Z+-]+  INFO  first  .*ERROR  second.*INFO  third\n.*WARN  fourth.*\n$`)
	if !order.MatchString(before) || strings.Contains(before, "fifth") || !strings.HasSuffix(after, "INFO  fifth\n") {
		t.Errorf("the file has %q, then %q", before, after)
	}
}

// TestDaemonRotates: the file does not grow without bound.
func TestDaemonRotates(t *testing.T) {
	dir := t.TempDir()
	d, _ := testDaemon(filepath.Join(dir, "no-journal"))
	if err := d.Keep(dir); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 64<<10)
	for range (ownKeep + 3) * ownSize / len(long) {
		d.Info(long)
	}
	d.Reopen()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != ownKeep+1 {
		t.Errorf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Size() > ownSize+(66<<10) {
			t.Errorf("%v, %v", info, err)
		}
	}
}

func TestWriteKmsg(t *testing.T) {
	var out bytes.Buffer
	text := strings.Repeat("ä", kmsgMax) + "\n\nend"
	if err := writeKmsg(&out, 4, "berthd", text); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(out.String(), "\n")
	whole := ""
	for _, l := range lines[:len(lines)-1] {
		if len(l) > kmsgMax+len("<4>berthd: \n") || !strings.HasPrefix(l, "<4>berthd: ") {
			t.Errorf("a record of %d bytes: %q", len(l), l)
		}
		whole += strings.TrimSuffix(strings.TrimPrefix(l, "<4>berthd: "), "\n")
	}
	if want := strings.ReplaceAll(text, "\n", ""); whole != want {
		t.Errorf("got %q", whole)
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDaemonFindsJournald: what is said goes to journald as soon as that runs, and
// elsewhere again when it has gone.
func TestDaemonFindsJournald(t *testing.T) {
	needRoot(t)
	if err := mountRun(); err != nil {
		t.Fatal(err)
	}
	d, kmsg := testDaemon("/run/systemd/journal/socket")
	d.Info("before it")
	if !strings.Contains(kmsg.String(), "before it") {
		t.Errorf("the kernel's log has %q", kmsg)
	}
	j := startJournald(t)
	d.Info("while it runs", zap.String("unit", "web"))
	j.sync(t)
	out, err := exec.Command("journalctl", "-q", "-o", "cat", "SYSLOG_IDENTIFIER=berthd").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "while it runs unit=web") || strings.Contains(string(out), "before it") {
		t.Errorf("journald has %q, %v", out, err)
	}
	if strings.Contains(kmsg.String(), "while it runs") {
		t.Errorf("the kernel's log has it too: %q", kmsg)
	}
	j.stop()
	d.Info("after it")
	if !strings.Contains(kmsg.String(), "after it") {
		t.Errorf("the kernel's log has %q", kmsg)
	}
}
