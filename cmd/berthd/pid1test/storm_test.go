package pid1test

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"berth/isolate/vmtest"
	"berth/supervisor/core"
)

// stormUnits are a hundred units that take long to be ready, and one that wants
// them all.
func stormUnits() map[string]string {
	var storm, numbers []string
	for i := range 100 {
		numbers = append(numbers, fmt.Sprintf("'%d'", i))
		storm = append(storm, fmt.Sprintf("'storm@%d'", i))
	}
	return map[string]string{
		"storm@": "[unit]\nstart = 'demand'\ninstances = [" + strings.Join(numbers, ", ") + "]\n" +
			"[service]\ncommand = ['/bin/sh', '-c', 'sleep 1; exec sleep 1000']\n[ready]\nfile = '/run/never'\ntimeout = '60s'\n[rootfs]\nhost = true\n",
		"storm": "[unit]\nstart = 'demand'\nwants = [" + strings.Join(storm, ", ") + "]\n[service]\ntype = 'group'\n",
	}
}

// storm has the power fail while a hundred units start: the machine goes down
// in order and in time.
func storm(m machine) {
	// Only now, for a list of so many takes longer.
	units := stormUnits()
	for _, name := range []string{"storm@", "storm"} {
		m.Write("/"+vmtest.Units+"/"+name+".toml", units[name])
	}
	m.Run("berth", "reload")
	m.Run("berth", "start", "--no-block", "storm")
	m.Eventually("the storm is on", func() bool { return m.daemon().Units[core.Starting] > 0 })
	start := time.Now()
	m.Kill(1, syscall.SIGPWR)
	said := m.WaitConsole(`power off, asked for by SIGPWR: stopping (\d+) units`, patience)
	last := m.WaitConsole(`berthd: power off: .*`, patience)[0]
	m.Ended(patience)
	took := time.Since(start)
	m.t.Logf("power off with %s units left took %v: %s", said[1], took.Round(time.Millisecond), last)
	for _, bad := range []string{"could not kill", "still mounted and writable", "storm"} {
		if strings.Contains(last, bad) {
			m.t.Errorf("the last line says %q", last)
		}
	}
	if took > time.Minute {
		m.t.Errorf("power off took %v", took)
	}
	if !strings.Contains(m.Console(), "reboot: Power down") {
		m.t.Error("the kernel did not switch the machine off")
	}
}
