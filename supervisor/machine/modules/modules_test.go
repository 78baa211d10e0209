package modules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	testDep = `kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko kernel/lib/crc16.ko
kernel/fs/jbd2/jbd2.ko:
kernel/fs/mbcache.ko:
kernel/lib/crc16.ko:
kernel/crypto/crc32c_generic.ko.xz:
kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko
kernel/net/core/failover.ko:
kernel/drivers/video/bad-fb.ko:
kernel/drivers/block/loop.ko:
kernel/fs/btrfs/btrfs.ko.zst: kernel/lib/raid6/raid6_pq.ko
kernel/lib/raid6/raid6_pq.ko:
not a module: x
`
	testAlias = `# Aliases extracted from modules themselves.
alias fs-ext4 ext4
alias ext3 ext4
alias crypto-crc32c crc32c_generic
alias virtio:d00000001v* virtio_net
alias pci:v00001AF4d*sv*sd*bc03sc*i* bad_fb
alias pci:v00001AF4d*sv*sd*bc*sc*i0[0-9A] virtio_net
alias block-major-7-* loop
`
	testSoft = "# soft\nsoftdep ext4 pre: crypto-crc32c nothing\nsoftdep btrfs post: loop\nsoftdep raid6_pq pre: crc16\n"
)

func planText(t *testing.T, config, line string, r Request) string {
	t.Helper()
	cfg := NewConfig()
	for _, p := range cfg.Add("m.conf", config) {
		t.Errorf("%s", p)
	}
	cfg.CommandLine(strings.Fields(line))
	steps, notes, err := Plan(ParseIndex(testDep, testAlias, testSoft, "kernel/fs/fuse/fuse.ko\n"), cfg, r)
	var out []string
	for _, s := range steps {
		text := s.File[strings.LastIndex(s.File, "/")+1:]
		if s.Params != "" {
			text += "(" + s.Params + ")"
		}
		if s.Soft {
			text += "?"
		}
		out = append(out, text)
	}
	for _, n := range notes {
		out = append(out, "note: "+n)
	}
	if err != nil {
		out = append(out, "error: "+err.Error())
	}
	return strings.Join(out, " ")
}

func TestPlan(t *testing.T) {
	const ext4 = "crc32c_generic.ko.xz? crc16.ko mbcache.ko jbd2.ko ext4.ko"
	for _, c := range []struct {
		config, line, name string
		device             bool
		want               string
	}{
		{name: "ext4", want: ext4},
		{name: "fs-ext4", want: ext4},
		{name: "ext3", want: ext4},
		{name: "btrfs", want: "crc16.ko? raid6_pq.ko btrfs.ko.zst loop.ko?"},
		{name: "virtio-net", want: "failover.ko virtio_net.ko"},
		{name: "virtio:d00000001v00001AF4", device: true, want: "failover.ko virtio_net.ko"},
		{name: "pci:v00001AF4d00001000sv00001AF4sd00000001bc03sc00i0A", device: true, want: "bad-fb.ko failover.ko virtio_net.ko"},
		{name: "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00iFF", device: true, want: ""},
		{name: "pci:nothing", device: true, want: ""},
		{name: "nothing", want: "error: there is no module nothing for the running kernel"},
		{name: "fuse", want: ""},
		{name: "block-major-7-1", want: "loop.ko"},
		{config: "options loop max_loop=8 \\\n  x=1\noptions block-major-7-1 a=b", line: "loop.max_part=3 other.x=1", name: "block-major-7-1", want: "loop.ko(max_loop=8 x=1 max_part=3 a=b)"},
		{config: "blacklist bad-fb", name: "pci:v00001AF4d00001000sv00001AF4sd00000001bc03sc00iFF", device: true, want: ""},
		{config: "blacklist loop", name: "loop", want: "note: loop is blacklisted and not loaded"},
		{config: "blacklist failover", name: "virtio_net", want: "failover.ko virtio_net.ko"}, // it is not loaded by an alias
		{line: "modprobe.blacklist=x,loop", name: "loop", want: "note: loop is blacklisted and not loaded"},
		{line: "module_blacklist=failover", name: "virtio_net", want: "virtio_net.ko"},
		{config: "install loop /bin/true", name: "loop", want: ""},
		{config: "install failover /bin/false", name: "virtio_net", want: "virtio_net.ko"},
		{config: "install loop /sbin/modprobe --ignore-install loop && x", name: "loop",
			want: "error: m.conf:1: cannot load loop: berth does not run install commands; remove the line, or run the command in a unit"},
		{config: "alias my-thing loop\n alias my-* ext4", name: "my_thing", want: "loop.ko " + ext4},
		{config: "softdep loop pre: fuse ext4", name: "loop", want: "crc32c_generic.ko.xz? crc16.ko? mbcache.ko? jbd2.ko? ext4.ko? loop.ko"},
		{config: "softdep loop pre: crc16 post: crc16\nsoftdep crc16 pre: loop", name: "loop", want: "crc16.ko? loop.ko"},
		{config: "# comment\nremove x y\nweakdep a b\n", name: "loop", want: "loop.ko"},
	} {
		if got := planText(t, c.config, c.line, Request{Name: c.name, Device: c.device}); got != c.want {
			t.Errorf("%s with %q %q:\n got %s\nwant %s", c.name, c.config, c.line, got, c.want)
		}
	}
}

func TestConfigProblems(t *testing.T) {
	for text, want := range map[string]string{
		"frob x":        `m.conf:1: there is no directive "frob"; use alias`,
		"\nalias x":     `m.conf:2: "alias x" lacks something; write alias PATTERN MODULE`,
		"options loop":  `lacks something; write options MODULE`,
		"blacklist":     `lacks something`,
		"install loop":  `lacks something`,
		"a \\\n b\n  c": `m.conf:2: there is no directive "a"`,
	} {
		p := NewConfig().Add("m.conf", text)
		if len(p) == 0 || !strings.Contains(p[0].String(), want) {
			t.Errorf("%q: %v, want %s", text, p, want)
		}
	}
}

func TestNames(t *testing.T) {
	got := fmt.Sprint(ParseNames("f", "# x\n; y\n\nloop max_loop=8 # four\n virtio_net\n"))
	if want := "[{loop [max_loop=8] false f 4} {virtio_net [] false f 5}]"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// TestMatch holds the matcher to regular expressions.
func TestMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"a", "b", "*", "?", "[ab]", "[!a]", "[a-c]", "[^b-c]", "[]a]", "-", "\\*"})
		parts := rapid.SliceOfN(part, 0, 8).Draw(t, "parts")
		s := rapid.StringOfN(rapid.SampledFrom([]rune("abc-*]")), 0, 10, -1).Draw(t, "s")
		expression := "^"
		for _, p := range parts {
			switch p {
			case "*":
				p = "(?s:.*)"
			case "?":
				p = "(?s:.)"
			case "[!a]":
				p = "[^a]"
			case "[]a]":
				p = `[\]a]`
			}
			expression += p
		}
		pattern := strings.Join(parts, "")
		if got, want := match(pattern, s), regexp.MustCompile(expression+"$").MatchString(s); got != want {
			t.Fatalf("match(%q, %q) = %t", pattern, s, got)
		}
	})
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{{"a[b", "a[b", true}, {"a[b", "ab", false}, {"*/x", "a/b/x", true}, {"[z-a]", "b", false}, {"", "", true}, {"*", "", true}, {"[a-]", "-", true}} {
		if match(c.pattern, c.s) != c.want {
			t.Errorf("match(%q, %q) = %t", c.pattern, c.s, !c.want)
		}
	}
}

func FuzzPlan(f *testing.F) {
	f.Add(testDep, testAlias, testSoft, "options loop x=1\nblacklist y\nsoftdep a pre: b post: c\ninstall z /bin/true", "ext4")
	f.Add("a.ko: b.ko\nb.ko: a.ko\n", "alias a b", "softdep a pre: b\nsoftdep b pre: a", "alias a a", "a")
	f.Fuzz(func(t *testing.T, dep, alias, soft, config, name string) {
		cfg := NewConfig()
		cfg.Add("f", config)
		cfg.CommandLine(strings.Fields(config))
		steps, _, _ := Plan(ParseIndex(dep, alias, soft, ""), cfg, Request{Name: name})
		var files []string
		for _, s := range steps {
			if slices.Contains(files, s.File) {
				t.Errorf("%s twice", s.File)
			}
			files = append(files, s.File)
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("pci:v*[0-9a-f]?", "pci:v0001")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if match(pattern, s) && !match(pattern+"*", s) {
			t.Errorf("%q matches %q, and not with a star behind", pattern, s)
		}
		if n := normalizePattern(pattern); len(n) != len(pattern) {
			t.Errorf("%q became %q", pattern, n)
		}
	})
}
