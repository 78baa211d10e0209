package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"

	"berth/supervisor/api"
	"berth/supervisor/core"
	"berth/units"
)

// aBoot is one of a small machine, at a time that is always the same.
func aBoot() (*api.Boot, []api.Node) {
	began := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	at := func(ms float64) time.Time { return began.Add(time.Duration(ms * float64(time.Millisecond))) }
	boot := &api.Boot{Done: true, Spans: []api.Span{
		{Name: "kernel", Begin: at(0), End: at(1400)},
		{Name: "initramfs/reaper", Begin: at(1400), End: at(1450)},
		{Name: "initramfs/modules", Begin: at(1450), End: at(1600)},
		{Name: "reaper", Begin: at(1610), End: at(1640)},
		{Name: "supervisor", Begin: at(1640), End: at(1660)},
		{Name: "machine-id", Begin: at(1660), End: at(1660.2)},
		{Name: "fsck", Begin: at(1661), End: at(1800), Error: "exit status 4 & <more>"},
		{Name: "single", Begin: at(1800)},
	}}
	times := func(waiting, starting, executed, ready float64) *core.Times {
		return &core.Times{Waiting: at(waiting), Starting: at(starting), Executed: at(executed), Ready: at(ready)}
	}
	return boot, []api.Node{
		{Name: "db", Type: "service", First: times(1810, 1810, 1830, 2400)},
		{Name: "web", Type: "service", Requires: []string{"db"}, After: []units.Dependency{{Unit: "db", Is: "ready"}}, First: times(1810, 2400, 2430, 2430)},
		{Name: "later", Type: "service"},
	}
}

func TestPlot(t *testing.T) {
	t.Setenv("TZ", "UTC")
	time.Local = time.UTC
	boot, nodes := aBoot()
	var b bytes.Buffer
	list := risenOf(nodes, false)
	if err := plot(&b, bootOf(boot, list), list); err != nil {
		t.Fatal(err)
	}
	x := xml.NewDecoder(bytes.NewReader(b.Bytes()))
	for {
		if _, err := x.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("it is no XML: %v", err)
		}
	}
	golden(t, "testdata/plot.svg", b.Bytes())
	if err := plot(io.Discard, nil, nil); err == nil {
		t.Error("a picture of nothing was drawn")
	}
}

// The chain of what had to be waited for goes on to the start of the kernel.
func TestChainOfABoot(t *testing.T) {
	boot, nodes := aBoot()
	list := risenOf(nodes, false)
	before := bootOf(boot, list)
	chain, err := criticalChain(list, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	printChain(&b, false, append(chain, stages(before)...), epoch(append(before, list...)))
	const want = `web @2.43s +30ms
└─ db @2.4s +590ms
  └─ boot/load-units @1.81s +10ms
    └─ boot/duties @1.8s +140ms
      └─ boot/supervisor @1.66s +20ms
        └─ boot/reaper @1.64s +30ms
          └─ boot/initramfs @1.61s +210ms
            └─ boot/kernel @1.4s +1.4s
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}
