package calendar

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// oracle gives what systemd-analyze says of an expression: its normal form and
// the next moments; false where it does not take it.
func oracle(t *testing.T, tz, expr string, base time.Time) (form string, list []time.Time, ok bool) {
	t.Helper()
	cmd := exec.Command("systemd-analyze", "calendar", "--iterations=12", "--base-time="+base.UTC().Format("2006-01-02 15:04:05 UTC"), expr)
	cmd.Env = []string{"TZ=" + tz, "LC_ALL=C", "SYSTEMD_LOG_LEVEL=err"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", nil, false
	}
	form = expr
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		elapse := (key == "Next elapse" || strings.HasPrefix(key, "Iter")) && tz == "UTC" && value != "never"
		switch {
		case key == "Normalized form":
			form = value
		case key == "(in UTC)" || elapse:
			at, err := time.Parse("Mon 2006-01-02 15:04:05 MST", value)
			if err != nil {
				t.Fatalf("%s: cannot read %q: %v", expr, line, err)
			}
			list = append(list, at)
		}
	}
	return form, list, true
}

func needSystemd(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("BERTH_NO_SKIP") != "" {
			t.Fatal("systemd-analyze is not installed: .ci/install does it")
		}
		t.Skip("systemd-analyze, which this is compared with, is not installed")
	}
}

// compare holds an expression to what systemd makes of it. It differs, as the
// package comment says, where clocks are put forward: systemd leaves those out.
func compare(t *testing.T, tz, expr string, base time.Time) {
	t.Helper()
	form, want, ok := oracle(t, tz, expr, base)
	e, err := Parse(expr)
	if !ok || err != nil {
		if ok != (err == nil) {
			t.Errorf("%q: systemd takes it: %v, here: %v", expr, ok, err)
		}
		return
	}
	if e.String() != form {
		t.Errorf("%q is %q, systemd has %q", expr, e, form)
	}
	loc := zone(t, tz)
	if e.Zone() != "" {
		loc = zone(t, e.Zone())
	}
	at := base.In(loc)
	var got []time.Time
	for len(got) < len(want)+1 {
		next, ok := e.Next(at)
		if !ok {
			break
		}
		if e.matches(next) {
			got = append(got, next.UTC().Truncate(time.Second))
		} else if e.hour.covers(0, 23) {
			t.Errorf("%q in %s: %v does not match", expr, tz, next)
		}
		at = next
	}
	if len(got) > len(want) {
		if len(want) < 12 {
			t.Errorf("%q in %s after %v: one more than systemd: %v", expr, tz, base, got)
		}
		got = got[:len(want)]
	}
	if !slices.EqualFunc(got, want, time.Time.Equal) {
		t.Errorf("%q in %s after %v:\n got %v\nwant %v", expr, tz, base, got, want)
	}
}

// evenZones have had no change of clocks for decades: around them systemd is at
// odds with itself, "hourly" and "*-*-1/23" leave out moments that "*:0/15" and
// "*-*-1" have.
var evenZones = []string{"UTC", "Asia/Kolkata", "America/Phoenix", "Africa/Algiers"}

var oracleZones = []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo"}

// TestOracle compares with systemd-analyze: what a user would write, around the
// days on which the clocks change.
func TestOracle(t *testing.T) {
	needSystemd(t)
	for _, expr := range []string{
		"*:0/15", "02:30", "1..3:00", "02:0/20", "Sun 02:00", "00:00", "03:00 UTC", "02:30 Europe/Berlin", "monthly", "quarterly",
		"*-*~1 23:59:59", "Mon..Fri 08:00", "*-02-29", "*-*-* 0/6:00", "Sat *-*~7/1 18:00:00", "2024..2026-03..10/7-1,15 1:2:3",
		"*-*~1..3", "*-*~3,5", "@1395716396", "weekly", "23:30", "12:00:0.25/20.5",
	} {
		for _, tz := range oracleZones {
			for _, base := range []string{"2024-03-30T20:00:00Z", "2024-10-26T20:00:00Z", "2024-11-02T22:00:00Z"} {
				compare(t, tz, expr, moment(t, base))
			}
		}
	}
}

// TestOracleRandom compares expressions that nobody would write; the same ones
// each time, for systemd 252 has its slips: of "*:1/18,33" it passes over the
// 00:01 that follows 23:55.
func TestOracleRandom(t *testing.T) {
	needSystemd(t)
	r := rand.New(rand.NewPCG(3, 0))
	for range 400 {
		base := time.Unix(1.6e9+r.Int64N(2e8), 0)
		compare(t, evenZones[r.IntN(len(evenZones))], randomExpr(r), base)
	}
}

func randomExpr(r *rand.Rand) string {
	any := func(low, high int) string {
		one := func() string {
			a := low + r.IntN(high-low+1)
			switch r.IntN(6) {
			case 0:
				b := low + r.IntN(high-low+1)
				return fmt.Sprintf("%d..%d", min(a, b), max(a, b))
			case 1:
				return fmt.Sprintf("%d/%d", a, 1+r.IntN(high-low))
			case 2:
				b := low + r.IntN(high-low+1)
				return fmt.Sprintf("%d..%d/%d", min(a, b), max(a, b), 1+r.IntN(5))
			}
			return fmt.Sprint(a)
		}
		if r.IntN(3) == 0 {
			return "*"
		}
		s := one()
		for r.IntN(4) == 0 {
			s += "," + one()
		}
		return s
	}
	var parts []string
	if r.IntN(3) == 0 {
		s := weekdayNames[r.IntN(7)]
		if a := r.IntN(7); r.IntN(2) == 0 {
			s += "," + weekdayNames[a][:3] + ".." + weekdayNames[a+r.IntN(7-a)]
		}
		parts = append(parts, s)
	}
	if r.IntN(4) > 0 {
		date := any(1, 12)
		if r.IntN(3) == 0 {
			date = any(2020, 2030) + "-" + date
		}
		if r.IntN(4) == 0 {
			// systemd 252 does not take every list here.
			day := fmt.Sprint(2 + r.IntN(20))
			if r.IntN(2) == 0 {
				day += fmt.Sprintf("/%d", 1+r.IntN(25))
			}
			parts = append(parts, date+"~"+day)
		} else {
			parts = append(parts, date+"-"+any(1, 31))
		}
	}
	if len(parts) == 0 || r.IntN(4) > 0 {
		clock := any(0, 23) + ":" + any(0, 59)
		if r.IntN(3) == 0 {
			clock += ":" + any(0, 59)
		}
		parts = append(parts, clock)
	}
	return strings.Join(parts, " ")
}
