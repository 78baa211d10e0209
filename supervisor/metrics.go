package supervisor

import (
	"context"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"
)

// Metrics looks at the state once, in the loop; the groups are read outside of
// it, one after the other, for as long as somebody waits for them.
func (b backend) Metrics(ctx context.Context) (*api.Metrics, error) {
	m := &api.Metrics{Version: b.cfg.Version, Supervisors: b.hand.supervisors}
	if n, err := b.reaper.Stats(); err == nil {
		m.Orphans = &n.Orphans
	}
	var runs []*run // of m.Units
	err := b.ask(ctx, func() {
		m.Generation, m.ReloadFailed = b.generation, b.invalid.HasErrors()
		for _, name := range b.state.Names() {
			u, _ := b.state.Unit(name)
			m.Units = append(m.Units, unitMetrics(u))
			runs = append(runs, b.runs[u.Incarnation])
		}
	})
	if err != nil {
		return nil, err
	}
	for i, r := range runs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r != nil {
			measure(r, &m.Units[i])
		}
	}
	return m, nil
}

func unitMetrics(u *core.Unit) api.UnitMetrics {
	m := api.UnitMetrics{
		Name: u.Name, Phase: u.Phase, Desired: u.Up, Restarts: u.Restarts,
		Ready: u.Ready || u.Phase == core.Completed, Started: startedAt(u),
	}
	if u.Config != nil && len(u.Config.Health) > 0 {
		healthy := u.Health() == core.Healthy
		m.Healthy = &healthy
	}
	return m
}

// startedAt is when the program was executed last; a group has none and is up
// when it is ready.
func startedAt(u *core.Unit) time.Time {
	if !u.StartedAt.IsZero() {
		return u.StartedAt
	}
	return u.Times.Ready
}

// measure fills in what the kernel tells of the run's group, if there is one.
func measure(r *run, m *api.UnitMetrics) {
	r.mu.Lock()
	group := r.group
	r.mu.Unlock()
	if group == nil {
		return
	}
	stats, err := group.Stats()
	if err != nil {
		return // it ended meanwhile
	}
	m.Tasks = &stats.Pids.Current
	if n := stats.CPU.UsageUsec; n > 0 {
		m.CPUUsec = &n
	}
	// Without a memory controller all of these are zero.
	if memory := stats.Memory; memory.Stat != nil {
		m.Memory, m.MemoryPeak, m.OOMKills = &memory.Current, memory.Peak, &memory.OOMKills
	}
}
