package units

import (
	"strconv"
	"strings"
)

// probeAddress tells whether s is what a probe can connect to: an IP address or
// localhost, with a port from 1 to 65535. The package that connects reads
// addresses with net/netip, which this one does without: what passes here has to
// pass there.
func probeAddress(s string) bool {
	i := strings.LastIndexByte(s, ':')
	return i > 0 && probeHost(s[:i]) && port(s[i+1:])
}

// probeHost tells whether s is a host of a probe; an IPv6 address is in brackets.
func probeHost(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && ipv6(inner)
	}
	return s == "localhost" || ipv4(s)
}

func port(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// ipv4 is four numbers from 0 to 255, without zeros before them.
func ipv4(s string) bool {
	parts := strings.Split(s, ".")
	for _, p := range parts {
		if n, err := strconv.ParseUint(p, 10, 8); err != nil || strconv.FormatUint(n, 10) != p {
			return false
		}
	}
	return len(parts) == 4
}

// ipv6 is eight groups of hexadecimal digits, of which "::" stands for one or
// more that are zero (RFC 4291, section 2.2).
func ipv6(s string) bool {
	before, after, short := strings.Cut(s, "::")
	n := 0
	for _, half := range []string{before, after} {
		if half == "" {
			continue
		}
		for g := range strings.SplitSeq(half, ":") {
			if _, err := strconv.ParseUint(g, 16, 16); err != nil || len(g) > 4 {
				return false
			}
			n++
		}
	}
	return short && n < 8 || !short && n == 8 && before != ""
}

// probeURL tells whether s is what a probe can request: http or https, a host as
// for probeAddress with or without a port, then path and query.
func probeURL(s string) bool {
	rest, ok := strings.CutPrefix(s, "http://")
	if !ok {
		if rest, ok = strings.CutPrefix(s, "https://"); !ok {
			return false
		}
	}
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	for i := range len(path) {
		switch c := path[i]; {
		case c <= ' ' || c == 0x7f || c == '#':
			return false
		case c == '%':
			if i+2 >= len(path) || !hexadecimal(path[i+1]) || !hexadecimal(path[i+2]) {
				return false
			}
		}
	}
	return probeHost(authority) || probeAddress(authority)
}

func hexadecimal(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }
