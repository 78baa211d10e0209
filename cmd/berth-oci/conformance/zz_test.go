package conformance

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestShell(t *testing.T) {
	if os.Getenv("SCRIPT") == "" {
		t.Skip()
	}
	place := newSandbox(t)
	out, err := place.run(command{Args: append([]string{"bash"}, strings.Fields(os.Getenv("SCRIPT"))...), Dir: "/", Deadline: 20 * time.Minute, Covered: []string{"/etc", "/var"}})
	os.Stdout.WriteString(out.Stdout + out.Stderr)
	t.Log(out.Status, err)
}
