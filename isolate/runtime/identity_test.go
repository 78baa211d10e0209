package runtime

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sleeper starts a process that lives until it is killed.
func sleeper(t *testing.T) (cmd *exec.Cmd, id Identity) {
	t.Helper()
	cmd = exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if id, err = identify(cmd.Process.Pid, fd); err != nil {
		t.Fatal(err)
	}
	return cmd, id
}

func TestIdentity(t *testing.T) {
	cmd, id := sleeper(t)
	fd, err := id.open()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// Another process that came to the same pid differs in one of these.
	for name, change := range map[string]func(*Identity){
		"boot": func(i *Identity) { i.Boot = "another" }, "inode": func(i *Identity) { i.Inode++ },
		"pid": func(i *Identity) { i.PID = os.Getpid() }, "none": func(i *Identity) { i.PID = 0 },
	} {
		other := id
		change(&other)
		if _, err := other.open(); err != errGone {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Where all have the same inode it is the time.
	old := id
	old.Inode = 0
	if old.Start, err = startTime(old.PID); err != nil {
		t.Fatal(err)
	}
	if old, err := old.open(); err != nil {
		t.Error(err)
	} else {
		unix.Close(old)
	}
	old.Start++
	if _, err := old.open(); err != errGone {
		t.Errorf("start: %v", err)
	}
	if awaitEnd(fd, 0) {
		t.Fatal("it has ended already")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if !awaitEnd(fd, time.Minute) {
		t.Fatal("it does not end")
	}
	if _, err := id.open(); err != errGone { // a zombie
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if _, err := id.open(); err != errGone {
		t.Fatal(err)
	}
}

func TestStartTimeWithAnyName(t *testing.T) {
	const stat = "12 (a) R 1 (b)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n"
	if n, err := parseStartTime([]byte(stat)); err != nil || n != 4711 {
		t.Fatal(n, err)
	}
	for _, bad := range []string{"", "12 (a)", "12 a R 1", "12 (a) S 1 2 3"} {
		if _, err := parseStartTime([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for s, want := range map[string]unix.Signal{
		"TERM": unix.SIGTERM, "SIGTERM": unix.SIGTERM, "sigkill": unix.SIGKILL, "9": 9, "0": 0, "64": 64,
		"RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX-1": 63,
	} {
		if got, err := ParseSignal(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "FOO", "65", "-1", "SIG", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN3", "9 "} {
		if got, err := ParseSignal(s); err == nil {
			t.Errorf("%q is signal %d", s, got)
		}
	}
}
