package vmtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// portName is the virtio port between the test and the agent. Either side
// writes JSON values, each on a line.
const portName = "berth.agent"

// request is what the test asks of the agent. A request is for one agent only:
// after a reset nobody answers what was meant for the machine before it.
type request struct {
	To   string   `json:"to"` // the agent's Hello
	ID   int      `json:"id"`
	Op   string   `json:"op"` // run, read, write, kill
	Path string   `json:"path,omitempty"`
	Args []string `json:"args,omitempty"`
	Data []byte   `json:"data,omitempty"` // standard input, or a file's contents
	PID  int      `json:"pid,omitempty"`
	Sig  int      `json:"sig,omitempty"`
}

// reply is the agent's answer; one with Hello is its first word.
type reply struct {
	Hello  string `json:"hello,omitempty"`
	ID     int    `json:"id"`
	Out    []byte `json:"out,omitempty"`
	Status int    `json:"status,omitempty"` // of a program; 128 and the signal that ended it
	Error  string `json:"error,omitempty"`
}

var errGone = errors.New("the agent is gone")

// control is the host's end of the port.
type control struct {
	ended <-chan struct{}

	mu      sync.Mutex
	conn    net.Conn
	hello   string // the agent that is there
	news    chan struct{}
	last    int
	waiting map[int]chan reply
	done    chan struct{}
}

// newControl connects to QEMU's socket as soon as it is there.
func newControl(path string, ended <-chan struct{}) *control {
	c := &control{ended: ended, news: make(chan struct{}), waiting: map[int]chan reply{}, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for {
			conn, err := net.Dial("unix", path)
			if err == nil {
				c.serve(conn)
				return
			}
			select {
			case <-ended:
				return
			case <-time.After(10 * time.Millisecond): // QEMU makes it
			}
		}
	}()
	return c
}

// serve takes what the agent says until QEMU has ended.
func (c *control) serve(conn net.Conn) {
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			c.mu.Lock()
			c.renew("")
			c.mu.Unlock()
			return
		}
		var r reply
		if json.Unmarshal(line, &r) != nil {
			continue // cut by a reset
		}
		c.mu.Lock()
		if r.Hello != "" {
			c.renew(r.Hello)
		} else if to := c.waiting[r.ID]; to != nil {
			delete(c.waiting, r.ID)
			to <- r
		}
		c.mu.Unlock()
	}
}

// renew notes another agent, with mu held. What the one before was asked is lost.
func (c *control) renew(hello string) {
	c.hello = hello
	for id, to := range c.waiting {
		delete(c.waiting, id)
		to <- reply{ID: id, Error: errGone.Error()}
	}
	close(c.news)
	c.news = make(chan struct{})
}

// await waits for an agent that is not the given one.
func (c *control) await(not string, within time.Duration) (string, error) {
	late := time.After(within)
	for {
		c.mu.Lock()
		hello, news := c.hello, c.news
		c.mu.Unlock()
		if hello != "" && hello != not {
			return hello, nil
		}
		select {
		case <-news:
		case <-c.ended:
			return "", errors.New("the machine has ended")
		case <-late:
			return "", fmt.Errorf("no agent has spoken within %v", within)
		}
	}
}

// ask sends a request and waits for the answer.
func (c *control) ask(r request, within time.Duration) (reply, error) {
	hello, err := c.await("", within)
	if err != nil {
		return reply{}, err
	}
	answer := make(chan reply, 1)
	c.mu.Lock()
	c.last++
	r.ID, r.To = c.last, hello
	c.waiting[r.ID] = answer
	line, err := json.Marshal(r)
	if err == nil {
		_, err = c.conn.Write(append(line, '\n'))
	}
	c.mu.Unlock()
	if err != nil {
		return reply{}, err
	}
	select {
	case a := <-answer:
		if a.Error == errGone.Error() {
			return a, errGone
		}
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-c.ended:
		return reply{}, errors.New("the machine has ended")
	case <-time.After(within):
		return reply{}, fmt.Errorf("the agent has not answered within %v", within)
	}
}

func (c *control) close() { <-c.done }

// Up waits until the agent answers, and so until berthd runs its units.
func (g *Guest) Up() {
	g.t.Helper()
	if _, err := g.agent.await("", patience); err != nil {
		g.t.Fatal(err)
	}
}

// Rebooted runs what makes the machine boot again, and waits until the agent of
// the next boot answers.
func (g *Guest) Rebooted(by func()) {
	g.t.Helper()
	hello, err := g.agent.await("", patience)
	if err != nil {
		g.t.Fatal(err)
	}
	by()
	if _, err := g.agent.await(hello, patience); err != nil {
		g.t.Fatal(err)
	}
}

// Exec runs a program in the machine, outside of all units, and gives what it
// wrote to standard output and error together and its exit status (128 and the
// signal if one ended it). It may be called by several goroutines.
func (g *Guest) Exec(args ...string) (out string, status int, err error) {
	return g.ExecFor(patience, args...)
}

// ExecFor is Exec for a program that may take so long.
func (g *Guest) ExecFor(within time.Duration, args ...string) (out string, status int, err error) {
	r, err := g.agent.ask(request{Op: "run", Args: args}, within)
	if err != nil {
		err = fmt.Errorf("cannot run %s in the machine: %w", strings.Join(args, " "), err)
	}
	return string(r.Out), r.Status, err
}

// Run is Exec for a program that must succeed.
func (g *Guest) Run(args ...string) string {
	g.t.Helper()
	out, status, err := g.Exec(args...)
	if err != nil {
		g.t.Fatal(err)
	}
	if status != 0 {
		g.t.Fatalf("%s ended with status %d:\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

// Shell is Run for a script of the shell.
func (g *Guest) Shell(script string) string { g.t.Helper(); return g.Run("/bin/sh", "-ec", script) }

// Read gives the contents of a file in the machine.
func (g *Guest) Read(path string) string {
	g.t.Helper()
	r, err := g.agent.ask(request{Op: "read", Path: path}, patience)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(r.Out)
}

// Write makes a file in the machine, at once: what looks sees all of it.
func (g *Guest) Write(path, text string) {
	g.t.Helper()
	if _, err := g.agent.ask(request{Op: "write", Path: path, Data: []byte(text)}, patience); err != nil {
		g.t.Fatal(err)
	}
}

// Kill sends a signal to a process in the machine.
func (g *Guest) Kill(pid int, sig syscall.Signal) {
	g.t.Helper()
	if _, err := g.agent.ask(request{Op: "kill", PID: pid, Sig: int(sig)}, patience); err != nil {
		g.t.Fatal(err)
	}
}

// Eventually asks again and again until the condition holds, for at most ninety
// seconds; state says how it stands when it never does.
func (g *Guest) Eventually(what string, holds func() bool, state ...func() string) {
	g.t.Helper()
	late := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(late) {
			var text strings.Builder
			for _, s := range state {
				text.WriteString("\n" + s())
			}
			g.t.Fatalf("not within %v: %s%s", patience, what, text.String())
		}
		time.Sleep(20 * time.Millisecond) // between two looks, not for the event
	}
}

// Disk makes a file of so many MiB, all zero, for System.Disks.
func Disk(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size << 20)
}
