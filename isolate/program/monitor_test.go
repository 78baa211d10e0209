package program

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The monitor has no goroutine, so it never is the thread of this one.
func TestSlackenMonitor(t *testing.T) {
	id := monitor()
	if id == 0 || id == unix.Getpid() || id == unix.Gettid() {
		t.Fatalf("thread %d cannot be the monitor of process %d", id, unix.Getpid())
	}
	slack := func() string {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(id) + "/timerslack_ns")
		if os.IsPermission(err) && os.Getuid() != 0 {
			t.Skip("setting the timer slack of another thread needs CAP_SYS_NICE")
		}
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	before := slack()
	SlackenMonitor()
	if got := slack(); got != strconv.Itoa(monitorSlack) {
		t.Errorf("the timer slack of thread %d is %s, was %s, want %d", id, got, before, monitorSlack)
	}
}
