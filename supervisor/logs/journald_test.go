package logs

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const journaldPath = "/lib/systemd/systemd-journald"

// syncSignal is SIGRTMIN+1, at which journald syncs and notes it in a file.
const syncSignal = syscall.Signal(35)

const journaldConf = `[Journal]
Storage=volatile
RuntimeMaxUse=1G
RuntimeKeepFree=1M
ReadKMsg=no
Audit=no
RateLimitBurst=0
RateLimitIntervalSec=0
`

// journald is a real systemd-journald in our mount namespace.
type journald struct {
	cmd *exec.Cmd
}

var mountRun = sync.OnceValue(func() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/var/log", "tmpfs", 0, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/run/systemd/journal", "/run/systemd/journald.conf.d", "/run/log"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile("/run/systemd/journald.conf.d/test.conf", []byte(journaldConf), 0o644)
})

func startJournald(t *testing.T) *journald {
	t.Helper()
	needRoot(t)
	if _, err := os.Stat(journaldPath); err != nil {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip("needs systemd-journald: ", err)
	}
	if err := mountRun(); err != nil {
		t.Fatal(err)
	}
	j := &journald{}
	j.start(t)
	t.Cleanup(func() {
		j.stop()
		_ = os.RemoveAll("/run/log/journal")
		_ = os.Remove("/run/systemd/journal/socket")
		_ = os.Remove("/run/systemd/journal/stdout")
	})
	return j
}

func (j *journald) start(t *testing.T) {
	t.Helper()
	j.cmd = exec.Command(journaldPath)
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := j.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "journald listens", func() bool {
		c, err := net.DialTimeout("unixgram", "/run/systemd/journal/socket", time.Second)
		if err != nil {
			return false
		}
		_ = c.Close()
		c, err = net.DialTimeout("unix", "/run/systemd/journal/stdout", time.Second)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
	// It listens before it can be signalled: until it has blocked the signals that it
	// reads from a descriptor, that of sync ends it.
	eventually(t, "journald takes signals", func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", j.cmd.Process.Pid))
		if err != nil {
			return false
		}
		_, mask, _ := strings.Cut(string(status), "\nSigBlk:\t")
		mask, _, _ = strings.Cut(mask, "\n")
		blocked, err := strconv.ParseUint(mask, 16, 64)
		return err == nil && blocked&(1<<(syncSignal-1)) != 0
	})
}

func (j *journald) stop() {
	_ = j.cmd.Process.Signal(syscall.SIGTERM)
	_ = j.cmd.Wait()
}

// sync makes journald take what was sent to it so far, and write it out.
func (j *journald) sync(t *testing.T) {
	t.Helper()
	synced := "/run/systemd/journal/synced"
	_ = os.Remove(synced)
	if err := j.cmd.Process.Signal(syncSignal); err != nil {
		t.Fatal(err)
	}
	eventually(t, "journald has synced", func() bool { _, err := os.Stat(synced); return err == nil })
}
