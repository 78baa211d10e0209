package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxBody = 1 << 20 // bytes of a request's body
	// patience is how long a client may take to send a request's body, or to
	// take an answer that is no stream.
	patience = 30 * time.Second
)

// Server serves the control API.
type Server struct {
	backend Backend
	roles   Roles
	http    *http.Server
	// ending: a shutdown was asked for, and its answer may be under way.
	ending atomic.Bool
}

// Listen makes the socket at path, replacing a stale one, and serves until
// Close. The socket is open to everybody to connect: who may do what is decided
// by the kernel's word on the peer, for each request.
func Listen(path string, backend Backend, roles Roles) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the directory of the control socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot replace the control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot open the control socket to its users: %w", err)
	}
	s := &Server{backend: backend, roles: roles}
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return withPeer(ctx, identify(c, backend.UnitOf))
		},
	}
	limited := &limitedListener{Listener: l, uids: map[int]int{}}
	go func() { _ = s.http.Serve(limited) }() // ends with http.ErrServerClosed
	return s, nil
}

// lastAnswer is how long Close waits for the answer to a shutdown that is over as
// soon as it is asked for.
const lastAnswer = 300 * time.Millisecond

// Close ends the server and every connection, and removes the socket.
func (s *Server) Close() error {
	if s.ending.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), lastAnswer)
		defer cancel()
		_ = s.http.Shutdown(ctx) // streams are cut
	}
	return s.http.Close()
}

// Handler serves the routes of the API and answers everything else with an Error.
func (s *Server) Handler() http.Handler {
	m := http.NewServeMux()
	handle := func(pattern string, role Role, f handler) {
		m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			p := peerOf(r.Context())
			if s.roles.of(p) < role {
				text := fmt.Sprintf("this needs the role %s, which user %d does not have", role, p.uid)
				if p.why != "" {
					text = "refused: " + p.why
				}
				fail(w, &Error{Code: "forbidden", Message: text, Hint: "run it as root, or as a member of the group that berthd.toml names"})
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			if err := f(w, r); err != nil {
				fail(w, err)
			}
		})
	}
	for _, route := range s.routes() {
		handle(route.method+" "+route.path, route.role, route.serve)
	}
	handle("/", RoleNone, func(w http.ResponseWriter, r *http.Request) error {
		return &Error{Code: "usage", Message: fmt.Sprintf("there is no %s %s in this API", r.Method, r.URL.Path)}
	})
	return m
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) error {
	m, err := s.backend.Metrics(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", metricsType)
	bounded(w)
	_, err = w.Write(m.Text())
	return ignoreWrite(err)
}

func (s *Server) stats(w http.ResponseWriter, r *http.Request) error {
	units := r.URL.Query()["unit"]
	switch form := r.URL.Query().Get("form"); form {
	case "":
		out, err := s.backend.Stats(r.Context(), units)
		return answer(w, out, err)
	case "nsinit":
		out, err := s.backend.Containers(r.Context(), units)
		return answer(w, out, err)
	default:
		return &Error{Code: "usage", Message: fmt.Sprintf("form=%q is no form of statistics; there is nsinit", form)}
	}
}

func (s *Server) rollback(w http.ResponseWriter, r *http.Request) error {
	var to Rollback
	if err := decode(w, r, &to); err != nil {
		return err
	}
	return s.changes(func(ctx context.Context) (*Reload, error) { return s.backend.Rollback(ctx, to.Generation) })(w, r)
}

func (s *Server) shutdown(w http.ResponseWriter, r *http.Request) error {
	var q Shutdown
	if err := decode(w, r, &q); err != nil {
		return err
	}
	s.ending.Store(true)
	out, err := s.backend.Shutdown(r.Context(), q)
	return answer(w, out, err)
}

// changes answers with what changes, without secrets for who is not admin.
func (s *Server) changes(f func(context.Context) (*Reload, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		out, err := f(r.Context())
		if err == nil && s.roles.of(peerOf(r.Context())) < RoleAdmin {
			out.Changes = out.Changes.WithoutSecrets()
		}
		return answer(w, out, err)
	}
}

func (s *Server) spec(w http.ResponseWriter, r *http.Request) error {
	oci := r.URL.Query().Get("form") == "oci"
	secrets := s.roles.of(peerOf(r.Context())) >= RoleAdmin
	text, err := s.backend.Spec(r.Context(), r.PathValue("unit"), oci, secrets)
	if err != nil {
		return err
	}
	if oci {
		w.Header().Set("Content-Type", "application/json")
	} else {
		w.Header().Set("Content-Type", "application/toml")
	}
	bounded(w)
	_, err = w.Write(text)
	return ignoreWrite(err)
}

func (s *Server) command(w http.ResponseWriter, r *http.Request) error {
	var c Command
	if err := decode(w, r, &c); err != nil {
		return err
	}
	if len(c.Units) == 0 {
		return &Error{Code: "usage", Message: "no unit is named"}
	}
	out, err := s.backend.Command(r.Context(), c)
	return answer(w, out, err)
}

func (s *Server) eventStream(w http.ResponseWriter, r *http.Request) error {
	events := s.backend.Events(r.Context())
	lines := startStream(w)
	for e := range events {
		if lines.write(e) != nil {
			return nil
		}
	}
	return nil
}

func (s *Server) logStream(w http.ResponseWriter, r *http.Request) error {
	q := LogQuery{Units: r.URL.Query()["unit"], Lines: -1, Follow: r.URL.Query().Get("follow") == "true"}
	if v := r.URL.Query().Get("lines"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < -1 {
			return &Error{Code: "usage", Message: fmt.Sprintf("lines=%q is not a number of lines", v)}
		}
		q.Lines = n
	}
	if v := r.URL.Query().Get("since"); v != "" {
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return &Error{Code: "usage", Message: fmt.Sprintf("since=%q is not an RFC 3339 time", v)}
		}
		q.Since = t
	}
	var lines *lineStream
	if q.Follow {
		// A unit may be silent for long: the client is told at once that the
		// stream has begun, so what can be refused is looked at before.
		for _, unit := range q.Units {
			if _, err := s.backend.Status(r.Context(), unit); err != nil {
				return err
			}
		}
		lines = startStream(w)
	}
	for e, err := range s.backend.Logs(r.Context(), q) {
		if err != nil {
			if lines == nil {
				return err
			}
			return nil // the stream is cut: the client sees its end
		}
		if lines == nil {
			lines = startStream(w)
		}
		if lines.write(e) != nil {
			return nil
		}
	}
	if lines == nil {
		startStream(w)
	}
	return nil
}

// exec upgrades the connection and joins it to the session. All that can be
// refused is refused before the upgrade, as an ordinary answer.
func (s *Server) exec(w http.ResponseWriter, r *http.Request) error {
	if !strings.EqualFold(r.Header.Get("Upgrade"), upgradeProtocol) {
		return &Error{Code: "usage", Message: "exec needs the header Upgrade: " + upgradeProtocol}
	}
	var e Exec
	if err := decode(w, r, &e); err != nil {
		return err
	}
	if len(e.Args) == 0 {
		return &Error{Code: "usage", Message: "no command is given"}
	}
	session, err := s.backend.Exec(r.Context(), r.PathValue("unit"), e)
	if err != nil {
		return err
	}
	defer session.Close()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return &Error{Code: "failed", Message: "cannot take over the connection: " + err.Error()}
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil
	}
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", upgradeProtocol); err != nil {
		return nil
	}
	serveSession(session, buffered.Reader, conn)
	return nil
}

// serveSession moves frames both ways until the process has ended and its
// output is through, or the client is gone (which kills the process, by Close).
func serveSession(session Session, in io.Reader, out io.Writer) {
	w := &frameWriter{w: out}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel() // the client is gone
		fromClient(session, in)
	}()
	done := make(chan struct{}, 2)
	outputs := []struct {
		r    io.Reader
		kind FrameKind
	}{{session.Stdout(), StdoutFrame}, {session.Stderr(), StderrFrame}}
	watched := &activity{}
	n := 0
	for _, o := range outputs {
		if o.r == nil {
			continue
		}
		n++
		go func() {
			_, _ = io.Copy(watched.of(stream{w, o.kind}), o.r) // its end, either way
			done <- struct{}{}
		}()
	}
	code, err := session.Wait(ctx)
	if err != nil {
		return
	}
	// A child that it left behind may hold its output open: not waited for long.
	// A client that reads slowly is: it gets all.
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for idle := 0; n > 0 && idle < 10; {
		select {
		case <-done:
			n--
		case <-look.C:
			if idle++; watched.since() {
				idle = 0
			}
		case <-ctx.Done():
			return
		}
	}
	_ = w.frame(ExitFrame, []byte{byte(code >> 24), byte(code >> 16), byte(code >> 8), byte(code)})
}

// activity tells whether anything is being written.
type activity struct {
	now  atomic.Int32 // writes that go on
	ever atomic.Bool  // one has ended since the last look
}

// since tells whether something was written since the last call, or still is.
func (a *activity) since() bool { return a.ever.Swap(false) || a.now.Load() > 0 }

func (a *activity) of(w io.Writer) io.Writer { return watchedWriter{a, w} }

type watchedWriter struct {
	a *activity
	w io.Writer
}

func (w watchedWriter) Write(p []byte) (int, error) {
	w.a.now.Add(1)
	defer w.a.now.Add(-1)
	defer w.a.ever.Store(true)
	return w.w.Write(p)
}

func fromClient(session Session, in io.Reader) {
	buf := make([]byte, MaxFrame)
	for {
		kind, data, err := ReadFrame(in, buf)
		if err != nil {
			return
		}
		switch kind {
		case StdinFrame:
			if _, err := session.Stdin().Write(data); err != nil {
				continue // it reads no more: the rest is dropped, its output still wanted
			}
		case StdinEndFrame:
			session.Stdin().Close()
		case ResizeFrame:
			if len(data) == 4 {
				_ = session.Resize(uint16(data[0])<<8|uint16(data[1]), uint16(data[2])<<8|uint16(data[3]))
			}
		case SignalFrame:
			_ = session.Signal(string(data))
		}
	}
}

// decode reads the request's body, which is one JSON value and nothing more.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	ctl := http.NewResponseController(w)
	_ = ctl.SetReadDeadline(time.Now().Add(patience)) // a writer without: a test's
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows it")
		}
	}
	if err != nil {
		return &Error{Code: "usage", Message: "cannot read the request: " + err.Error()}
	}
	_ = ctl.SetReadDeadline(time.Time{}) // from here on it tells whether the client is still there
	return nil
}

func answer(w http.ResponseWriter, v any, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	bounded(w)
	return ignoreWrite(json.NewEncoder(w).Encode(v))
}

// bounded gives the client so much time, from now on, to take the answer.
func bounded(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience)) // a writer without: a test's
}

// ignoreWrite drops the error of a client that has gone.
func ignoreWrite(err error) error {
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

var statuses = map[string]int{
	"not-found": http.StatusNotFound, "not-running": http.StatusConflict, "invalid": http.StatusUnprocessableEntity,
	"no-command": http.StatusUnprocessableEntity, "not-executable": http.StatusUnprocessableEntity,
	"forbidden": http.StatusForbidden, "timeout": http.StatusGatewayTimeout, "usage": http.StatusBadRequest,
}

func fail(w http.ResponseWriter, err error) {
	e := &Error{Code: "failed", Message: err.Error()}
	errors.As(err, &e)
	status, ok := statuses[e.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	bounded(w)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e) // the client may be gone
}

// lineStream writes newline-delimited JSON, each line at once.
type lineStream struct {
	enc *json.Encoder
	ctl *http.ResponseController
}

func startStream(w http.ResponseWriter) *lineStream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	l := &lineStream{json.NewEncoder(w), http.NewResponseController(w)}
	_ = l.ctl.SetWriteDeadline(time.Time{}) // that of an earlier answer on the connection; a stream may be read slowly
	_ = l.ctl.Flush()                       // the client sees that the stream has begun
	return l
}

func (l *lineStream) write(v any) error {
	if err := l.enc.Encode(v); err != nil {
		return err
	}
	return l.ctl.Flush()
}
