package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"berth/isolate/cgroup/nsinit"
	"berth/supervisor/history"
)

// Client speaks to a daemon. Its methods may be called from any goroutine;
// errors of the daemon are *Error.
type Client struct {
	path string
	http *http.Client
}

// NewClient gives a client for the socket at path; nothing is connected yet.
func NewClient(path string) *Client {
	c := &Client{path: path}
	c.http = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return c.dial(ctx)
	}}}
	return c
}

// ErrNoDaemon is the error when nobody serves the socket.
var ErrNoDaemon = errors.New("berthd does not run here")

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrNoDaemon, err)
	}
	return conn, nil
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(b)
	}
	u := url.URL{Scheme: "http", Host: "berth", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), text)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the URL is of no use to people
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp, nil
}

func readError(resp *http.Response) error {
	e := &Error{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(e); err != nil || e.Message == "" {
		return &Error{Code: "failed", Message: "the daemon answered " + resp.Status}
	}
	return e
}

func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (T, error) {
	var out T
	resp, err := c.do(ctx, method, path, query, body)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("cannot read the daemon's answer: %w", err)
	}
	return out, nil
}

func unitPath(unit string, rest string) string { return "/v1/units/" + unit + rest }

// Daemon gives the state of the daemon itself.
func (c *Client) Daemon(ctx context.Context) (*Daemon, error) {
	return call[*Daemon](ctx, c, "GET", "/v1/daemon", nil, nil)
}

// List gives all units in name order.
func (c *Client) List(ctx context.Context) ([]Unit, error) {
	return call[[]Unit](ctx, c, "GET", "/v1/units", nil, nil)
}

// Status gives all of one unit.
func (c *Client) Status(ctx context.Context, unit string) (*Status, error) {
	return call[*Status](ctx, c, "GET", unitPath(unit, ""), nil, nil)
}

// Why tells what led to the unit's state.
func (c *Client) Why(ctx context.Context, unit string) (*Why, error) {
	return call[*Why](ctx, c, "GET", unitPath(unit, "/why"), nil, nil)
}

// Graph gives all units with what orders them and the times of their way up.
func (c *Client) Graph(ctx context.Context) ([]Node, error) {
	return call[[]Node](ctx, c, "GET", "/v1/graph", nil, nil)
}

// Boot gives what came before the units where berthd is PID 1.
func (c *Client) Boot(ctx context.Context) (*Boot, error) {
	return call[*Boot](ctx, c, "GET", "/v1/boot", nil, nil)
}

// Command has something done to units and waits for it unless cmd.NoBlock.
func (c *Client) Command(ctx context.Context, cmd Command) (*Result, error) {
	return call[*Result](ctx, c, "POST", "/v1/command", nil, cmd)
}

// Stops tells how far stops have got: of the named units and those that they wait
// for, or of all.
func (c *Client) Stops(ctx context.Context, units []string) ([]Stopping, error) {
	return call[[]Stopping](ctx, c, "GET", "/v1/stops", url.Values{"unit": units}, nil)
}

// Reload has the unit files read again and applied.
func (c *Client) Reload(ctx context.Context) (*Reload, error) {
	return call[*Reload](ctx, c, "POST", "/v1/reload", nil, nil)
}

// Apply has the unit files read again and applied, even where that is held back.
func (c *Client) Apply(ctx context.Context) (*Reload, error) {
	return call[*Reload](ctx, c, "POST", "/v1/apply", nil, nil)
}

// Rollback has an earlier generation taken up; 0: the one before that came up
// without fault.
func (c *Client) Rollback(ctx context.Context, generation uint64) (*Reload, error) {
	return call[*Reload](ctx, c, "POST", "/v1/rollback", nil, Rollback{generation})
}

// History gives the generations that are kept, the oldest first.
func (c *Client) History(ctx context.Context) ([]history.Record, error) {
	return call[[]history.Record](ctx, c, "GET", "/v1/history", nil, nil)
}

// Plan tells what Apply would do.
func (c *Client) Plan(ctx context.Context) (*Reload, error) {
	return call[*Reload](ctx, c, "GET", "/v1/plan", nil, nil)
}

// Spec gives the effective unit as TOML or as an OCI config.json.
func (c *Client) Spec(ctx context.Context, unit string, oci bool) ([]byte, error) {
	q := url.Values{}
	if oci {
		q.Set("form", "oci")
	}
	resp, err := c.do(ctx, "GET", unitPath(unit, "/spec"), q, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// Stats gives those of the named units, or of all that run.
func (c *Client) Stats(ctx context.Context, units []string) ([]Stats, error) {
	return call[[]Stats](ctx, c, "GET", "/v1/stats", url.Values{"unit": units}, nil)
}

// Containers gives the same figures in the shape of nsinit's stats, by unit.
func (c *Client) Containers(ctx context.Context, units []string) (map[string]*nsinit.Container, error) {
	return call[map[string]*nsinit.Container](ctx, c, "GET", "/v1/stats", url.Values{"unit": units, "form": {"nsinit"}}, nil)
}

// Metrics gives those of the daemon and of all units in the text format of Prometheus.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	resp, err := c.do(ctx, "GET", "/metrics", nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// Reexec has the daemon replace itself by the program on disk.
func (c *Client) Reexec(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, "POST", "/v1/daemon/reexec", nil, nil)
	return err
}

// Shutdown begins the stop of everything, and returns when it has begun.
func (c *Client) Shutdown(ctx context.Context, q Shutdown) (*ShuttingDown, error) {
	return call[*ShuttingDown](ctx, c, "POST", "/v1/shutdown", nil, q)
}

// Events subscribes; the subscription is in force when it returns. The sequence
// ends with an error when the connection does, and without one when ctx does.
func (c *Client) Events(ctx context.Context) (iter.Seq2[Event, error], error) {
	return lines[Event](ctx, c, "/v1/events", nil)
}

// Logs gives log lines in order of time.
func (c *Client) Logs(ctx context.Context, q LogQuery) (iter.Seq2[LogEntry, error], error) {
	v := url.Values{"unit": q.Units, "lines": {strconv.Itoa(q.Lines)}}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	if q.Follow {
		v.Set("follow", "true")
	}
	return lines[LogEntry](ctx, c, "/v1/logs", v)
}

func lines[T any](ctx context.Context, c *Client, path string, q url.Values) (iter.Seq2[T, error], error) {
	resp, err := c.do(ctx, "GET", path, q, nil)
	if err != nil {
		return nil, err
	}
	return func(yield func(T, error) bool) {
		defer resp.Body.Close()
		d := json.NewDecoder(resp.Body)
		for {
			var v T
			err := d.Decode(&v)
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				return
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}, nil
}

// Remote is the client's end of an exec session.
type Remote struct {
	conn net.Conn
	in   *bufio.Reader
	out  *frameWriter
}

// Exec starts a process in a running unit. The caller closes the Remote.
func (c *Client) Exec(ctx context.Context, unit string, e Exec) (*Remote, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(e)
	if err != nil {
		conn.Close()
		return nil, err
	}
	req, err := http.NewRequest("POST", "http://berth"+unitPath(url.PathEscape(unit), "/exec"), bytes.NewReader(body))
	if err != nil {
		conn.Close()
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", upgradeProtocol)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	in := bufio.NewReaderSize(conn, MaxFrame)
	err = req.Write(conn)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(in, req)
	}
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = readError(resp)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &Remote{conn: conn, in: in, out: &frameWriter{w: conn}}, nil
}

// Stdin gives a writer for the process's input; CloseStdin ends it.
func (r *Remote) Stdin() io.Writer { return stream{r.out, StdinFrame} }

// CloseStdin tells the process that its input has ended.
func (r *Remote) CloseStdin() error { return r.out.frame(StdinEndFrame, nil) }

// Resize tells the size of the terminal.
func (r *Remote) Resize(rows, cols uint16) error {
	return r.out.frame(ResizeFrame, []byte{byte(rows >> 8), byte(rows), byte(cols >> 8), byte(cols)})
}

// Signal sends a signal, named without SIG, to the process.
func (r *Remote) Signal(name string) error { return r.out.frame(SignalFrame, []byte(name)) }

// Copy writes the process's output until it ends and gives its exit code.
func (r *Remote) Copy(stdout, stderr io.Writer) (int, error) {
	buf := make([]byte, MaxFrame)
	for {
		kind, data, err := ReadFrame(r.in, buf)
		if err != nil {
			return 0, fmt.Errorf("the session was cut: %w", err)
		}
		switch kind {
		case StdoutFrame:
			_, err = stdout.Write(data)
		case StderrFrame:
			_, err = stderr.Write(data)
		case FailureFrame:
			return 0, &Error{Code: "failed", Message: string(data)}
		case ExitFrame:
			if len(data) != 4 {
				return 0, errors.New("the session ended without an exit code")
			}
			return int(int32(binary.BigEndian.Uint32(data))), nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// Close ends the session; the process is killed if it still runs.
func (r *Remote) Close() error { return r.conn.Close() }
