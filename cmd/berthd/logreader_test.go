package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// TestLogReaderGone runs a daemon whose own log goes to a pipe that nobody reads
// any more, as after "berthd 2>&1 | tee log" when tee is gone. It goes on.
func TestLogReaderGone(t *testing.T) {
	needRoot(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d := &daemon{t: t, dir: openDir(t), log: &lockedBuffer{}, ended: make(chan struct{}), cgroup: "berthd-test-log-reader.slice"}
	d.units = filepath.Join(d.dir, "units")
	d.write("web.toml", sh("exec sleep 1000"))
	d.cmd = exec.Command(binary(t, "berthd"), "--config", filepath.Join(d.dir, "berthd.toml"), "--log-level", "debug", "--units", d.units,
		"--runtime-dir", filepath.Join(d.dir, "run"), "--state-dir", filepath.Join(d.dir, "state"), "--slice", d.cgroup)
	d.cmd.Stdout, d.cmd.Stderr = w, w
	err = d.cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.cmd.Wait(); close(d.ended) }()
	t.Cleanup(d.stop)
	d.api = api.NewClient(d.socket())
	pid := d.wait("web", core.Running).MainPID
	supervisor := d.child("supervisor")
	r.Close()

	d.ok("restart", "web")
	if st := d.wait("web", core.Running); st.MainPID == pid {
		t.Error("the unit was not restarted")
	}
	if st, err := d.api.Daemon(context.Background()); err != nil || st.Supervisors != 1 || st.PID != supervisor {
		t.Errorf("the daemon: %+v, %v", st, err)
	}
	// The reaper writes too, when a supervisor ends.
	if err := syscall.Kill(supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.eventually("another supervisor answers", func() bool {
		st, err := d.api.Daemon(context.Background())
		return err == nil && st.PID != supervisor && st.Supervisors == 2
	})
}
