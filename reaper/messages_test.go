package reaper

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// samples holds a message of every kind, with every field that the kind has.
var samples = []message{
	{Kind: kindBegin, Request: 1, ID: 1 << 63},
	{Kind: kindRegister, Request: 2, ID: 5, PID: maxPID},
	{Kind: kindAbandon, ID: 7},
	{Kind: kindAck, Seq: 8},
	{Kind: kindStore, Request: 3, Name: strings.Repeat("n", maxName)},
	{Kind: kindDrop, Request: 4, Name: "log:web"},
	{Kind: kindStats, Request: 5},
	{Kind: kindExit, Request: 6, Number: 255},
	{Kind: kindReexec, Request: 7},
	{Kind: kindHello, Stats: Stats{1, 2, 3, 4, 5, 6, 7, 8}},
	{Kind: kindStored, Name: "x"},
	{Kind: kindRegistered, ID: 5, PID: 1},
	{Kind: kindIntents, Intents: []uint64{1, 2, 3}},
	{Kind: kindDone},
	{Kind: kindReply, Request: 9, Errno: 22, Text: "why", Stats: Stats{Registered: 3}},
	{Kind: kindExited, Exit: Exit{Seq: 1, ID: 2, PID: 3, Code: 255}},
	{Kind: kindExited, Exit: Exit{Seq: 1, PID: 3, Signal: 11, Core: true, Rusage: &syscall.Rusage{
		Utime: syscall.Timeval{Sec: 1, Usec: 2}, Stime: syscall.Timeval{Sec: 3, Usec: 4}, Maxrss: 5, Minflt: 6, Majflt: 7, Inblock: 8, Oublock: 9, Nvcsw: 10, Nivcsw: 11}}},
	{Kind: kindSignal, Number: 64},
	{Kind: kindLauncher},
	{Kind: kindBeat, Within: 60e9},
	{Kind: kindFinish, Request: 10, Within: 1, Args: []string{"berthd", "--role=final", ""}},
	{Kind: kindFinish, Request: 11},
	{Kind: kindEmergency, Request: 12},
	{Kind: kindReplace, Request: 13},
	{Kind: kindEmergencyEnded},
}

func TestMessagesSurviveTheWire(t *testing.T) {
	kinds := map[kind]bool{}
	for _, m := range samples {
		kinds[m.Kind] = true
		got, ok := decode(m.encode(nil))
		if !ok || !reflect.DeepEqual(got, m) {
			t.Errorf("sent %+v, received %+v (%v)", m, got, ok)
		}
	}
	if want := int(lastRequest-kindBegin) + 1 + int(lastTold-kindHello) + 1; len(kinds) != want {
		t.Errorf("%d of %d kinds have a sample", len(kinds), want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, m := range samples {
		data := m.encode(nil)
		for n := range data {
			if got, ok := decode(data[:n]); ok {
				t.Errorf("%+v is accepted cut to %d bytes as %+v", m, n, got)
			}
		}
		if _, ok := decode(append(data, 0)); ok {
			t.Errorf("%+v is accepted with a byte too many", m)
		}
	}
	for name, m := range map[string]message{
		"pid 0":                   {Kind: kindRegister, Request: 1},
		"no request number":       {Kind: kindBegin, ID: 1},
		"a request number":        {Kind: kindAck, Request: 1, Seq: 1},
		"no name":                 {Kind: kindStore, Request: 1},
		"a long name":             {Kind: kindDrop, Request: 1, Name: strings.Repeat("n", maxName+1)},
		"no intents":              {Kind: kindIntents},
		"an exit without a seq":   {Kind: kindExited, Exit: Exit{PID: 1}},
		"kind 0":                  {},
		"too many arguments":      {Kind: kindFinish, Request: 1, Args: make([]string, maxArgs+1)},
		"long arguments":          {Kind: kindFinish, Request: 1, Args: []string{strings.Repeat("x", maxArgBytes), "x"}},
		"an argument with a zero": {Kind: kindFinish, Request: 1, Args: []string{"a\x00b"}},
		"an event with a request": {Kind: kindDone, Request: 1},
	} {
		if _, ok := decode(m.encode(nil)); ok {
			t.Errorf("%s is accepted", name)
		}
	}
}

// FuzzReaperProtocol reads messages of both directions: whatever comes, decode
// does not fail otherwise than by saying so, and accepts only what encode writes.
func FuzzReaperProtocol(f *testing.F) {
	for _, m := range samples {
		f.Add(m.encode(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, ok := decode(data)
		if ok && m.Kind.known() && !bytes.Equal(m.encode(nil), data) {
			t.Errorf("%x is read as %+v, which is written as %x", data, m, m.encode(nil))
		}
	})
}

// FuzzReaperState reads what a reaper leaves to its successor.
func FuzzReaperState(f *testing.F) {
	r := stateSample()
	f.Add(r.saveState())
	f.Add((&reaper{table: newTable()}).saveState())
	f.Fuzz(func(t *testing.T, data []byte) {
		got := &reaper{table: newTable(), retired: map[int]bool{}}
		got.loadState(data)
	})
}

// stateSample is a reaper that has something of everything.
func stateSample() *reaper {
	r := &reaper{table: newTable(), retired: map[int]bool{70: true}, signals: []syscall.Signal{15, 40}}
	r.supervisor.pid, r.launcher.pid = 60, 61
	t := r.table
	t.orphans, t.supervisors, t.launchers = 5, 6, 7
	t.register(1, 100, 20)
	t.register(2, 101, 21)
	t.ended(Exit{PID: 101, Code: 3, Rusage: &syscall.Rusage{Maxrss: 9}})
	t.put("a", []int{22, 23})
	t.begin(9)
	t.abandoned = []uint64{8}
	r.watch.within = time.Minute
	r.finish = finish{argv: []string{"berthd", "--role=final"}, by: time.Now().Add(time.Hour)}
	r.emergency.pid = 62
	return r
}

func TestStateSurvivesExecve(t *testing.T) {
	r := stateSample()
	data := r.saveState()
	got := &reaper{retired: map[int]bool{}, table: newTable()}
	// A record of a newer version, which means nothing here.
	data = append(data, 0xff, 0x7f, 2, 0, 0, 0, 'x', 'y')
	if !got.loadState(data) {
		t.Fatal("not readable")
	}
	want := r.table
	want.abandonAll()
	want.moment = 0
	if !reflect.DeepEqual(got.table, want) {
		t.Errorf("saved %+v, loaded %+v", want, got.table)
	}
	if got.supervisor.pid != 60 || !reflect.DeepEqual(got.retired, map[int]bool{61: true, 70: true}) || !reflect.DeepEqual(got.signals, r.signals) {
		t.Errorf("loaded %+v", got)
	}
	if left := time.Until(got.finish.by); got.watch != r.watch || !slices.Equal(got.finish.argv, r.finish.argv) || left > time.Hour || left < 59*time.Minute || got.emergency.pid != 62 {
		t.Errorf("loaded %+v", got)
	}
	for n := range len(data) - 1 {
		cut := &reaper{retired: map[int]bool{}, table: newTable()}
		cut.loadState(data[:n]) // whatever it says, it comes back
	}
}
