package units

import "regexp"

// ready holds what a program is to tell of itself to what it can tell.
func (v *validator) ready() {
	u := v.unit
	fail := func(key, hint, format string, args ...any) { v.rep.fail("U055", v.at(key), hint, format, args...) }
	switch u.Service.Type {
	case "group":
		v.useless("for a group: it has no process", "ready", "watchdog", "service.notify-access", "service.fd-store-max")
		return
	case "task":
		v.useless("for a task: it is ready when it has completed",
			"ready.notify", "ready.fd", "ready.tcp", "ready.http", "ready.exec", "ready.file", "ready.log")
	}
	if key := u.asksForNotify(); key != "" && u.Notify() == "none" {
		fail("service.notify-access", "leave it out, or write \"main\" or \"all\"", "with service.notify-access = \"none\" the program cannot be heard, and %s needs that", key)
	}
	if u.Service.FDStoreMax > 0 && (u.Namespaces.PID != "new" || u.Service.Init) {
		fail("service.fd-store-max", `set namespaces.pid = "new", and leave service.init out`, "descriptors that are kept can be given back only to process 1 of a PID namespace of the unit's own")
	}
	if u.Watchdog.Interval == 0 && u.Watchdog.OnFailure != "restart" {
		v.useless("without watchdog.interval", "watchdog.on-failure")
	}
	if u.Ready.Log != "" {
		if _, err := regexp.Compile(u.Ready.Log); err != nil {
			fail("ready.log", "see https://golang.org/s/re2syntax; in single quotes a backslash is a backslash", "%s is not a regular expression: %v", quote(u.Ready.Log), err)
		}
		if u.Log.Stream == "socket" {
			fail("ready.log", `leave log.stream = "socket" out`, "the output goes to journald by itself, so that nobody can look for ready.log in it")
		}
		if u.Service.Terminal != "" {
			fail("ready.log", "use another probe", "the output goes to the terminal by itself, so that nobody can look for ready.log in it")
		}
	}
	if fd := u.Ready.FD; fd != nil && *fd < 3+len(u.Sockets)+u.Service.FDStoreMax {
		fail("ready.fd", "choose a higher number", "the descriptors from 3 to %d are the sockets, and those that service.fd-store-max gives back", 2+len(u.Sockets)+u.Service.FDStoreMax)
	}
}
