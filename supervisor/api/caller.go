package api

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"unicode"
)

// Caller is who made a request, for records of who did what.
type Caller struct {
	UID int `json:"uid"`
	// User is the name of the user, or its number.
	User string `json:"user"`
	PID  int    `json:"pid"`
	// Command is the command line of the process, at most 200 bytes, as it was
	// during the request. The caller chose it: it proves nothing.
	Command string `json:"command,omitempty"`
}

// CallerOf gives the caller of a request by the context that a Backend's method
// got; nil: there is none.
func CallerOf(ctx context.Context) *Caller {
	p := peerOf(ctx)
	if p.pid == 0 {
		return nil
	}
	c := &Caller{UID: p.uid, User: strconv.Itoa(p.uid), PID: p.pid}
	if u, err := user.LookupId(c.User); err == nil {
		c.User = u.Username
	}
	if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid)); err == nil {
		c.Command = strings.TrimSpace(strings.Map(func(r rune) rune {
			if r == 0 || !unicode.IsPrint(r) {
				return ' '
			}
			return r
		}, string(line[:min(len(line), 200)])))
	}
	return c
}

// String is "root (berth restart web)".
func (c *Caller) String() string {
	if c == nil {
		return "berthd"
	}
	if c.Command == "" {
		return fmt.Sprintf("%s (process %d)", c.User, c.PID)
	}
	return fmt.Sprintf("%s (%s)", c.User, c.Command)
}
