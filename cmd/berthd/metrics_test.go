package main

import (
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
)

// exposition is a text in the format of Prometheus: samples by name and labels,
// as they are written, and the types of metrics.
type exposition struct {
	samples map[string]float64
	types   map[string]string
}

var (
	metricHead   = regexp.MustCompile(`^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$`)
	metricSample = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"\})? (\S+)$`)
)

// parseMetrics holds a text to the grammar of version 0.0.4, and to what every
// metric of ours shall have: HELP and then TYPE once, just before its samples,
// none of which comes twice.
func parseMetrics(t *testing.T, text string) exposition {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		t.Errorf("the last line has no end: %q", tail(text, 80))
	}
	e := exposition{map[string]float64{}, map[string]string{}}
	helped, current := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := metricHead.FindStringSubmatch(line); m != nil {
			switch {
			case m[1] == "HELP":
				helped = m[2]
			case m[3] != "gauge" && m[3] != "counter", helped != m[2], e.types[m[2]] != "":
				t.Errorf("after the help of %q: %q", helped, line)
			default:
				e.types[m[2]], current = m[3], m[2]
			}
			continue
		}
		m := metricSample.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("not in the format: %q", line)
			continue
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil || m[1] != current || value < 0 || math.IsNaN(value) {
			t.Errorf("among those of %s: %q", current, line)
		}
		if (e.types[current] == "counter") != strings.HasSuffix(current, "_total") {
			t.Errorf("%s is a %s", current, e.types[current])
		}
		if _, twice := e.samples[m[1]+m[2]]; twice {
			t.Errorf("twice: %q", line)
		}
		e.samples[m[1]+m[2]] = value
	}
	return e
}

// holds compares samples; -1 stands for one that is not there.
func (e exposition) holds(t *testing.T, want map[string]float64) {
	t.Helper()
	for name, value := range want {
		got, ok := e.samples[name]
		if !ok {
			got = -1
		}
		if got != value {
			t.Errorf("%s is %v, not %v", name, got, value)
		}
	}
}

// TestMetrics: a real daemon tells of a unit that runs, one that is healthy, one
// that has failed, one that has none of it, and of itself.
func TestMetrics(t *testing.T) {
	began := float64(time.Now().Unix())
	d := start(t, map[string]string{
		"web.toml":  sh("exec sleep 1000", limited("[cgroup]\nmemory-max = '64M'")),
		"good.toml": sh("touch /tmp/up; exec sleep 1000", "[health.up]\nfile = '/tmp/up'\ninterval = '100ms'"),
		"bad.toml":  sh("exit 7", "[restart]\ndelay = '10ms'\nlimit = { burst = 2, within = '1h' }"),
		"off.toml":  sh("exec sleep 1000", "[unit]\nstart = 'demand'"),
		"done.toml": "[service]\ntype = 'task'\ncommand = ['true']\n[rootfs]\nhost = true\n",
	})
	d.wait("web", core.Running)
	d.wait("bad", core.Failed)
	d.wait("done", core.Completed)
	d.health("good", "up", core.Healthy)
	e := parseMetrics(t, d.ok("metrics"))
	e.holds(t, map[string]float64{
		`berth_supervisors_total`: 1, `berth_generation`: 1, `berth_reload_last_success`: 1,
		`berth_units{phase="running"}`: 2, `berth_units{phase="failed"}`: 1, `berth_units{phase="inactive"}`: 1, `berth_units{phase="completed"}`: 1, `berth_units{phase="backoff"}`: 0,
		`berth_unit_desired{unit="web"}`: 1, `berth_unit_up{unit="web"}`: 1, `berth_unit_ready{unit="web"}`: 1, `berth_unit_restarts_total{unit="web"}`: 0,
		`berth_unit_healthy{unit="web"}`: -1, `berth_unit_healthy{unit="good"}`: 1, `berth_unit_tasks{unit="good"}`: 1,
		`berth_unit_desired{unit="bad"}`: 1, `berth_unit_up{unit="bad"}`: 0, `berth_unit_ready{unit="bad"}`: 0, `berth_unit_restarts_total{unit="bad"}`: float64(d.status("bad").Restarts),
		`berth_unit_tasks{unit="bad"}`: -1, `berth_unit_memory_bytes{unit="bad"}`: -1, `berth_unit_cpu_seconds_total{unit="bad"}`: -1,
		`berth_unit_desired{unit="off"}`: 0, `berth_unit_up{unit="off"}`: 0, `berth_unit_start_seconds{unit="off"}`: -1,
		`berth_unit_up{unit="done"}`: 0, `berth_unit_ready{unit="done"}`: 1,
	})
	if at := e.samples[`berth_unit_start_seconds{unit="web"}`]; at < began || at > float64(time.Now().Unix()+1) {
		t.Errorf("web was started at %v, the test at %v", at, began)
	}
	if n := e.samples[`berth_unit_restarts_total{unit="bad"}`]; n == 0 {
		t.Error("bad was not restarted")
	}
	if _, ok := e.samples["berth_orphans_reaped_total"]; !ok {
		t.Error("orphans are not told")
	}
	if os.Getenv(rootlessPrograms) == "" { // whose groups need not have these controllers
		for _, name := range []string{"memory_bytes", "memory_peak_bytes", "cpu_seconds_total"} {
			if v, ok := e.samples[`berth_unit_`+name+`{unit="web"}`]; !ok || v == 0 && name == "memory_bytes" {
				t.Errorf("%s of web is %v, %v", name, v, ok)
			}
		}
		e.holds(t, map[string]float64{`berth_unit_oom_kills_total{unit="web"}`: 0})
	}

	if err := os.WriteFile(filepath.Join(d.units, "broken.toml"), []byte("[service\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.eventually("the broken file is told", func() bool {
		return parseMetrics(t, d.ok("metrics")).samples["berth_reload_last_success"] == 0
	})
	if _, errs, code := d.berth("metrics", "-o", "json"); code != 2 || !strings.Contains(errs, "berth stats -o json") {
		t.Errorf("-o json: exit code %d, %s", code, errs)
	}
}

// TestMetricsBySocket: what a collector sees that reads the socket itself.
func TestMetricsBySocket(t *testing.T) {
	d := start(t, map[string]string{"web.toml": sh("exec sleep 1000")})
	d.wait("web", core.Running)
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket())
	}}}
	resp, err := c.Get("http://berth/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if kind := resp.Header.Get("Content-Type"); kind != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("it is %q", kind)
	}
	parseMetrics(t, string(text)).holds(t, map[string]float64{`berth_unit_up{unit="web"}`: 1})
}
