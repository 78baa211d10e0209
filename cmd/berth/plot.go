package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// What the chart measures, in pixels.
const (
	plotRow    = 20
	plotBar    = 12
	plotGap    = 14 // between boot and units
	plotWidth  = 760
	plotHead   = 74 // title, summary and axis
	plotFoot   = 44
	plotMargin = 16
	plotFigure = 64 // a column of figures
	plotLetter = 7  // of a label, on average
)

// plotStyle has the colours, for a light background and for a dark one.
const plotStyle = `<style>
svg{background:#fff;font:12px system-ui,"DejaVu Sans",sans-serif}
text{fill:#263238}.title{font-size:16px;font-weight:600}.faint{fill:#607d8b}.grid{stroke:#dfe5e8}.row{fill:#f5f7f8}
.end{text-anchor:end}.middle{text-anchor:middle}.figure{text-anchor:end;font-variant-numeric:tabular-nums}
.kernel{fill:#78909c}.initramfs{fill:#9575cd}.init{fill:#4db6ac}.duty{fill:#4f8fd9}.failed{fill:#d32f2f}
.waits{fill:#cfd8dc}.setup{fill:#fb8c00}.runs{fill:#fdd835}.ready{fill:#a5d6a7}
@media (prefers-color-scheme:dark){svg{background:#161b20}text{fill:#e3e8eb}.faint{fill:#90a4ae}.grid{stroke:#2c343a}.row{fill:#1c2227}
.waits{fill:#455a64}.ready{fill:#2e6b41}.runs{fill:#e0b400}}
</style>`

// plot draws each part of the boot and each unit's way up, a row each, on one
// axis of time.
func plot(w io.Writer, boot, list []risen) error {
	c := &chart{}
	all := slices.Concat(boot, list)
	if len(all) == 0 {
		return fmt.Errorf("no unit has come up yet")
	}
	c.start = epoch(all)
	end := c.start
	for _, r := range all {
		if r.Ready.After(end) {
			end = r.Ready
		}
		c.labels = max(c.labels, plotLetter*len(strings.TrimPrefix(r.Name, bootPrefix)))
	}
	whole := boot
	boot, hidden := visible(whole, end.Sub(c.start)/2000)
	all = slices.Concat(boot, list)
	c.total = max(end.Sub(c.start), time.Millisecond)
	c.total += c.total / 40
	c.left = plotMargin + c.labels + 10
	height := plotHead + plotRow*len(all) + plotFoot
	foot := height
	if hidden != "" {
		height += plotRow
	}
	if len(boot) > 0 && len(list) > 0 {
		height += plotGap
		foot += plotGap
	}
	width := c.left + plotWidth + 2*plotFigure + plotMargin
	c.p(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">`, width, height, width, height)
	c.p(plotStyle)
	c.p(`<text x="%d" y="26" class="title">%s</text>`, plotMargin, xmlText(plotTitle(boot, list, end.Sub(c.start))))
	c.p(`<text x="%d" y="44" class="faint">%s</text>`, plotMargin, xmlText(plotSummary(whole, list, end, c.start)))
	c.figures(plotHead-8, "took", "ready at", "faint ")
	rows := make([]int, len(all))
	y := plotHead
	for i := range all {
		if i == len(boot) && i > 0 {
			y += plotGap
		}
		rows[i] = y
		if i%2 == 0 {
			c.p(`<rect x="%d" y="%d" width="%d" height="%d" class="row"/>`, plotMargin/2, y, width-plotMargin, plotRow)
		}
		y += plotRow
	}
	for step, t := tick(c.total), time.Duration(0); t <= c.total; t += step {
		x := c.at(c.start.Add(t))
		c.p(`<path d="M%.1f %dV%d" class="grid"/><text x="%.1f" y="%d" class="faint middle">%s</text>`, x, plotHead-4, foot-plotFoot+4, x, plotHead-8, tickText(t))
	}
	for i, r := range all {
		c.row(rows[i], r, i < len(boot))
	}
	c.legend(foot-plotFoot+22, boot, list)
	if hidden != "" {
		c.p(`<text x="%d" y="%d" class="faint">%s</text>`, c.left, foot-2, xmlText(hidden))
	}
	c.p(`</svg>`)
	_, err := io.WriteString(w, c.out.String())
	return err
}

// visible leaves out parts of a boot that are too short to be seen, and says so.
func visible(boot []risen, shortest time.Duration) (seen []risen, hidden string) {
	var names []string
	for _, r := range boot {
		if r.took() < shortest && r.failed == "" {
			names = append(names, strings.TrimPrefix(r.Name, bootPrefix))
		} else {
			seen = append(seen, r)
		}
	}
	switch len(names) {
	case 0:
		return seen, ""
	case 1:
		return seen, fmt.Sprintf("shorter than %s: %s", short(shortest), names[0])
	case 2, 3, 4, 5, 6, 7, 8:
		return seen, fmt.Sprintf("each shorter than %s: %s", short(shortest), strings.Join(names, ", "))
	}
	return seen, fmt.Sprintf("each shorter than %s: %s and %d more", short(shortest), strings.Join(names[:7], ", "), len(names)-7)
}

// chart is a picture while it is drawn.
type chart struct {
	out    strings.Builder
	start  time.Time
	total  time.Duration // the length of the axis
	labels int           // the width of the names' column
	left   int           // where the axis begins
}

func (c *chart) p(format string, args ...any) { fmt.Fprintf(&c.out, format+"\n", args...) }

func (c *chart) at(t time.Time) float64 {
	return float64(c.left) + plotWidth*float64(t.Sub(c.start))/float64(c.total)
}

// figures writes the two columns on the right.
func (c *chart) figures(y int, took, at, class string) {
	x := c.left + plotWidth + plotFigure
	c.p(`<text x="%d" y="%d" class="%sfigure">%s</text><text x="%d" y="%d" class="%sfigure">%s</text>`, x, y, class, took, x+plotFigure, y, class, at)
}

// bar draws a span; one that is over at once can be seen too.
func (c *chart) bar(from, to time.Time, y, height int, class, what string) {
	if from.IsZero() || to.Before(from) {
		return
	}
	c.p(`<rect x="%.1f" y="%d" width="%.1f" height="%d" class="%s"><title>%s %s</title></rect>`,
		c.at(from), y+(plotRow-height)/2, max(c.at(to)-c.at(from), 1.5), height, class, xmlText(what), short(to.Sub(from)))
}

func (c *chart) row(y int, r risen, boot bool) {
	name := strings.TrimPrefix(r.Name, bootPrefix)
	c.p(`<text x="%d" y="%d" class="end">%s</text>`, c.left-8, y+14, xmlText(name))
	if boot {
		class := map[string]string{"kernel": "kernel", "initramfs": "initramfs", "duties": "duty"}[stage(r.Name)]
		if class == "" {
			class = "init"
		}
		what := name
		if r.failed != "" {
			class, what = "failed", name+": "+r.failed+","
		}
		c.bar(r.Starting, r.Ready, y, plotBar, class, what)
	} else {
		executed := r.Executed
		if executed.IsZero() {
			executed = r.Ready
		}
		c.bar(r.Waiting, r.Starting, y, plotBar/2, "waits", name+" waited")
		c.bar(r.Ready, c.start.Add(c.total), y, plotBar/2, "ready", name+" was ready for")
		if r.Ready.After(executed) {
			c.bar(executed, r.Ready, y, plotBar, "runs", name+" ran and became ready in")
		}
		c.bar(r.Starting, executed, y, plotBar, "setup", name+" was set up in")
	}
	c.figures(y+14, short(r.took()), short(r.Ready.Sub(c.start)), "")
}

// legend explains the colours that are there.
func (c *chart) legend(y int, boot, list []risen) {
	x := c.left
	entry := func(class, text string) {
		c.p(`<rect x="%d" y="%d" width="12" height="12" class="%s"/><text x="%d" y="%d" class="faint">%s</text>`, x, y-10, class, x+18, y, text)
		x += 18 + plotLetter*len(text) + 18
	}
	if len(boot) > 0 {
		entry("kernel", "kernel")
		if slices.ContainsFunc(boot, func(r risen) bool { return stage(r.Name) == "initramfs" }) {
			entry("initramfs", "initramfs")
		}
		entry("init", "PID 1")
		entry("duty", "boot duty")
		if slices.ContainsFunc(boot, func(r risen) bool { return r.failed != "" }) {
			entry("failed", "failed")
		}
	}
	if len(list) > 0 {
		entry("waits", "unit waits")
		entry("setup", "is set up")
		entry("runs", "runs, not ready")
		entry("ready", "ready")
	}
}

func plotTitle(boot, list []risen, span time.Duration) string {
	units := fmt.Sprintf("%d units", len(list))
	if len(list) == 1 {
		units = "1 unit"
	}
	switch {
	case len(boot) == 0:
		return fmt.Sprintf("%s ready in %s", units, short(span))
	case len(list) == 0:
		return fmt.Sprintf("Booted in %s", short(span))
	}
	return fmt.Sprintf("Booted to %s ready in %s", units, short(span))
}

// plotSummary tells what each stage took, and when all began.
func plotSummary(boot, list []risen, end, start time.Time) string {
	var parts []string
	names := map[string]string{"kernel": "kernel", "initramfs": "initramfs", "reaper": "PID 1", "supervisor": "supervisor", "duties": "boot duties", loadUnits: "load units"}
	before := stages(boot)
	slices.Reverse(before)
	for _, r := range before {
		parts = append(parts, fmt.Sprintf("%s %s", names[strings.TrimPrefix(r.Name, bootPrefix)], short(r.took())))
	}
	if len(boot) > 0 && len(list) > 0 {
		parts = append(parts, "units "+short(end.Sub(epoch(list))))
	}
	text := strings.Join(parts, " + ")
	if text != "" {
		text += ", "
	}
	return text + "from " + start.Local().Format(time.DateTime)
}

func xmlText(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // to memory
	return b.String()
}

// tickText is a mark on the axis: its unit is that of round numbers.
func tickText(t time.Duration) string {
	if t == 0 {
		return "0"
	}
	return t.String()
}

// tick is a round distance that gives some ten lines.
func tick(total time.Duration) time.Duration {
	for unit := time.Microsecond; ; unit *= 10 {
		for _, n := range []time.Duration{1, 2, 5} {
			if total/(n*unit) <= 12 {
				return n * unit
			}
		}
	}
}
