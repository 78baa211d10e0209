package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
	"berth/units"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestStamps(t *testing.T) {
	dir := t.TempDir()
	log, told := observer.New(zap.WarnLevel)
	var k stampKeeper
	k.begin(dir, zap.New(log))
	base := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	k.set("a", core.Run{Text: "daily", Base: base, LastRun: base})
	k.set("b", core.Run{Text: "hourly", Base: base})
	k.jobs.drain()
	k.retain(map[string]*units.Unit{"a": {}})
	k.jobs.drain()
	if got := readStamps(dir, zap.New(log)); len(got) != 1 || got["a"] != (core.Run{Text: "daily", Base: base, LastRun: base}) {
		t.Errorf("%+v", got)
	}
	if st, err := os.Stat(filepath.Join(dir, stampsFile)); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new")); len(left) > 0 || told.Len() > 0 {
		t.Errorf("left: %v, told: %v", left, told.All())
	}
}

// TestStampsUnusable: what is no file of stamps is told and left.
func TestStampsUnusable(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"not JSON":   func(p string) error { return os.WriteFile(p, []byte("{"), 0o600) },
		"other JSON": func(p string) error { return os.WriteFile(p, []byte(`{"timers":{"a":{"base":"yesterday"}}}`), 0o600) },
		"empty":      func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"too large":  func(p string) error { return os.WriteFile(p, []byte(strings.Repeat(" ", maxStamps+1)), 0o600) },
		"directory":  func(p string) error { return os.Mkdir(p, 0o700) },
		"link":       func(p string) error { return os.Symlink("/dev/zero", p) },
	} {
		dir := t.TempDir()
		if err := make(filepath.Join(dir, stampsFile)); err != nil {
			t.Fatal(err)
		}
		log, told := observer.New(zap.WarnLevel)
		if got := readStamps(dir, zap.New(log)); len(got) != 0 || told.Len() != 1 {
			t.Errorf("%s: %v, told %v", name, got, told.All())
		}
	}
}
