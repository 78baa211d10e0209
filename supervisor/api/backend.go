package api

import (
	"context"
	"io"
	"iter"

	"berth/isolate/cgroup/nsinit"
	"berth/supervisor/history"
)

// Backend is what the server asks: the supervisor. Its methods may be called
// from any goroutine; their errors are *Error where a client can act on them.
type Backend interface {
	Daemon(ctx context.Context) (*Daemon, error)
	List(ctx context.Context) ([]Unit, error)
	Status(ctx context.Context, unit string) (*Status, error)
	Why(ctx context.Context, unit string) (*Why, error)
	// Graph gives all units, sorted by name.
	Graph(ctx context.Context) ([]Node, error)
	// Boot gives what came before the units where berthd is PID 1.
	Boot(ctx context.Context) (*Boot, error)
	Command(ctx context.Context, c Command) (*Result, error)
	// Stops tells how far stops have got: of the named units and those that they
	// wait for, or of all.
	Stops(ctx context.Context, units []string) ([]Stopping, error)
	// Reload reads the unit files again and applies them unless that is held back.
	Reload(ctx context.Context) (*Reload, error)
	// Apply does so in any case; Plan only tells what Apply would do.
	Apply(ctx context.Context) (*Reload, error)
	Plan(ctx context.Context) (*Reload, error)
	// Rollback takes up an earlier generation; 0: the one before that came up without fault.
	Rollback(ctx context.Context, generation uint64) (*Reload, error)
	// History gives the generations that are kept, the oldest first.
	History(ctx context.Context) ([]history.Record, error)
	// Spec gives the effective unit as TOML, or with oci as an OCI config.json;
	// without secrets, the values of environment variables are left out.
	Spec(ctx context.Context, unit string, oci, secrets bool) ([]byte, error)
	// Stats gives those of the named units, or of all that run.
	Stats(ctx context.Context, units []string) ([]Stats, error)
	// Containers gives the same figures in the shape of nsinit's stats, by unit.
	Containers(ctx context.Context, units []string) (map[string]*nsinit.Container, error)
	// Metrics gives those of the daemon and of all units.
	Metrics(ctx context.Context) (*Metrics, error)
	// Events yields events until ctx ends; a slow reader loses the oldest.
	Events(ctx context.Context) iter.Seq[Event]
	Logs(ctx context.Context, q LogQuery) iter.Seq2[LogEntry, error]
	// Exec starts a process in a running unit.
	Exec(ctx context.Context, unit string, e Exec) (Session, error)
	Reexec(ctx context.Context) error
	// Shutdown begins the stop of everything. It does not wait for it.
	Shutdown(ctx context.Context, q Shutdown) (*ShuttingDown, error)
	// Unit tells the unit whose cgroup the process is in, "" for none: its peers are refused.
	UnitOf(pid int) string
}

// Session is a process started by Exec. Close kills it if it still runs.
type Session interface {
	io.Closer
	Stdin() io.WriteCloser // with a terminal: its input
	Stdout() io.Reader     // with a terminal: its output
	Stderr() io.Reader     // nil with a terminal
	Resize(rows, cols uint16) error
	Signal(name string) error
	// Wait gives the exit code, 128+n after signal n.
	Wait(ctx context.Context) (int, error)
}
