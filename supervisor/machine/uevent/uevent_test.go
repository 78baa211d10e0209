package uevent

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	e, ok := parse([]byte("add@/devices/x/block/vda\x00ACTION=add\x00SUBSYSTEM=block\x00EMPTY=\x00odd\x00X=a=b\x00"))
	if !ok || e.Action != "add" || e.Path != "/devices/x/block/vda" || len(e.Env) != 4 || e.Env["SUBSYSTEM"] != "block" || e.Env["X"] != "a=b" || e.Lost() {
		t.Errorf("%+v, %t", e, ok)
	}
	for _, s := range []string{"", "libudev\x00\xfe\xed\xca\xfe", "@/x", "add@", "add@x", "\x00add@/x"} {
		if e, ok := parse([]byte(s)); ok {
			t.Errorf("%q is taken: %+v", s, e)
		}
	}
}

// TestNext: a wait ends with its context, and the next one waits again.
func TestNext(t *testing.T) {
	s, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		_, err := s.Next(ctx)
		cancel()
		// An event of this machine may come in between.
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	late := time.AfterFunc(50*time.Millisecond, func() { s.Close() })
	defer late.Stop()
	for {
		if _, err := s.Next(t.Context()); err != nil {
			return
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00ACTION=add\x00"))
	f.Fuzz(func(t *testing.T, message []byte) {
		if e, ok := parse(message); ok && (e.Action == "" || e.Path == "") {
			t.Errorf("%q: %+v", message, e)
		}
	})
}
