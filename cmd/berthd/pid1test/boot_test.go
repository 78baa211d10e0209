package pid1test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"berth/isolate/vmtest"
	"berth/supervisor/history"
)

// TestReset resets a machine while it writes: generations follow each other, and
// what units write goes to files, all of it on a disk. The next boot finds the
// disk repaired, the history whole, and whole lines, and goes on with them.
func TestReset(t *testing.T) {
	disk := imageOf(t, 64)
	m := up(t, vmtest.System{
		Reboots: true, Disks: []string{disk}, Cmdline: "berth.units=/etc/berth/units,/var/units",
		Files: append(withLibraries(t, "e2fsck", "usr/sbin/fsck.ext4"),
			vmtest.Text("etc/fstab", "/dev/vda /var ext4 defaults 0 2\n", 0o644),
			vmtest.Directory("etc/tmpfiles.d", 0o755), vmtest.Text("etc/tmpfiles.d/var.conf", "d /var/tmp 1777\nd /var/units\n", 0o644),
		),
	}, map[string]string{"quick": guestUnit("count", 1), "slow": guestUnit("count", 100)})
	m.running("quick", "slow")
	const change = `(n=0; while :; do n=$((n+1)); printf '[unit]\ndescription = "%s"\n[service]\ncommand = ["/bin/sleep", "1000"]\n[rootfs]\nhost = true\n' $n >/var/units/new; mv /var/units/new /var/units/web.toml; berth reload; done) </dev/null >/dev/null 2>&1 &`
	reached := uint64(0)
	for round := range 2 {
		m.Shell(change)
		m.Eventually("generations follow each other", func() bool { return m.daemon().Generation >= reached+4 })
		reached = m.daemon().Generation
		m.Rebooted(m.Reset)
		m.running("quick", "slow", "web")
		if now := m.daemon().Generation; now < reached {
			t.Errorf("round %d: generation %d runs, and %d had been taken up", round, now, reached)
		}
		var records []history.Record
		m.decode(m.Run("berth", "history", "-o", "json"), &records)
		if len(records) < 4 {
			t.Errorf("round %d: the history has %d generations", round, len(records))
		}
		for _, bad := range []string{"damaged", "cannot read the generation", "history"} {
			if text := m.Console(); strings.Contains(text, bad) {
				t.Errorf("round %d: the console says %q", round, bad)
			}
		}
		m.fromOne("quick")
		if log := m.Run("dmesg"); !strings.Contains(log, "checked /dev/vda: ") {
			t.Errorf("round %d: the disk was not checked:\n%s", round, log)
		}
		if mounts := m.Read("/proc/mounts"); !strings.Contains(mounts, "/dev/vda /var ext4 rw") {
			t.Errorf("round %d: /var is not mounted:\n%s", round, mounts)
		}
	}
	m.Run("berth", "poweroff", "--no-wait")
	m.Ended(patience)
	clean(t, disk)
}

// fromOne fails the test unless the log of a counting unit, as berth shows it,
// counts from one in each boot without a gap. The last lines before a reset may
// be missing.
func (m machine) fromOne(unit string) {
	m.t.Helper()
	last, boots := 0, 0
	for line := range strings.Lines(m.Run("berth", "logs", "-o", "json", "-n", "100000", unit)) {
		var e struct {
			Text string `json:"text"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			m.t.Fatalf("%v in %q", err, line)
		}
		switch n, err := strconv.Atoi(e.Text); {
		case err != nil:
			m.t.Errorf("the log of %s has %q after %d", unit, e.Text, last)
		case n == 1:
			last, boots = 1, boots+1
		case n != last+1:
			m.t.Fatalf("the log of %s has %d after %d", unit, n, last)
		default:
			last = n
		}
	}
	if boots == 0 {
		m.t.Errorf("the log of %s is empty", unit)
	}
}
