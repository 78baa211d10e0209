package ocigroup

import (
	"fmt"
	"os"
	"testing"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("making control groups needs root")
	}
}

func BenchmarkCreateRemove(b *testing.B) {
	needRoot(b)
	for b.Loop() {
		g, err := New(Options{ID: fmt.Sprintf("berth-test-%d", os.Getpid())})
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Create(nil); err != nil {
			b.Fatal(err)
		}
		h, err := g.Open()
		if err != nil {
			b.Fatal(err)
		}
		h.Close()
		if err := g.Remove(); err != nil {
			b.Fatal(err)
		}
		g.Close()
	}
}
