package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"berth/isolate/cgroup/nsinit"
	"berth/supervisor/history"
)

// stub answers everything at once; what is fuzzed is the reading of requests.
type stub struct{}

var errStub = errors.New("the stub has none")

func (stub) Daemon(context.Context) (*Daemon, error) { return &Daemon{}, nil }
func (stub) List(context.Context) ([]Unit, error)    { return []Unit{}, nil }
func (stub) Graph(context.Context) ([]Node, error)   { return []Node{{}}, nil }
func (stub) Boot(context.Context) (*Boot, error)     { return &Boot{Spans: []Span{{}}}, nil }

func (stub) Why(context.Context, string) (*Why, error) { return &Why{}, nil }

func (stub) Status(_ context.Context, u string) (*Status, error) {
	return nil, &Error{Code: "not-found", Message: "no unit " + u}
}
func (stub) Command(context.Context, Command) (*Result, error)   { return &Result{}, nil }
func (stub) Reload(context.Context) (*Reload, error)             { return &Reload{}, nil }
func (stub) Stops(context.Context, []string) ([]Stopping, error) { return []Stopping{}, nil }
func (stub) Apply(context.Context) (*Reload, error)              { return &Reload{}, nil }
func (stub) Rollback(context.Context, uint64) (*Reload, error)   { return &Reload{}, nil }
func (stub) History(context.Context) ([]history.Record, error)   { return []history.Record{}, nil }
func (stub) Plan(context.Context) (*Reload, error)               { return &Reload{}, nil }
func (stub) Spec(context.Context, string, bool, bool) ([]byte, error) {
	return []byte("[unit]\n"), nil
}
func (stub) Containers(context.Context, []string) (map[string]*nsinit.Container, error) {
	return map[string]*nsinit.Container{}, nil
}
func (stub) Stats(context.Context, []string) ([]Stats, error) { return []Stats{}, nil }
func (stub) Metrics(context.Context) (*Metrics, error)        { return &Metrics{}, nil }
func (stub) Events(context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) { yield(Event{Unit: "web"}) }
}
func (stub) Logs(_ context.Context, q LogQuery) iter.Seq2[LogEntry, error] {
	return func(yield func(LogEntry, error) bool) {
		if q.Lines != 0 {
			yield(LogEntry{Text: "line"}, nil)
		}
	}
}
func (stub) Exec(context.Context, string, Exec) (Session, error)       { return nil, errStub }
func (stub) Reexec(context.Context) error                              { return nil }
func (stub) Shutdown(context.Context, Shutdown) (*ShuttingDown, error) { return &ShuttingDown{}, nil }
func (stub) UnitOf(int) string                                         { return "" }

// FuzzAPI gives the handler any request: it must answer, with JSON wherever it
// refuses, and never by a panic.
func FuzzAPI(f *testing.F) {
	for _, s := range []struct{ method, target, upgrade, body string }{
		{"GET", "/v1/units", "", ""}, {"GET", "/v1/units/web", "", ""}, {"GET", "/v1/units/we%2Fb/spec?form=oci", "", ""},
		{"POST", "/v1/command", "", `{"verb":"start","units":["web"]}`}, {"POST", "/v1/command", "", `{"verb":"start","units":[]}`},
		{"POST", "/v1/command", "", `{"units":{}}`}, {"POST", "/v1/units/web/exec", upgradeProtocol, `{"args":["sh"],"Rows":70000}`},
		{"GET", "/v1/logs?unit=web&lines=-1&since=2026-01-01T00:00:00Z&follow=true", "", ""}, {"GET", "/v1/logs?lines=x", "", ""},
		{"GET", "/v1/stats?unit=a&unit=b", "", ""}, {"DELETE", "/v1/units", "", ""}, {"POST", "/v1/daemon/reexec", "", "{}"},
		{"GET", "/v1/events", "", ""}, {"POST", "/v1/reload", "", ""}, {"POST", "/v1/apply", "", ""},
		{"POST", "/v1/rollback", "", `{"generation":1}`}, {"GET", "/v1/history", "", ""}, {"GET", "/v1/stops?unit=a", "", ""}, {"GET", "/%zz", "", ""}, {"GET", "/v1/../v1/plan", "", ""},
	} {
		f.Add(s.method, s.target, s.upgrade, s.body)
	}
	h := (&Server{backend: stub{}, roles: Roles{-1, -1}}).Handler()
	f.Fuzz(func(t *testing.T, method, target, upgrade, body string) {
		r, err := http.NewRequest(method, "http://berth", strings.NewReader(body))
		if err != nil {
			return
		}
		u, err := r.URL.Parse(target)
		if err != nil || target == "*" { // that one the library answers itself
			return
		}
		r.URL, r.RequestURI = u, target
		if upgrade != "" {
			r.Header.Set("Upgrade", upgrade)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(withPeer(t.Context(), peer{pid: 1})))
		if w.Code < 400 {
			return
		}
		var e Error
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Code == "" || e.Message == "" {
			t.Fatalf("%s %q: %d %q", method, target, w.Code, w.Body)
		}
	})
}

// Nothing is answered to who may not ask, whatever is asked.
func TestRolesOfRoutes(t *testing.T) {
	h := (&Server{backend: stub{}, roles: Roles{ReadGID: 10, OperateGID: 20}}).Handler()
	read, operate, root := peer{pid: 1, uid: 5, gids: []int{10}}, peer{pid: 1, uid: 5, gids: []int{20}}, peer{pid: 1}
	for _, c := range []struct {
		route string
		least int // the first of the peers below that may
	}{
		{"GET /v1/daemon", 1}, {"GET /v1/units", 1}, {"GET /v1/units/web/spec", 1}, {"GET /v1/plan", 1}, {"GET /v1/stats", 1},
		{"GET /v1/events", 1}, {"GET /v1/logs", 1}, {"POST /v1/reload", 2}, {"POST /v1/daemon/reexec", 3},
	} {
		method, path, _ := strings.Cut(c.route, " ")
		for i, p := range []peer{{pid: 1, uid: 5}, read, operate, root, {pid: 1, why: "some reason"}} {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(withPeer(t.Context(), p), method, path, nil)
			h.ServeHTTP(w, r)
			allowed := i >= c.least && p.why == ""
			if (w.Code == http.StatusForbidden) == allowed {
				t.Errorf("%s by peer %d: %d", c.route, i, w.Code)
			}
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/v1/units", nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("a request of nobody: %d", w.Code)
	}
}

// FuzzFrames reads any bytes as frames: what is read and written again is what
// was there, and no more than a frame is ever taken.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 2, 'h', 'i', 2, 0, 0, 0, 0})
	f.Add([]byte{3, 0, 0, 0, 4, 0, 24, 0, 80, 4, 0, 0, 0, 3, 'I', 'N', 'T'})
	f.Add([]byte{1, 255, 255, 255, 255})
	f.Add([]byte{9, 0, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 9, 'x'})
	f.Fuzz(func(t *testing.T, in []byte) {
		r, buf := bytes.NewReader(in), make([]byte, MaxFrame)
		var out bytes.Buffer
		w := &frameWriter{w: &out}
		for {
			at := len(in) - r.Len()
			kind, data, err := ReadFrame(r, buf)
			if err == io.EOF && at != len(in) {
				t.Fatalf("the end within a frame is taken for an end, at %d of %d", at, len(in))
			}
			if err != nil {
				if !bytes.Equal(out.Bytes(), in[:at]) {
					t.Fatalf("%x became %x", in[:at], out.Bytes())
				}
				return
			}
			if err := w.frame(kind, data); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Each frame of a client is for the session; garbage ends it without harm.
func FuzzSession(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 2, 'h', 'i', 2, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 24, 0, 80, 4, 0, 0, 0, 3, 'I', 'N', 'T'})
	f.Add([]byte{3, 0, 0, 0, 1, 0, 5, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			serveSession(&stubSession{}, bytes.NewReader(in), io.Discard)
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the session does not end with its client")
		}
	})
}

// stubSession is a process that never ends by itself.
type stubSession struct{ nowhere }

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Read([]byte) (int, error)    { return 0, io.EOF }
func (nowhere) Close() error                { return nil }

func (s *stubSession) Stdin() io.WriteCloser          { return s.nowhere }
func (s *stubSession) Stdout() io.Reader              { return s.nowhere }
func (s *stubSession) Stderr() io.Reader              { return nil }
func (s *stubSession) Resize(rows, cols uint16) error { return nil }
func (s *stubSession) Signal(string) error            { return nil }
func (s *stubSession) Wait(ctx context.Context) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}
