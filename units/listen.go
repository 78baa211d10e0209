package units

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"reflect"
	"strconv"
	"strings"
)

// Listen is where a socket listens: exactly one of its fields is set.
type Listen struct {
	Path     string         // of a unix socket or FIFO on the host
	Abstract string         // the name of a unix socket without a file, without the @
	Addr     netip.AddrPort // an address and port
	Port     uint16         // on all addresses
}

// maxSocketPath is what sockaddr_un has room for (unix(7)).
const maxSocketPath = 107

// ParseListen reads "/run/web.sock", "@web", "0.0.0.0:80", "[::1]:80", "*:80" or
// "80". Names of hosts are none: they could mean something else tomorrow.
func ParseListen(s string) (Listen, error) {
	switch {
	case strings.HasPrefix(s, "/"):
		if path.Clean(s) != s || s == "/" {
			return Listen{}, fmt.Errorf("%s is not the shortest form of a path to a file", quote(s))
		}
		if len(s) > maxSocketPath {
			return Listen{}, fmt.Errorf("the path is longer than %d bytes", maxSocketPath)
		}
		return Listen{Path: s}, nil
	case strings.HasPrefix(s, "@"):
		if len(s) == 1 || len(s) > maxSocketPath {
			return Listen{}, fmt.Errorf("%s is not a name of 1 to %d bytes behind an @", quote(s), maxSocketPath-1)
		}
		return Listen{Abstract: s[1:]}, nil
	}
	host, port := "", s
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i+1:]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || !digits.MatchString(port) {
		return Listen{}, fmt.Errorf("%s is not a port from 1 to 65535", quote(port))
	}
	if host == "" || host == "*" {
		return Listen{Port: uint16(n)}, nil
	}
	bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	switch {
	case err != nil || bracketed != addr.Is6():
		return Listen{}, fmt.Errorf("%s is not an IP address", quote(host))
	case addr.Zone() != "":
		return Listen{}, errors.New("an address with a zone is not possible here")
	}
	return Listen{Addr: netip.AddrPortFrom(addr, uint16(n))}, nil
}

// maxSockets bounds the sockets of one unit: all are passed on in one message.
const maxSockets = 128

// sockets holds each [[socket]] to what its kind has, and the unit to what can
// take them.
func (v *validator) sockets() {
	list := v.unit.Sockets
	if len(list) == 0 {
		return
	}
	if v.unit.Service.Type == "group" {
		v.rep.fail("U031", v.at("socket"), "leave it out", "a group has no process to pass a socket to")
		return
	}
	if v.unit.Namespaces.PID != "new" {
		v.rep.fail("U031", v.at("namespaces.pid"), `leave it "new"`, "sockets can be passed only in a PID namespace of the unit's own: LISTEN_PID has to be known before there is a process")
	}
	if len(list) > maxSockets {
		v.rep.fail("U003", v.at("socket"), "", "a unit has at most %d sockets", maxSockets)
	}
	seen := map[[2]string]int{}
	var usual Socket
	applyDefaults(reflect.ValueOf(&usual).Elem(), "socket[].")
	for i, s := range list {
		l, err := ParseListen(s.Listen)
		if err != nil {
			continue // reported
		}
		fail := func(key, hint, format string, args ...any) {
			v.rep.fail("U061", v.item("socket", i, key), hint, format, args...)
		}
		useless := func(set bool, key, why string) {
			if set {
				v.rep.fail("U031", v.item("socket", i, key), "leave it out", "socket.%s has no meaning %s", key, why)
			}
		}
		file, inet := l.Path != "", l.Port != 0 || l.Addr.IsValid()
		switch {
		case s.Type == "fifo" && !file:
			fail("type", "listen on an absolute path", "a FIFO needs a path")
		case s.Type == "seqpacket" && inet:
			fail("type", "listen on a path or @NAME", "seqpacket is for unix sockets")
		}
		if strings.ContainsAny(s.Name, ":\n") || len(s.Name) > 255 || strings.ContainsFunc(s.Name, func(r rune) bool { return r < ' ' || r > '~' }) {
			fail("name", "up to 255 printable ASCII characters, no colon", "%s is not a name for a socket", quote(s.Name))
		}
		useless(!file && s.Mode != usual.Mode, "mode", "without a file")
		useless(!file && s.User != "", "user", "without a file")
		useless(!file && s.Group != "", "group", "without a file")
		useless(!inet && s.ReusePort, "reuse-port", "for a unix socket")
		useless(!inet && s.FreeBind, "free-bind", "for a unix socket")
		useless(s.V6Only && !(l.Port != 0 || l.Addr.IsValid() && l.Addr.Addr().Is6()), "v6only", "but for IPv6")
		useless(s.Backlog != usual.Backlog && s.Type != "stream" && s.Type != "seqpacket", "backlog", "where nothing is accepted")
		kind := s.Type
		if file {
			kind = "file" // of whatever type, the path is one
		}
		if first, ok := seen[[2]string{kind, s.Listen}]; ok && !s.ReusePort {
			v.rep.add("U033", Error, v.item("socket", i, "listen"), "remove one of the two", fmt.Sprintf("two sockets listen on %s", quote(s.Listen)),
				v.item("socket", first, "listen").position("the first"))
		} else {
			seen[[2]string{kind, s.Listen}] = i
		}
	}
}

// path holds [path] to what the unit can do.
func (v *validator) path() {
	p, usual := v.unit.Path, Defaults().Path
	switch {
	case len(p.Changed) == 0 && p.Action != usual.Action && !v.given("path.changed"):
		v.rep.fail("U023", v.at("path"), `add changed = ["/etc/app"]`, "path.changed is missing")
	case len(p.Changed) > 0 && p.Action == "reload" && v.unit.Service.Reload == nil && !v.given("service.reload"):
		v.rep.fail("U023", v.at("path.action"), `add reload = { signal = "HUP" } to [service], or write "restart"`, "path.action = \"reload\" needs service.reload")
	case len(p.Changed) > 0 && p.Action == "start" && v.unit.Service.Type == "task" && v.unit.Service.Remain:
		v.rep.fail("U031", v.at("service.remain"), "leave it out", "a task that remains up is not started again by a path")
	}
}
