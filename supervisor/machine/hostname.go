package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// setHostname gives the machine its name.
func setHostname(_ context.Context, b *Boot) error {
	name := b.Options.Hostname
	if name != "" && !validHostname(name) {
		b.Note(fmt.Sprintf("berth.hostname=%q cannot be a machine's name", name))
		name = ""
	}
	if name == "" {
		text, err := os.ReadFile("/etc/hostname")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.Note("cannot read /etc/hostname: " + err.Error())
		}
		if name = hostnameIn(string(text)); name != "" && !validHostname(name) {
			b.Note(fmt.Sprintf("/etc/hostname says %q, which cannot be a machine's name", name))
			name = ""
		}
	}
	if name == "" {
		if now, err := os.Hostname(); err == nil && now != "" && now != "(none)" {
			return nil
		}
		name = "localhost"
	}
	return os.NewSyscallError("sethostname", unix.Sethostname([]byte(name)))
}

// hostnameIn gives the name in a hostname(5) file: its first line that has
// something else than a comment.
func hostnameIn(text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return line
		}
	}
	return ""
}

// validHostname holds a name to hostname(7): labels of letters, digits, dashes
// and, as is common, underscores, at most 64 bytes (HOST_NAME_MAX).
func validHostname(name string) bool {
	if len(name) > 64 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
