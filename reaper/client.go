package reaper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"berth/reaper/internal/wire"
)

// SupervisorFD is the descriptor at which a supervisor finds its connection to
// the reaper, and LauncherFD that at which a launcher finds its connection to
// the supervisor.
const (
	SupervisorFD = 3
	LauncherFD   = 3
)

// Client is a supervisor's connection to its reaper. All methods may be called
// by many goroutines at once; requests are in flight together, and are carried
// out in the order in which they were sent. Methods that return an error other
// than Abandon, Ack and Beat return once the reaper has carried the request out: what
// it then keeps survives the end of the supervisor.
type Client struct {
	conn     *wire.Conn
	gone     atomic.Bool // ErrLost was, or is about to be, given
	revision int         // up to which the reaper offers requests

	mu       sync.Mutex
	last     uint64                  // number of the last request
	waiting  map[uint64]chan message // by request number
	lost     error                   // why the connection is gone; nil: it is not
	incoming []Event                 // received, not yet taken from events

	events  chan Event
	arrived chan struct{} // incoming is not empty, or lost is set
	closed  context.Context
	close   context.CancelFunc
}

// ErrLost is in the chain of every error that comes from the end of the
// connection. A supervisor that sees it exits: the reaper has ended, or has
// given this supervisor up and starts another.
var ErrLost = errors.New("the connection to the reaper is gone")

// Error is the refusal of a request by the reaper, which changed nothing.
type Error struct {
	Op    string // "register start 12"
	Text  string // the reaper's words, "" when Errno says it all
	Errno syscall.Errno
}

func (e *Error) Error() string {
	if e.Text == "" {
		return "cannot " + e.Op + ": " + e.Errno.Error()
	}
	return "cannot " + e.Op + ": " + e.Text + ": " + e.Errno.Error()
}

// Unwrap gives the errno.
func (e *Error) Unwrap() error { return e.Errno }

// Connect takes over the connection at fd, which is SupervisorFD in a process
// that the reaper started, and everything that the reaper has kept. It waits
// until all of that has arrived. On failure nothing stays open.
func Connect(fd int) (*Client, *Handover, error) {
	conn, err := wire.NewConn(fd)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use descriptor %d as connection to the reaper: %w", fd, err)
	}
	handover, err := takeOver(conn)
	if err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("cannot take over from the reaper: %w", err)
	}
	c := &Client{
		conn:     conn,
		revision: offered(),
		waiting:  map[uint64]chan message{},
		events:   make(chan Event),
		arrived:  make(chan struct{}, 1),
	}
	c.closed, c.close = context.WithCancel(context.Background())
	go c.receive()
	go c.deliver()
	return c, handover, nil
}

// Close ends the connection and Events. A reaper whose supervisor lives but has
// closed its connection kills it, so this is for tests and the very end.
func (c *Client) Close() error {
	c.close()
	return c.conn.Close()
}

// Lost tells whether the connection is gone. It does so before any request fails
// for that: what has failed since then says nothing of what it was about.
func (c *Client) Lost() bool { return c.gone.Load() }

// Events gives what happens, in order. It is closed when the connection is
// gone; the supervisor then exits. However slowly it is read, nothing is lost
// and no request waits for it.
func (c *Client) Events() <-chan Event { return c.events }

// Begin records the intent to fork the process of start id, before the fork.
// From here to Register or Abandon the reaper holds every ended process that it
// does not know, for it may be the one.
func (c *Client) Begin(id uint64) error {
	_, err := c.call("begin start", message{Kind: kindBegin, ID: id}, nil)
	return err
}

// Register closes the intent of id: the exit of the process pid, which pidfd
// refers to, will be reported, also when it has already ended. pidfd stays the
// caller's; the reaper keeps a duplicate. It fails with ECHILD when the process
// is no child of the reaper, with EINVAL when pidfd is not its pidfd, with
// EEXIST when the id or the process is registered already, and with EMFILE when
// the reaper can keep no more descriptors; the intent is then still open.
func (c *Client) Register(id uint64, pid int, pidfd *os.File) error {
	if pid <= 0 || pid > maxPID {
		return &Error{Op: fmt.Sprint("register start ", id), Text: fmt.Sprint("pid ", pid), Errno: syscall.EINVAL}
	}
	_, err := c.call("register start", message{Kind: kindRegister, ID: id, PID: pid}, []*os.File{pidfd})
	return err
}

// Abandon closes the intent of id, open or from an earlier supervisor, without a
// registration; an unknown id is no fault. It returns when the request is sent.
func (c *Client) Abandon(id uint64) error {
	return c.send(message{Kind: kindAbandon, ID: id}, nil)
}

// Ack acknowledges the exit with this Seq: the process is reaped and its
// registration forgotten. An unknown Seq is no fault. It returns when the
// request is sent; should it be lost with this supervisor, the next is told the
// same exit again.
func (c *Client) Ack(seq uint64) error {
	return c.send(message{Kind: kindAck, Seq: seq}, nil)
}

// Store gives the reaper duplicates of 1 to 250 files to keep under a name of 1
// to 255 bytes, in place of those that it kept under it before. The files stay
// the caller's. It fails with EMFILE when the reaper can keep no more.
func (c *Client) Store(name string, files ...*os.File) error {
	op := "store descriptors as"
	if err := checkName(op, name); err != nil {
		return err
	}
	if len(files) == 0 || len(files) > wire.MaxFDs {
		return &Error{Op: op + " " + name, Text: fmt.Sprint(len(files), " of them"), Errno: syscall.EINVAL}
	}
	_, err := c.call(op, message{Kind: kindStore, Name: name}, files)
	return err
}

// Drop makes the reaper close what it keeps under the name; an unknown name is
// no fault.
func (c *Client) Drop(name string) error {
	op := "drop stored descriptors"
	if err := checkName(op, name); err != nil {
		return err
	}
	_, err := c.call(op, message{Kind: kindDrop, Name: name}, nil)
	return err
}

// Stats asks for the reaper's counts.
func (c *Client) Stats() (Stats, error) {
	reply, err := c.call("ask for the reaper's counts", message{Kind: kindStats}, nil)
	return reply.Stats, err
}

// Exit makes the reaper end, with the exit code 0 to 255, as soon as this
// supervisor has ended, which it must do next: past ten seconds it is killed.
func (c *Client) Exit(code int) error {
	if code < 0 || code > 255 {
		return &Error{Op: "end the reaper", Text: fmt.Sprint("exit code ", code), Errno: syscall.EINVAL}
	}
	_, err := c.call("end the reaper", message{Kind: kindExit, Number: code}, nil)
	return err
}

// Reexec makes the reaper execute the binary that is now at its own path in its
// place, with everything that it keeps, and then start launcher and supervisor
// from that. On success this supervisor loses its connection (ErrLost) and is
// killed: it has stored what it needs before. The caller has also made sure that
// the binary runs here, for one that does not get to Run is the end of the
// reaper. Any other error means that nothing has changed.
func (c *Client) Reexec() error {
	_, err := c.call("re-execute the reaper", message{Kind: kindReexec}, nil)
	return err
}

// Beat says that this supervisor is alive, and will say so again within that
// time; else the reaper takes it for hung: it sends SIGABRT, at which a Go
// program tells where each goroutine is, then SIGKILL, and starts another. From
// one Beat to the next counts time in which the machine runs (CLOCK_MONOTONIC,
// clock_gettime(2)) and the reaper with it: after a pause of both there is a
// whole period again. 0 ends the watch; up to 24 hours are taken. The watch goes
// on over the end of the supervisor: the next one is to Beat for the first time
// within three times as long. It returns when the request is sent.
func (c *Client) Beat(within time.Duration) error {
	if within < 0 {
		within = 0
	}
	return c.send(message{Kind: kindBeat, Within: uint64(within)}, nil)
}

// Finish says how the reaper goes on at its end, as PID 1 of a machine or of a
// container: it then executes this binary in its place, with these 1 to 64
// arguments (the first is the program's name). That comes when this supervisor,
// or a later one, has called Exit and has ended, and when the time within is over
// whatever the supervisor does. All descriptors are closed then but the standard
// streams and those that were stored under a name that begins with KeptPrefix,
// which the binary finds with Kept; no signal is blocked. What runs goes on to
// run as its children.
//
// A second Finish gives other arguments, and counts only if it makes the time
// shorter: a supervisor that dies and asks again does not put the end off. No
// arguments withdraw it. It fails with EPERM where the reaper is not PID 1.
func (c *Client) Finish(argv []string, within time.Duration) error {
	const op = "have the end prepared"
	total := 0
	for _, a := range argv {
		total += len(a)
		if strings.IndexByte(a, 0) >= 0 {
			return &Error{Op: op, Text: fmt.Sprintf("an argument with a zero byte, %q", a), Errno: syscall.EINVAL}
		}
	}
	if len(argv) > maxArgs || total > maxArgBytes || within < 0 {
		return &Error{Op: op, Text: fmt.Sprint(len(argv), " arguments of ", total, " bytes within ", within), Errno: syscall.EINVAL}
	}
	_, err := c.call(op, message{Kind: kindFinish, Args: argv, Within: uint64(within)}, nil)
	return err
}

// Emergency asks for Config.Emergency to be started, unless it runs. Its end is
// told as EmergencyEnded. It fails with EPERM where the reaper is not PID 1, or
// has none.
func (c *Client) Emergency() error {
	_, err := c.call("start the emergency shell", message{Kind: kindEmergency}, nil)
	return err
}

// ReplaceLauncher has the launcher killed and another started, which comes as a
// Launcher event: for a launcher that does not answer.
func (c *Client) ReplaceLauncher() error {
	_, err := c.call("replace the launcher", message{Kind: kindReplace}, nil)
	return err
}

func checkName(op, name string) error {
	if name == "" || len(name) > maxName {
		return &Error{Op: op, Text: fmt.Sprintf("a name of %d bytes", len(name)), Errno: syscall.EINVAL}
	}
	return nil
}

// offered is the revision that the reaper of this process has told.
func offered() int {
	n, err := strconv.Atoi(os.Getenv(revisionVariable))
	os.Unsetenv(revisionVariable) // not for others
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// send sends one message.
func (c *Client) send(m message, files []*os.File) error {
	if m.Kind.since() > c.revision {
		return &Error{Op: "ask the reaper", Text: "it is of an older version, and cannot do that until berth daemon-reexec", Errno: syscall.ENOSYS}
	}
	data := m.encode(nil)
	err := wire.Descriptors(files, func(fds []int) error { return c.conn.Send(data, fds) })
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		c.gone.Store(true)
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return err
}

// call sends a request and waits for its reply. The message's subject is added
// to op for errors.
func (c *Client) call(op string, m message, files []*os.File) (message, error) {
	switch m.Kind {
	case kindBegin, kindRegister:
		op += fmt.Sprint(" ", m.ID)
	case kindStore, kindDrop:
		op += " " + m.Name
	}
	answer := make(chan message, 1)
	c.mu.Lock()
	if c.lost != nil {
		c.mu.Unlock()
		return message{}, fmt.Errorf("cannot %s: %w", op, c.lost)
	}
	c.last++
	m.Request = c.last
	c.waiting[m.Request] = answer
	c.mu.Unlock()

	if err := c.send(m, files); err != nil {
		c.mu.Lock()
		delete(c.waiting, m.Request)
		c.mu.Unlock()
		return message{}, fmt.Errorf("cannot %s: %w", op, err)
	}
	reply, ok := <-answer
	if !ok {
		return message{}, fmt.Errorf("cannot %s: %w", op, c.lost)
	}
	if reply.Errno != 0 {
		return reply, &Error{Op: op, Text: reply.Text, Errno: syscall.Errno(reply.Errno)}
	}
	return reply, nil
}

// receive reads the connection to its end.
func (c *Client) receive() {
	for {
		m, files, err := receiveMessage(c.conn)
		if err != nil {
			c.end(err)
			return
		}
		switch m.Kind {
		case kindReply:
			c.mu.Lock()
			answer := c.waiting[m.Request]
			delete(c.waiting, m.Request)
			c.mu.Unlock()
			if answer != nil {
				answer <- m
			}
		case kindExited:
			c.post(m.Exit)
		case kindSignal:
			c.post(Signal{syscall.Signal(m.Number)})
		case kindLauncher:
			c.post(Launcher{files[0]})
		case kindEmergencyEnded:
			c.post(EmergencyEnded{})
		default:
			if !m.Kind.known() { // of a newer reaper
				closeFiles(files)
				continue
			}
			c.end(fmt.Errorf("message of kind %d out of place", m.Kind))
			return
		}
	}
}

// end marks the connection as lost and lets go of all who wait.
func (c *Client) end(err error) {
	c.gone.Store(true)
	c.conn.Close()
	c.mu.Lock()
	c.lost = ErrLost
	if err != io.EOF {
		c.lost = fmt.Errorf("%w: %w", ErrLost, err)
	}
	for _, answer := range c.waiting {
		close(answer)
	}
	c.waiting = nil
	c.mu.Unlock()
	c.wake()
}

// post queues an event. What the reaper sends is bounded: each exit once, a
// signal for each that came, a launcher for each that died.
func (c *Client) post(e Event) {
	c.mu.Lock()
	c.incoming = append(c.incoming, e)
	c.mu.Unlock()
	c.wake()
}

func (c *Client) wake() {
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

// deliver moves events from incoming to the channel.
func (c *Client) deliver() {
	defer close(c.events)
	for {
		c.mu.Lock()
		batch, lost := c.incoming, c.lost
		c.incoming = nil
		c.mu.Unlock()
		for i, e := range batch {
			select {
			case c.events <- e:
			case <-c.closed.Done():
				closeEvents(batch[i:])
				return
			}
		}
		if len(batch) > 0 {
			continue
		}
		if lost != nil {
			return
		}
		select {
		case <-c.arrived:
		case <-c.closed.Done():
			return
		}
	}
}

// closeEvents closes the descriptors in events that nobody will take.
func closeEvents(events []Event) {
	for _, e := range events {
		if l, ok := e.(Launcher); ok {
			l.Conn.Close()
		}
	}
}
