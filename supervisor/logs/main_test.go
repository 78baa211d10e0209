package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"berth/units"
)

const (
	envInner = "BERTH_LOGS_TEST_INNER" // we are in a mount namespace of our own
	envPump  = "BERTH_LOGS_TEST_PUMP"  // we are a pump to be killed: unit, incarnation, target, dir
)

// TestMain runs the tests in a mount namespace of their own with an empty /run,
// so that a journald can be started there.
func TestMain(m *testing.M) {
	if spec := os.Getenv(envPump); spec != "" {
		os.Exit(pumpProcess(strings.Split(spec, "|")))
	}
	if os.Getuid() != 0 || os.Getenv(envInner) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envInner+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	var exit *exec.ExitError
	switch err := cmd.Run(); {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "cannot run the tests in a mount namespace:", err)
		os.Exit(1)
	}
}

// pumpProcess adopts streams and pumps until its standard input ends; then it
// finishes them.
func pumpProcess(spec []string) int {
	log, _ := zap.NewDevelopment()
	m, err := NewManager(Options{Dir: spec[3], Log: log})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	size, _ := strconv.Atoi(spec[4])
	if err := pumpAll(m, spec[0], strings.Split(spec[1], ","), units.Log{Target: spec[2], MaxSize: units.Size(size), Keep: 900}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	m.Close()
	return 0
}

// pumpAll pumps the streams of all the incarnations until the end of stdin, and
// then their rest. Four descriptors each are passed.
func pumpAll(m *Manager, unit string, incarnations []string, cfg units.Log) error {
	var all []*Streams
	for i, number := range incarnations {
		var files []*os.File
		for fd := 3 + 4*i; fd < 7+4*i; fd++ {
			files = append(files, os.NewFile(uintptr(fd), "kept"))
		}
		incarnation, _ := strconv.ParseUint(number, 10, 64)
		s, err := m.Adopt(unit, incarnation, files)
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	for _, s := range all {
		if err := s.Begin(cfg); err != nil {
			return err
		}
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, s := range all {
		if err := s.Finish(ctx); err != nil {
			return err
		}
		s.Close()
	}
	return nil
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root: run as root to start a journald in a mount namespace of its own")
	}
}

// newManager makes a manager whose log directory is in a directory of the test.
func newManager(t *testing.T, dir string) *Manager {
	t.Helper()
	m, err := NewManager(Options{Dir: dir, Log: zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func newStreams(t *testing.T, m *Manager, unit string, cfg units.Log) (*Streams, Writers) {
	t.Helper()
	s, err := m.NewStreams(unit, 7, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w, err := s.Writers()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Stdout.Close(); _ = w.Stderr.Close() })
	return s, w
}

func finish(t *testing.T, s *Streams) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Finish(ctx); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition that nothing announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen within 20s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func write(t *testing.T, f *os.File, text string) {
	t.Helper()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// fileLines reads a unit's files, oldest first, as "stream tag text".
func fileLines(t *testing.T, dir, unit string) []string {
	t.Helper()
	var lines []string
	for i := 1000; i >= 0; i-- {
		name := currentLog
		if i > 0 {
			name += "." + strconv.Itoa(i)
		}
		data, err := os.ReadFile(filepath.Join(dir, unit, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 0 && data[len(data)-1] != '\n' {
			t.Errorf("%s ends within a line", name)
		}
		for _, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
			if line == "" {
				continue
			}
			stamp, rest, _ := strings.Cut(line, " ")
			if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil || len(stamp) != len(timeLayout) {
				t.Fatalf("%s: bad line %q: %v", name, line, err)
			}
			lines = append(lines, rest)
		}
	}
	return lines
}

func dup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
