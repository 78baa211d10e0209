package netdevice

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// place is a network namespace of a test.
type place struct {
	t  *testing.T
	ns *os.File
}

// newPlace makes one, which this thread is in afterwards; the test's goroutine is
// bound to it.
func newPlace(t *testing.T) *place {
	t.Helper()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return &place{t, ns}
}

// ip runs commands of ip(8) there, and gives what they print.
func (p *place) ip(commands ...string) string {
	p.t.Helper()
	var all strings.Builder
	for _, c := range commands {
		cmd := exec.Command("nsenter", append([]string{"--net=/proc/self/fd/3", "ip"}, strings.Fields(c)...)...)
		cmd.ExtraFiles = []*os.File{p.ns}
		out, err := cmd.CombinedOutput()
		if err != nil {
			p.t.Fatalf("ip %s: %v: %s", c, err, out)
		}
		all.Write(out)
	}
	return all.String()
}

func (p *place) has(what string, want ...string) {
	p.t.Helper()
	out := p.ip(what)
	for _, w := range want {
		if not, is := strings.CutPrefix(w, "!"); is && strings.Contains(out, not) || !is && !strings.Contains(out, w) {
			p.t.Errorf("ip %s has %q (a ! is for not):\n%s", what, w, out)
		}
	}
}

func places(t *testing.T) (here, there *place) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	there = newPlace(t)
	return newPlace(t), there
}

func TestMove(t *testing.T) {
	here, there := places(t)
	here.ip("link add v0 type veth peer name v1",
		"link set v0 address 02:00:00:00:00:17 mtu 1400",
		"addr add 192.0.2.1/24 brd + dev v0", "addr add 192.0.2.2/24 dev v0", "addr add 203.0.113.1/32 dev v0 valid_lft 1000 preferred_lft 1000",
		"addr add 10.0.0.1/8 scope link dev v0", "-6 addr add 2001:db8::1/64 nodad dev v0", "link set v0 up", "link set v1 up")
	there.ip("link add net0 type veth peer name other")
	if err := Move(int(there.ns.Fd()), []Device{{"v0", "eth0"}, {"v1", "net%d"}}); err != nil {
		t.Fatal(err)
	}
	there.has("addr show dev eth0", "UP", "mtu 1400", "02:00:00:00:00:17",
		"192.0.2.1/24 brd 192.0.2.255 scope global", "192.0.2.2/24", "2001:db8::1/64", "!203.0.113.1", "!10.0.0.1")
	there.has("link show dev net1", "UP")
	here.has("link", "!v0", "!v1")
}

func TestMoveBack(t *testing.T) {
	here, there := places(t)
	there.ip("link add eth0 type veth peer name taken")
	here.ip("link add v0 type veth peer name v1", "addr add 192.0.2.1/24 dev v0", "link set v0 up")
	for name, c := range map[string]struct {
		devices []Device
		says    string
	}{
		"taken":     {[]Device{{"v0", "a0"}, {"v1", "taken"}}, "v1 to the container as taken: there is a network device of that name already"},
		"missing":   {[]Device{{"v0", "a0"}, {"v9", ""}}, "the network device v9: there is none of that name"},
		"same name": {[]Device{{"v1", "a1"}, {"v0", "eth0"}}, "another name"},
		"loopback":  {[]Device{{"v0", "a0"}, {"lo", "lo9"}}, "the network device lo"},
	} {
		if err := Move(int(there.ns.Fd()), c.devices); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "back") {
			t.Errorf("%s: %v", name, err)
		}
		here.has("addr show dev v0", ",UP", "192.0.2.1/24")
		here.has("link show dev v1", "!,UP")
		there.has("link", "!a0", "!a1", "!lo9")
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"lo", "eth0.4", "a_b-c", "123456789012345", "net%d"} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", "a b", "a:1", "a\x00", "1234567890123456", "a\t", "a\xa0"} {
		if CheckName(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestMatches(t *testing.T) {
	for name, want := range map[string]bool{"net0": true, "net12": true, "net": false, "netx": false, "xnet0": false} {
		if matches("net%d", name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	if got := fmt.Sprint(address{family: unix.AF_INET, prefix: 8}); got != "?" {
		t.Error(got)
	}
}
