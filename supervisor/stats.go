package supervisor

import (
	"context"
	"fmt"
	"time"

	"berth/isolate/cgroup"
	"berth/isolate/cgroup/nsinit"
	"berth/supervisor/api"
)

// measured is a unit that runs, as its statistics need it.
type measured struct {
	name  string
	group *cgroup.Group
	pid   int // of the main process; 0: none
}

// measured gives the named units, or all that run and have a group.
func (b backend) measured(ctx context.Context, names []string) ([]measured, error) {
	type entry struct {
		name string
		run  *run
	}
	var list []entry
	var failed error
	err := b.ask(ctx, func() {
		wanted := names
		if len(wanted) == 0 {
			wanted = b.state.Names()
		}
		for _, name := range wanted {
			u, ok := b.state.Unit(name)
			if !ok {
				failed = b.notFound(name)
				return
			}
			if r := b.runs[u.Incarnation]; r != nil {
				list = append(list, entry{name, r})
			} else if len(names) > 0 {
				failed = &api.Error{Code: "not-running", Message: fmt.Sprintf("unit %s is not running", name)}
				return
			}
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	var out []measured
	for _, e := range list {
		m := measured{name: e.name}
		e.run.mu.Lock()
		m.group = e.run.group
		if e.run.proc != nil {
			m.pid = e.run.proc.pid
		}
		e.run.mu.Unlock()
		if m.group != nil {
			out = append(out, m)
		}
	}
	return out, nil
}

func (b backend) Stats(ctx context.Context, names []string) ([]api.Stats, error) {
	list, err := b.measured(ctx, names)
	if err != nil {
		return nil, err
	}
	out := []api.Stats{}
	for _, m := range list {
		stats, err := m.group.Stats()
		if err != nil {
			continue // it ended between the look and the reading
		}
		out = append(out, api.Stats{Unit: m.name, Time: time.Now(), Stats: stats})
	}
	return out, nil
}

func (b backend) Containers(ctx context.Context, names []string) (map[string]*nsinit.Container, error) {
	list, err := b.measured(ctx, names)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*nsinit.Container)
	for _, m := range list {
		stats, err := nsinit.Read(m.group)
		if err != nil {
			continue // it ended between the look and the reading
		}
		c := &nsinit.Container{Interfaces: []nsinit.Interface{}, Cgroup: stats}
		if m.pid != 0 {
			if list, err := nsinit.Interfaces(m.pid); err == nil { // it ended: none
				c.Interfaces = list
			}
		}
		out[m.name] = c
	}
	return out, nil
}
