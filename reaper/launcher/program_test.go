package launcher

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/isolate"
)

// TestForkProgram starts a container through a launcher: the child is this
// process's, which is told of its end, and it does nothing before its gate is open.
func TestForkProgram(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root: it makes a container")
	}
	_, conn := start(t, "role-program")
	c := NewClient(conn)
	t.Cleanup(func() { c.Close() })
	compiled, err := isolate.Compile(&isolate.Spec{
		Name:    "test",
		RootFS:  isolate.RootFS{Host: true},
		Process: isolate.Process{Args: []string{"/bin/sh", "-c", "echo $$; exit 9"}, NoNewPrivileges: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []bool{true, false} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		prepared, err := isolate.Prepare(compiled, isolate.Files{Stdout: w})
		if err != nil {
			t.Fatal(err)
		}
		defer prepared.Close()
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGCHLD)
		defer signal.Stop(ended)
		image, fds := prepared.Encode()
		pid, pidfd, err := c.Fork(context.Background(), image, fds)
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		prepared.Launched()
		want, code := "", 219
		if open {
			want, code = "1\n", 9
			if err := prepared.Proceed(); err != nil {
				t.Error(err)
			}
			if err := prepared.Wait(time.Now().Add(deadline)); err != nil {
				t.Error(err)
			}
		} else {
			prepared.Close()
		}
		if out, err := io.ReadAll(r); string(out) != want || err != nil {
			t.Errorf("gate opened: %v, read %q, %v", open, out, err)
		}
		select {
		case <-ended: // the kernel gives it the launcher's exit signal, clone(2)
		case <-time.After(deadline):
			t.Error("no SIGCHLD has come")
		}
		if status := finish(t, pid, pidfd); status != code {
			t.Errorf("gate opened: %v, exit status %d, want %d", open, status, code)
		}
	}
	if _, _, err := c.Fork(context.Background(), []byte("rubbish"), nil); err == nil || !strings.Contains(err.Error(), "decode") {
		t.Errorf("rubbish: %v", err)
	}
}
