package vmtest

import (
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// console is the machine's serial console: all that was said, and a mark up to
// which it has been waited for.
type console struct {
	in io.Writer

	mu    sync.Mutex
	said  []byte
	mark  int
	ended bool
	news  chan struct{} // closed and replaced whenever there is more
}

func newConsole() *console { return &console{news: make(chan struct{})} }

// Write takes what QEMU writes, without the carriage returns of a terminal.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range p {
		if b != '\r' {
			c.said = append(c.said, b)
		}
	}
	c.changed()
	return len(p), nil
}

func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.changed()
}

func (c *console) changed() {
	close(c.news)
	c.news = make(chan struct{})
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.said)
}

// find looks for a pattern behind the mark, and moves the mark behind it.
func (c *console) find(re *regexp.Regexp) (match []string, ended bool, news chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := re.FindSubmatchIndex(c.said[c.mark:])
	if at == nil {
		return nil, c.ended, c.news
	}
	for i := 0; i < len(at); i += 2 {
		part := ""
		if at[i] >= 0 {
			part = string(c.said[c.mark+at[i] : c.mark+at[i+1]])
		}
		match = append(match, part)
	}
	c.mark += at[1]
	return match, false, nil
}

// WaitConsole waits until the serial console has said something that matches
// the regular expression, after what the last WaitConsole found, and gives the
// match and its groups.
func (g *Guest) WaitConsole(pattern string, within time.Duration) []string {
	g.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(within)
	for {
		match, ended, news := g.console.find(re)
		switch {
		case match != nil:
			return match
		case ended:
			g.t.Fatalf("the machine has ended and its console never said %q", pattern)
		}
		select {
		case <-news:
		case <-late:
			g.t.Fatalf("the console has not said %q within %v", pattern, within)
		}
	}
}

// Console gives all that the serial console has said so far.
func (g *Guest) Console() string { return g.console.text() }

// Type types a text on the serial console. A line ends with "\n", which the
// return key is sent for.
func (g *Guest) Type(text string) {
	g.t.Helper()
	if _, err := io.WriteString(g.console.in, strings.ReplaceAll(text, "\n", "\r")); err != nil {
		g.t.Fatalf("cannot type on the console: %v", err)
	}
}
