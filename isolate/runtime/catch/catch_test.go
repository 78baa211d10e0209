package catch

import (
	"bytes"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Every signal comes as its number, whatever thread has got it, and disturbs nothing.
func TestTo(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	from := os.NewFile(uintptr(ends[0]), "signals")
	defer from.Close()
	const queued = unix.Signal(40) // of the real-time ones, of which none is lost
	if err := To(ends[1], unix.SIGUSR1, unix.SIGTERM, queued); err != nil {
		t.Fatal(err)
	}
	read := func(want []byte) {
		t.Helper()
		got := make([]byte, 0, len(want)+1)
		_ = from.SetReadDeadline(time.Now().Add(time.Minute))
		for len(got) < len(want) {
			n, err := from.Read(got[len(got):cap(got)])
			if err != nil {
				t.Fatalf("after %d of %d: %v", len(got), len(want), err)
			}
			got = got[:len(got)+n]
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGUSR1, queued} {
		if err := unix.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		read([]byte{byte(s)})
	}
	// While others work with small stacks, and wait in the kernel.
	var done atomic.Bool
	ended := make(chan error)
	for range 4 {
		go func() {
			for !done.Load() {
				_ = bytes.Repeat([]byte("x"), 100)
			}
			ended <- nil
		}()
	}
	go func() {
		var p [2]int
		err := unix.Pipe2(p[:], unix.O_CLOEXEC)
		time.AfterFunc(100*time.Millisecond, func() { unix.Close(p[1]) })
		if err == nil {
			_, err = unix.Read(p[0], make([]byte, 1)) // SA_RESTART
			unix.Close(p[0])
		}
		ended <- err
	}()
	const many = 2000
	for range many {
		if err := unix.Kill(os.Getpid(), queued); err != nil {
			t.Fatal(err)
		}
	}
	read(bytes.Repeat([]byte{byte(queued)}, many))
	done.Store(true)
	for range 5 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if err := To(ends[1], unix.SIGKILL); err == nil {
		t.Error("SIGKILL can be caught")
	}
}
