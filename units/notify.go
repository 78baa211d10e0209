package units

// Notify tells whose messages on the notification socket count: "main", "all" or
// "none". With "none" there is no socket.
func (u *Unit) Notify() string {
	switch {
	case u.Service.Type == "group":
		return "none"
	case u.Service.NotifyAccess != "":
		return u.Service.NotifyAccess
	case u.asksForNotify() == "":
		return "none"
	}
	return "main"
}

// asksForNotify gives a key that needs the notification socket; "": none does.
func (u *Unit) asksForNotify() string {
	switch {
	case u.Ready.Notify:
		return "ready.notify"
	case u.Watchdog.Interval > 0:
		return "watchdog.interval"
	case u.Service.Reload != nil && u.Service.Reload.Notify:
		return "service.reload.notify"
	case u.Service.FDStoreMax > 0:
		return "service.fd-store-max"
	}
	return ""
}
