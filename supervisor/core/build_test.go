package core

import (
	"maps"
	"time"

	"berth/units"
)

// svc returns a unit with the documented defaults, changed by opts.
func svc(name string, opts ...func(*units.Unit)) *units.Unit {
	u := &units.Unit{Name: name}
	u.Unit.Start = "boot"
	u.Service.Type = "service"
	u.Service.Command = units.Command{"/bin/" + name}
	u.Restart = units.Restart{
		Policy: "on-failure", Delay: units.Duration(500 * time.Millisecond), Factor: 2,
		MaxDelay: units.Duration(30 * time.Second), Jitter: 0.1, ResetAfter: units.Duration(30 * time.Second),
		Limit: units.StartLimit{Burst: 10, Within: units.Duration(5 * time.Minute)},
	}
	u.Stop = units.Stop{Signal: "TERM", Timeout: units.Duration(10 * time.Second)}
	for _, o := range opts {
		o(u)
	}
	return u
}

func kind(t string) func(*units.Unit)   { return func(u *units.Unit) { u.Service.Type = t } }
func policy(p string) func(*units.Unit) { return func(u *units.Unit) { u.Restart.Policy = p } }
func demand(u *units.Unit)              { u.Unit.Start = "demand" }
func remain(u *units.Unit)              { u.Service.Type, u.Service.Remain = "task", true }
func replaces(u *units.Unit)            { u.Restart.Mode = "replace" }
func postStart(u *units.Unit)           { u.Service.PostStart = []units.Command{{"/bin/ps"}} }
func postStop(u *units.Unit)            { u.Service.PostStop = []units.Command{{"/bin/ps"}} }
func notifies(u *units.Unit) {
	u.Ready = units.Ready{Notify: true, Timeout: units.Duration(90 * time.Second)}
}
func watched(interval units.Duration, action string) func(*units.Unit) {
	return func(u *units.Unit) { u.Watchdog = units.Watchdog{Interval: interval, OnFailure: action} }
}

func reloadNotify(u *units.Unit) { u.Service.Reload = &units.Reload{Signal: "HUP", Notify: true} }
func reloadCommandNotify(u *units.Unit) {
	u.Service.Reload = &units.Reload{Command: units.Command{"/bin/rl"}, Notify: true}
}

// check adds a health check, every 10s and with 3 retries.
func check(name string, opts ...func(*units.Probe)) func(*units.Unit) {
	return func(u *units.Unit) {
		p := units.Probe{TCP: "127.0.0.1:80", Interval: units.Duration(10 * time.Second), Timeout: units.Duration(3 * time.Second), Retries: 3, OnFailure: "restart"}
		for _, o := range opts {
			o(&p)
		}
		u.Health = maps.Clone(u.Health)
		if u.Health == nil {
			u.Health = map[string]units.Probe{}
		}
		u.Health[name] = p
	}
}
func reloads(u *units.Unit)   { u.Service.Reload = &units.Reload{Command: units.Command{"/bin/rl"}} }
func reloadHUP(u *units.Unit) { u.Service.Reload = &units.Reload{Signal: "HUP"} }
func requires(n ...string) func(*units.Unit) {
	return func(u *units.Unit) { u.Unit.Requires = n }
}
func wants(n ...string) func(*units.Unit) { return func(u *units.Unit) { u.Unit.Wants = n } }
func conflicts(n ...string) func(*units.Unit) {
	return func(u *units.Unit) { u.Unit.Conflicts = n }
}
func onFailure(n ...string) func(*units.Unit) {
	return func(u *units.Unit) { u.Unit.OnFailure = n }
}
func after(is string, n ...string) func(*units.Unit) {
	return func(u *units.Unit) {
		for _, x := range n {
			u.Unit.After = append(u.Unit.After, units.Dependency{Unit: x, Is: is})
		}
	}
}
