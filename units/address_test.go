package units

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestProbeAddress(t *testing.T) {
	for s, want := range map[string]bool{
		"127.0.0.1:80": true, "localhost:8080": true, "[::1]:443": true, "[2001:db8::7]:1": true, "[1:2:3:4:5:6:7:8]:65535": true, "[::]:1": true, "[1::]:1": true,
		"127.0.0.1": false, ":80": false, "80": false, "": false, "shop:80": false, "127.0.0.1:": false, "127.0.0.1:0": false, "127.0.0.1:65536": false,
		"127.0.0.1:+80": false, "127.0.0.1:080": false, "127.0.0.1:http": false, "127.0.0.01:80": false, "256.0.0.1:80": false, "1.2.3:80": false,
		"::1:80": false, "[::1]80": false, "[::1:80": false, "[127.0.0.1]:80": false, "[fe80::1%eth0]:80": false, "[1:2:3:4:5:6:7]:1": false,
		"[1:2:3:4:5:6:7:8:9]:1": false, "[1::2::3]:1": false, "[:1]:1": false, "[12345::]:1": false, "[]:1": false, "[1:2:3:4::5:6:7:8]:1": false,
	} {
		if got := probeAddress(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestProbeURL(t *testing.T) {
	for s, want := range map[string]bool{
		"http://127.0.0.1/up": true, "https://localhost": true, "http://[::1]:8080/a?b=%20c": true, "http://127.0.0.1?x": true,
		"ftp://127.0.0.1/": false, "127.0.0.1/up": false, "http://shop/up": false, "http://u:p@127.0.0.1/": false, "http:///up": false,
		"http://127.0.0.1/a b": false, "http://127.0.0.1/#x": false, "http://127.0.0.1/%2": false, "http://127.0.0.1/\n": false, "HTTP://127.0.0.1/": false,
	} {
		if got := probeURL(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

// TestProbesAreUnderstood: what passes is understood by who makes the probes.
func TestProbesAreUnderstood(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`(\[[0-9a-f:.]{0,20}\]|[0-9.]{7,12}|localhost)(:[0-9]{1,5})?`).Draw(t, "host")
		if probeAddress(s) {
			if _, err := netip.ParseAddrPort(strings.Replace(s, "localhost", "127.0.0.1", 1)); err != nil {
				t.Fatal(s, err)
			}
		}
		s = "http://" + s + rapid.StringMatching(`[/?][ -~]{0,12}`).Draw(t, "path")
		if probeURL(s) {
			if u, err := url.Parse(s); err != nil || u.User != nil || u.Fragment != "" {
				t.Fatal(s, err)
			}
		}
	})
}
