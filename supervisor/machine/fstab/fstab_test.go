package fstab

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]string{
		`LABEL=a\040b /da\011ta ext4 rw,noatime 0 2`: `"LABEL=a b" "/da\tta" ext4 [rw noatime] 2`,
		`/dev/vda1 /`:               `"/dev/vda1" "/" auto [] 0`,
		`a /b/ c`:                   `"a" "/b" c [] 0`,
		`a /b c defaults # comment`: `"a" "/b" c [defaults] 0`,
		`a none swap sw 0 0`:        `"a" "none" swap [sw] 0`,
		`a /b c o="x,y",z`:          `"a" "/b" c [o="x,y" z] 0`,
		`a /b c ,,a,`:               `"a" "/b" c [a] 0`,
		`a \999`:                    `!the mount point "\\999" is not an absolute path`,
		`a`:                         "!fewer than two fields",
		`a /b c d 0 0 x`:            `!"x" is one field too much`,
		`a /b c d x`:                `!the fifth field, "x", is not a number`,
		`a /b c d 0 -1`:             `!the sixth field, "-1", is not a number`,
		`a /b\000 c`:                "!a zero byte",
		`a b c`:                     "!not an absolute path",
	} {
		entries, problems := Parse("f", "# x\n\t\n"+line)
		if rest, ok := strings.CutPrefix(want, "!"); ok {
			if len(entries) != 0 || len(problems) != 1 || problems[0].Line != 3 || !strings.Contains(problems[0].What, rest) {
				t.Errorf("%q: %v, want %s", line, problems, rest)
			}
			continue
		}
		if len(entries) != 1 || len(problems) != 0 {
			t.Errorf("%q: %v", line, problems)
			continue
		}
		e := entries[0]
		if got := fmt.Sprintf("%q %q %s %v %d", e.Source, e.Target, e.Type, e.Options, e.Pass); got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}

// steps shows a plan.
func steps(text string) string {
	entries, problems := Parse("f", text)
	plan, more := Plan(entries)
	var lines []string
	for i, s := range plan {
		words := []string{fmt.Sprintf("%d %s", i, s.name())}
		add := func(yes bool, word string) {
			if yes {
				words = append(words, word)
			}
		}
		add(s.Device, "device")
		add(s.Check, "check")
		add(s.First, "first")
		add(s.Wanted, "wanted")
		add(s.Network, "network")
		add(s.Timeout != defaultTimeout, s.Timeout.String())
		add(len(s.After) > 0, fmt.Sprint("after", s.After))
		add(s.Mkdir != 0o755, fmt.Sprintf("%o", s.Mkdir))
		add(s.Swap.Priority >= 0, fmt.Sprint("pri ", s.Swap.Priority))
		add(s.Swap.Discard != "", "discard "+s.Swap.Discard)
		lines = append(lines, strings.Join(words, " "))
	}
	for _, p := range slices.Concat(problems, more) {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

func TestPlan(t *testing.T) {
	for text, want := range map[string]string{
		"/dev/vda1 / ext4 ro 0 1\nUUID=x /data auto nofail,x-systemd.device-timeout=1min\\04031s 0 2": "0 / device check first\n1 /data device check wanted 1m31s after[0]",
		"LABEL=a /a/b ext4\nLABEL=b /a ext4":                                "0 /a/b device after[1]\n1 /a device",
		"/mnt/x/d /d none bind\nLABEL=x /mnt/x ext4\n/s/swap none swap":     "0 /d after[1]\n1 /mnt/x device\n2 swap on /s/swap",
		"/b/x /a none bind\n/a/x /b none bind":                              "0 /a after[1]\n1 /b",
		"LABEL=a /ab ext4\nLABEL=b /a ext4":                                 "0 /ab device\n1 /a device",
		"LABEL=a /a ext4\nLABEL=b /a ext4":                                  "0 /a device\n1 /a device after[0]",
		"LABEL=s none swap pri=5,discard=once,nofail":                       "0 swap on LABEL=s device wanted pri 5 discard once",
		"/swapfile none swap defaults,discard\nLABEL=x / ext4":              "0 swap on /swapfile after[1] discard all\n1 / device",
		"host:/x /n nfs4 rw\n//h/s /c cifs\nx /y 9p _netdev":                "0 /n wanted network\n1 /c wanted network\n2 /y wanted network",
		"LABEL=x /x ext4 noauto\ntmpfs /t tmpfs x-mount.mkdir=0700,size=1m": "0 /t 700",
		"LABEL=x /x ext4 x-systemd.device-timeout=soon":                     `f:1: cannot mount /x: "soon" is no time such as 90s`,
		"LABEL=x /x ext4 x-systemd.device-timeout=infinity":                 "0 /x device 0s",
		"/x.img /x squashfs loop":                                           "f:1: cannot mount /x: the option loop is not covered; set up the loop device in a unit, with losetup",
		"LABEL=x /x ext4 x-systemd.automount":                               "0 /x device\nf:1: the option x-systemd.automount is not covered; /x is mounted without",
		"XUUID=x /x ext4":                                                   `f:1: cannot mount /x: "XUUID=x" names no device`,
		"/dev/disk/by-label/x\\x20y /x ext4 defaults 1 1":                   "0 /x device check first",
	} {
		if got := steps(text); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{"5": 5 * time.Second, "5s": 5 * time.Second, "1min 30s": 90 * time.Second, "1h2m": 62 * time.Minute, "100ms": 100 * time.Millisecond, "infinity": 0, "0": 0} {
		if got, err := duration(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "5x", "-1", "99999999999999999999", "5 5x"} {
		if got, err := duration(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestSwapFlags(t *testing.T) {
	for o, want := range map[SwapOptions]uintptr{{-1, ""}: 0, {0, ""}: 0x8000, {5, "all"}: 0x18005, {-1, "once"}: 0x30000, {-1, "pages"}: 0x50000} {
		if got, err := o.flags(); err != nil || got != want {
			t.Errorf("%v: %#x, %v", o, got, err)
		}
	}
	if _, err := (SwapOptions{Discard: "x"}).flags(); err == nil {
		t.Error("discard=x is taken")
	}
}

func FuzzPlan(f *testing.F) {
	f.Add("LABEL=a /a ext4 rw,x-systemd.device-timeout=5s 0 2\n/a/b /c none bind\n/c/d /a/b none rbind\n/a/s none swap pri=3")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(text, "\n") > 60 {
			return
		}
		entries, _ := Parse("f", text)
		plan, _ := Plan(entries)
		// There is an order in which all can be done.
		done := make([]bool, len(plan))
		for range plan {
			for i, s := range plan {
				if !slices.ContainsFunc(s.After, func(j int) bool { return !done[j] }) {
					done[i] = true
				}
			}
		}
		if slices.Contains(done, false) {
			t.Errorf("%q: some wait for ever: %v", text, plan)
		}
		for _, s := range plan {
			if s.Timeout < 0 || s.Mount.Set&s.Mount.Clear&^unix.MOUNT_ATTR__ATIME != 0 {
				t.Errorf("%q: %+v", text, s)
			}
		}
	})
}
