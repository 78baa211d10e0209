package reaper

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/reaper/internal/wire"
)

// peer is the reaper's end of a connection, played by the test.
type peer struct {
	t    *testing.T
	conn *wire.Conn
	fd   int // the client's end
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	mine, theirs, err := wire.Pair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := wire.NewConn(mine)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &peer{t, conn, theirs}
}

func (p *peer) send(m message, fds ...int) {
	p.t.Helper()
	if err := p.conn.Send(m.encode(nil), fds); err != nil {
		p.t.Error(err)
	}
}

func (p *peer) receive() message {
	p.t.Helper()
	got, err := p.conn.Recv()
	m, ok := decode(got.Data)
	wire.CloseAll(got.FDs)
	if err != nil || !ok {
		p.t.Errorf("received %+v, %v, %v", m, ok, err)
	}
	return m
}

// connect gives a client that has been handed over nothing.
func (p *peer) connect() *Client {
	p.t.Helper()
	p.send(message{Kind: kindHello})
	p.send(message{Kind: kindDone})
	c, _, err := Connect(p.fd)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	return c
}

func TestConnectRefuses(t *testing.T) {
	for name, play := range map[string]func(p *peer){
		"nothing":                      func(*peer) {},
		"no hello":                     func(p *peer) { p.send(message{Kind: kindDone}) },
		"two hellos":                   func(p *peer) { p.send(message{Kind: kindHello}); p.send(message{Kind: kindHello}) },
		"an end in the middle":         func(p *peer) { p.send(message{Kind: kindHello}) },
		"a signal in the middle":       func(p *peer) { p.send(message{Kind: kindHello}); p.send(message{Kind: kindSignal, Number: 1}) },
		"a request":                    func(p *peer) { p.send(message{Kind: kindBegin, Request: 1}) },
		"garbage":                      func(p *peer) { p.conn.Send([]byte("garbage"), nil) },
		"a registration without pidfd": func(p *peer) { p.send(message{Kind: kindHello}); p.send(message{Kind: kindRegistered, ID: 1, PID: 2}) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t)
			play(p)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			p.send(message{Kind: kindStored, Name: "pipe"}, int(w.Fd()))
			w.Close()
			p.conn.Close()
			c, h, err := Connect(p.fd)
			if err == nil || c != nil || h != nil {
				t.Errorf("got %v, %v, %v", c, h, err)
			}
			// Nothing of it has stayed open, or this would wait for ever.
			r.SetReadDeadline(time.Now().Add(deadline))
			if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("the stored pipe is still open: %d, %v", n, err)
			}
		})
	}
}

func TestRequestsAreInFlightTogether(t *testing.T) {
	p := newPeer(t)
	c := p.connect()
	const count = 50
	var all sync.WaitGroup
	errs := make([]error, count)
	for i := range count {
		all.Add(1)
		go func() {
			defer all.Done()
			errs[i] = c.Begin(uint64(i))
		}()
	}
	var requests []message
	for range count {
		requests = append(requests, p.receive())
	}
	for i := range requests { // the last first, and the even ones refused
		m := requests[count-1-i]
		reply := message{Kind: kindReply, Request: m.Request}
		if m.ID%2 == 0 {
			reply.Errno, reply.Text = uint32(syscall.EEXIST), "no"
		}
		p.send(reply)
	}
	all.Wait()
	for i, err := range errs {
		if even := i%2 == 0; even != errors.Is(err, syscall.EEXIST) || !even && err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if want := "cannot begin start 2: no: file exists"; errs[2].Error() != want {
		t.Errorf("got %q, want %q", errs[2], want)
	}
}

func TestUnreadEventsDelayNothing(t *testing.T) {
	p := newPeer(t)
	c := p.connect()
	const count = 5000
	done := make(chan error, 1)
	go func() { done <- c.Drop("x") }()
	request := p.receive()
	for seq := range uint64(count) {
		p.send(message{Kind: kindExited, Exit: Exit{Seq: seq + 1, PID: 1}})
	}
	p.send(message{Kind: kindReply, Request: request.Request})
	if err := <-done; err != nil {
		t.Error(err)
	}
	p.conn.Close()
	seq := uint64(0)
	for e := range c.Events() {
		if seq++; e.(Exit).Seq != seq {
			t.Fatalf("got %+v, want seq %d", e, seq)
		}
	}
	if seq != count {
		t.Errorf("%d events of %d", seq, count)
	}
}

func TestLostConnection(t *testing.T) {
	p := newPeer(t)
	c := p.connect()
	done := make(chan error, 1)
	go func() { _, err := c.Stats(); done <- err }()
	p.receive()
	p.conn.Close()
	if err := <-done; !errors.Is(err, ErrLost) {
		t.Errorf("the request in flight: %v", err)
	}
	if _, open := <-c.Events(); open {
		t.Error("events go on")
	}
	for name, err := range map[string]error{"Begin": c.Begin(1), "Ack": c.Ack(1), "Abandon": c.Abandon(1)} {
		if err == nil {
			t.Errorf("%s succeeds", name)
		}
	}
}

func TestClientChecksArguments(t *testing.T) {
	p := newPeer(t)
	c := p.connect()
	long := string(make([]byte, maxName+1))
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	many := make([]*os.File, wire.MaxFDs+1)
	for i := range many {
		many[i] = null
	}
	for name, err := range map[string]error{
		"an empty name":        c.Store("", null),
		"a long name":          c.Drop(long),
		"no files":             c.Store("x"),
		"too many files":       c.Store("x", many...),
		"a file that is none":  c.Store("x", nil),
		"pid 0":                c.Register(1, 0, null),
		"a negative exit code": c.Exit(-1),
	} {
		if err == nil || errors.Is(err, ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
