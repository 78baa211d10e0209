package machine

import (
	"os"
	"testing"
)

// TestWhere: PID 1 of a namespace is tried in package early.
func TestWhere(t *testing.T) {
	p := Where()
	if p == Machine || os.Getppid() != 1 && p != Service {
		t.Errorf("this is a %v", p)
	}
}
