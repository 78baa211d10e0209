package api

import (
	"context"
	"net/http"
	"reflect"

	"berth/isolate/cgroup/nsinit"
	"berth/supervisor/history"
)

// handler answers a request, or gives what is to be answered as an error.
type handler func(w http.ResponseWriter, r *http.Request) error

// route is one operation of the API. docs/openapi.json is made of the table.
type route struct {
	method, path string
	role         Role
	serve        handler
	summary      string
	query        []parameter
	request      reflect.Type // of the JSON body; nil: there is none
	answer       answerForm
}

// parameter is one of a query.
type parameter struct {
	name, help string
	kind       string   // as in JSON schema: string, integer, boolean
	format     string   // as in JSON schema; "": none
	values     []string // nil: any
	repeated   bool
	required   bool
}

// answerForm is what a success looks like.
type answerForm struct {
	kind  string       // media type; "": the connection changes its protocol
	value reflect.Type // of JSON, and of each line of a stream
	// other is what it is, in place of value, with another form that the query asks for; nil: none.
	other reflect.Type
}

const (
	jsonType   = "application/json"
	streamType = "application/x-ndjson" // one JSON value a line, each as soon as it is there
	tomlType   = "application/toml"
)

func jsonOf[T any]() answerForm   { return answerForm{kind: jsonType, value: reflect.TypeFor[T]()} }
func streamOf[T any]() answerForm { return answerForm{kind: streamType, value: reflect.TypeFor[T]()} }

// asked is the ordinary handler of what has no parameters: it answers with JSON.
func asked[T any](f func(context.Context) (T, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		out, err := f(r.Context())
		return answer(w, out, err)
	}
}

// askedOf is that of what is about the unit in the path.
func askedOf[T any](f func(context.Context, string) (T, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		out, err := f(r.Context(), r.PathValue("unit"))
		return answer(w, out, err)
	}
}

// routes are all operations, in the order of the documents.
func (s *Server) routes() []route {
	b := s.backend
	units := parameter{name: "unit", help: "only these units; all if there is none", kind: "string", repeated: true}
	return []route{
		{method: "GET", path: "/v1/daemon", role: RoleRead, summary: "The state of the daemon itself",
			serve: asked(b.Daemon), answer: jsonOf[Daemon]()},
		{method: "GET", path: "/v1/units", role: RoleRead, summary: "All units, sorted by name",
			serve: asked(b.List), answer: jsonOf[[]Unit]()},
		{method: "GET", path: "/v1/units/{unit}", role: RoleRead, summary: "All of one unit",
			serve: askedOf(b.Status), answer: jsonOf[Status]()},
		{method: "GET", path: "/v1/units/{unit}/spec", role: RoleRead,
			summary: "The effective unit, as a unit file or as an OCI config.json; values of environment variables for admins only",
			query:   []parameter{{name: "form", help: "oci: as a config.json; as TOML if it is left out", kind: "string", values: []string{"oci"}}},
			serve:   s.spec, answer: answerForm{kind: tomlType, other: reflect.TypeFor[map[string]any]()}},
		{method: "GET", path: "/v1/units/{unit}/why", role: RoleRead, summary: "What led to the unit's state",
			serve: askedOf(b.Why), answer: jsonOf[Why]()},
		{method: "POST", path: "/v1/units/{unit}/exec", role: RoleAdmin,
			summary: "Run a process in the unit's container. With the header Upgrade: " + upgradeProtocol + " the connection then carries frames both ways",
			request: reflect.TypeFor[Exec](), serve: s.exec},
		{method: "GET", path: "/v1/graph", role: RoleRead, summary: "What orders the units, and the times of their way up, sorted by name",
			serve: asked(b.Graph), answer: jsonOf[[]Node]()},
		{method: "GET", path: "/v1/boot", role: RoleRead, summary: "What came before the units where berthd is PID 1, and when",
			serve: asked(b.Boot), answer: jsonOf[Boot]()},
		{method: "POST", path: "/v1/command", role: RoleOperate, summary: "Have something done to units; answered when it is done",
			request: reflect.TypeFor[Command](), serve: s.command, answer: jsonOf[Result]()},
		{method: "GET", path: "/v1/stops", role: RoleRead, summary: "How far the stops have got that are under way",
			query: []parameter{units},
			serve: func(w http.ResponseWriter, r *http.Request) error {
				out, err := b.Stops(r.Context(), r.URL.Query()["unit"])
				return answer(w, out, err)
			}, answer: jsonOf[[]Stopping]()},
		{method: "GET", path: "/v1/plan", role: RoleRead, summary: "What an apply of the unit files would change",
			serve: s.changes(b.Plan), answer: jsonOf[Reload]()},
		{method: "POST", path: "/v1/reload", role: RoleOperate, summary: "Read the unit files again, and apply them unless that is held back",
			serve: s.changes(b.Reload), answer: jsonOf[Reload]()},
		{method: "POST", path: "/v1/apply", role: RoleOperate, summary: "Read the unit files again and apply them in any case",
			serve: s.changes(b.Apply), answer: jsonOf[Reload]()},
		{method: "POST", path: "/v1/rollback", role: RoleOperate, summary: "Take up the units of an earlier generation",
			request: reflect.TypeFor[Rollback](), serve: s.rollback, answer: jsonOf[Reload]()},
		{method: "GET", path: "/v1/history", role: RoleRead, summary: "The generations that are kept, the oldest first",
			serve: asked(b.History), answer: jsonOf[[]history.Record]()},
		{method: "GET", path: "/v1/stats", role: RoleRead, summary: "What the units use that run",
			query: []parameter{units, {name: "form", help: "nsinit: by unit, in the shape of nsinit's stats", kind: "string", values: []string{"nsinit"}}},
			serve: s.stats, answer: answerForm{kind: jsonType, value: reflect.TypeFor[[]Stats](), other: reflect.TypeFor[map[string]nsinit.Container]()}},
		{method: "GET", path: "/v1/events", role: RoleRead, summary: "What happens from now on; a slow reader loses the oldest",
			serve: s.eventStream, answer: streamOf[Event]()},
		{method: "GET", path: "/v1/logs", role: RoleRead, summary: "Log lines in order of time",
			query: []parameter{
				{name: "unit", help: "of these units", kind: "string", repeated: true, required: true},
				{name: "lines", help: "the last so many; all if it is left out, or -1", kind: "integer"},
				{name: "since", help: "not before this time (RFC 3339)", kind: "string", format: "date-time"},
				{name: "follow", help: "go on with the lines that come", kind: "boolean"}},
			serve: s.logStream, answer: streamOf[LogEntry]()},
		{method: "POST", path: "/v1/daemon/reexec", role: RoleAdmin, summary: "Have the daemon replace itself by its program on disk",
			serve: func(w http.ResponseWriter, r *http.Request) error {
				return answer(w, struct{}{}, b.Reexec(r.Context()))
			}, answer: jsonOf[struct{}]()},
		{method: "POST", path: "/v1/shutdown", role: RoleAdmin, summary: "Stop everything, then power off, reboot, halt, kexec or soft-reboot; GET /v1/stops tells how far it has got",
			serve: s.shutdown, request: reflect.TypeFor[Shutdown](), answer: jsonOf[ShuttingDown]()},
		{method: "GET", path: "/metrics", role: RoleRead, summary: "Metrics of the daemon and of all units, in the text format of Prometheus",
			serve: s.metrics, answer: answerForm{kind: metricsType}},
	}
}
