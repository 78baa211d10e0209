package supervisor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"testing"
	"time"

	"berth/supervisor/core"
	"berth/units"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// world is a core with a snapshot, as the loop drives them.
type world struct {
	t     testing.TB
	state *core.State
	snap  *snapshot
	kept  *os.File // what the next supervisor would get
	full  bool     // nothing is kept any more
	now   time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, state: core.New(), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	var err error
	if w.snap, err = newSnapshot(w.keep, w.state); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.snap.file.Close() })
	return w
}

func (w *world) keep(f *os.File) error {
	if w.full {
		return errors.New("the store is full")
	}
	w.kept = f
	return nil
}

func (w *world) step(e core.Event) error {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	core.Step(w.state, core.Input{Now: w.now, Event: e})
	return w.snap.record(w.state)
}

func (w *world) must(e core.Event) {
	w.t.Helper()
	if err := w.step(e); err != nil {
		w.t.Fatal(err)
	}
}

// load takes up n services that require each other in a chain of ten.
func (w *world) load(n int) {
	w.t.Helper()
	set := map[string]*units.Unit{}
	for i := range n {
		text := "[service]\ncommand = ['/bin/true']\n[restart]\npolicy = 'always'\n[rootfs]\nhost = true\n"
		if i%10 != 0 {
			text = fmt.Sprintf("[unit]\nrequires = ['u%d']\n", i-1) + text
		}
		name := fmt.Sprintf("u%d", i)
		u, diags := units.Decode(name, []units.Source{{Path: name + ".toml", Text: []byte(text)}})
		if diags.HasErrors() {
			w.t.Fatal(diags)
		}
		set[name] = u
	}
	w.must(core.Load{Generation: 1, Units: set, Boot: true})
}

// incarnation gives that of a unit.
func (w *world) incarnation(name string) core.Incarnation {
	u, ok := w.state.Unit(name)
	if !ok {
		w.t.Fatalf("no unit %s", name)
	}
	return u.Incarnation
}

func (w *world) bytes() []byte {
	w.t.Helper()
	data := make([]byte, w.snap.size)
	if _, err := w.kept.ReadAt(data, 0); err != nil {
		w.t.Fatal(err)
	}
	return data
}

var stateOptions = cmp.Options{cmpopts.IgnoreUnexported(core.State{}), cmpopts.EquateEmpty()}

func sameState(t testing.TB, want, got *core.State) {
	t.Helper()
	if diff := cmp.Diff(want, got, stateOptions); diff != "" {
		t.Errorf("not the state that was recorded:\n%s", diff)
	}
}

// clone copies a state as a new supervisor would get it.
func clone(t testing.TB, s *core.State) *core.State {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	out := &core.State{}
	if err := json.Unmarshal(text, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSnapshot(t *testing.T) {
	w := newWorld(t)
	w.load(3)
	w.must(core.Spawned{Unit: "u0", Incarnation: w.incarnation("u0"), PID: 100})
	w.must(core.Command{ID: 7, Verb: core.VerbStop, Units: []string{"u1"}})
	got, _, err := readSnapshot(w.kept)
	if err != nil {
		t.Fatal(err)
	}
	sameState(t, w.state, got)

	w.must(core.Load{Generation: 2, Units: map[string]*units.Unit{}}) // all gone
	if got, _, err = readSnapshot(w.kept); err != nil {
		t.Fatal(err)
	}
	sameState(t, w.state, got)
}

// TestSnapshotCut cuts the log at every byte, as a SIGKILL may: what is read is
// always the state after some whole step.
func TestSnapshotCut(t *testing.T) {
	w := newWorld(t)
	states := map[int64]*core.State{w.snap.size: clone(t, w.state)}
	then := func(e core.Event) { w.must(e); states[w.snap.size] = clone(t, w.state) }
	w.load(2)
	states[w.snap.size] = clone(t, w.state)
	then(core.Spawned{Unit: "u0", Incarnation: w.incarnation("u0"), PID: 100})
	then(core.Exited{Unit: "u0", Incarnation: w.incarnation("u0"), Status: core.ExitStatus{Code: 1}})
	data := w.bytes()
	var want *core.State
	for n := range len(data) + 1 {
		if s := states[int64(n)]; s != nil {
			want = s
		}
		got, _, err := decodeSnapshot(data[:n])
		if want == nil {
			if err == nil {
				t.Fatalf("%d bytes: something was read", n)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if !cmp.Equal(want, got, stateOptions) {
			t.Fatalf("%d bytes: not a state that ever was:\n%s", n, cmp.Diff(want, got, stateOptions))
		}
	}
}

// TestSnapshotFlipped flips every bit of a log: what is read is an error, or the
// state after some whole step where a length became too large to be there.
func TestSnapshotFlipped(t *testing.T) {
	w := newWorld(t)
	states := []*core.State{clone(t, w.state)}
	w.load(1)
	states = append(states, clone(t, w.state))
	w.must(core.Spawned{Unit: "u0", Incarnation: w.incarnation("u0"), PID: 100})
	data := w.bytes()
	for i := range len(data) * 8 {
		data[i/8] ^= 1 << (i % 8)
		got, _, err := decodeSnapshot(data)
		data[i/8] ^= 1 << (i % 8)
		if err != nil {
			continue
		}
		known := false
		for _, s := range states {
			known = known || cmp.Equal(s, got, stateOptions)
		}
		if !known {
			t.Fatalf("bit %d: a state that never was", i)
		}
	}
}

// framed gives the text as a record.
func framed(text string) []byte {
	buf := binary.LittleEndian.AppendUint32(nil, uint32(len(text)))
	buf = binary.LittleEndian.AppendUint32(buf, crc32.ChecksumIEEE([]byte(text)))
	return append(buf, text...)
}

// TestSnapshotOtherVersion reads what a version with other fields wrote.
func TestSnapshotOtherVersion(t *testing.T) {
	w := newWorld(t)
	w.load(1)
	w.must(core.Spawned{Unit: "u0", Incarnation: w.incarnation("u0"), PID: 100})
	text, err := json.Marshal(record{Head: &w.state.Head, Units: []*core.Unit{w.state.Units["u0"]}})
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.NewReplacer(`"head":{`, `"head":{"mood":"fine",`, `"config":{`, `"config":{"Weather":{"rain":1},`).Replace(string(text))
	got, _, err := decodeSnapshot(framed(newer))
	if err != nil {
		t.Fatalf("a newer version's: %v", err)
	}
	sameState(t, w.state, got)

	var older map[string]any
	if err := json.Unmarshal(text, &older); err != nil {
		t.Fatal(err)
	}
	delete(older["head"].(map[string]any), "timer_seq")
	unit := older["units"].([]any)[0].(map[string]any)
	for _, key := range []string{"restarts", "started_at", "since", "restart_at"} {
		delete(unit, key)
	}
	if text, err = json.Marshal(older); err != nil {
		t.Fatal(err)
	}
	if got, _, err = decodeSnapshot(framed(string(text))); err != nil {
		t.Fatalf("an older version's: %v", err)
	}
	if u := got.Units["u0"]; u.Phase != core.Running || u.MainPID != 100 {
		t.Errorf("an older version's unit is %+v", u)
	}
	exercise(got)
}

func TestSnapshotRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no head":            `{"units":[]}`,
		"no JSON":            `{`,
		"null unit":          `{"head":{},"units":[null]}`,
		"no configuration":   `{"head":{},"units":[{"name":"a","phase":"running"}]}`,
		"unknown phase":      `{"head":{},"units":[{"name":"a","config":{},"phase":"dreaming"}]}`,
		"negative stop step": `{"head":{},"units":[{"name":"a","config":{},"phase":"stopping","stop_step":-1}]}`,
		"null command":       `{"head":{"commands":{"1":null}}}`,
		"wrong type":         `{"head":{"generation":"one"}}`,
	} {
		if _, _, err := decodeSnapshot(framed(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, _, err := decodeSnapshot(nil); err == nil {
		t.Error("nothing: accepted")
	}
}

// TestSnapshotOfTheFuture reads what a version wrote that means other things by
// it: what runs is kept, whatever its phase is called there.
func TestSnapshotOfTheFuture(t *testing.T) {
	w := newWorld(t)
	w.load(4)
	for _, name := range []string{"u0", "u1"} {
		w.must(core.Spawned{Unit: name, Incarnation: w.incarnation(name), PID: 100})
	}
	future := func(old, changed string) []byte {
		var units []*core.Unit
		for _, name := range w.state.Names() {
			units = append(units, w.state.Units[name])
		}
		text, err := json.Marshal(record{Version: snapshotVersion + 1, Head: &w.state.Head, Units: units})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), old) {
			t.Fatalf("no %s in %s", old, text)
		}
		return framed(strings.Replace(string(text), old, changed, 1))
	}
	for name, data := range map[string][]byte{
		"an unknown phase": future(`"phase":"running"`, `"phase":"dreaming"`),
		"another type":     future(`"restarts":0`, `"restarts":{"count":0}`),
		"counts from -1":   future(`"head":{`, `"head":{"timer_seq":-1,`),
		"an unknown side":  future(`"name":"u3"`, `"name":"u3","side":7`),
	} {
		state, version, err := decodeSnapshot(data)
		if err != nil || version != snapshotVersion+1 {
			t.Errorf("%s: version %d, %v", name, version, err)
			continue
		}
		state = core.Salvage(state, core.Input{Now: w.now})
		for _, unit := range []string{"u0", "u1"} {
			if u := state.Units[unit]; u == nil || u.Phase != core.Running || u.MainPID != 100 || !u.Ready {
				t.Errorf("%s: %s is %+v", name, unit, u)
			}
		}
		exercise(state)
	}
}

// TestSnapshotCompacts lets the log grow until it is replaced.
func TestSnapshotCompacts(t *testing.T) {
	w := newWorld(t)
	w.load(20)
	first, replaced := w.kept, 0
	for i := 0; replaced < 3; i++ {
		name := fmt.Sprintf("u%d", i%2*10)
		w.must(core.Spawned{Unit: name, Incarnation: w.incarnation(name), PID: 100 + i})
		w.must(core.Exited{Unit: name, Incarnation: w.incarnation(name), Status: core.ExitStatus{Code: 1}})
		w.must(core.Released{Unit: name, Incarnation: w.incarnation(name)})
		w.must(core.Command{ID: w.state.LastCommand + 1, Verb: core.VerbRestart, Units: []string{name}, NoBlock: true})
		if w.kept != first {
			first = w.kept
			replaced++
		}
		if w.snap.size > w.snap.base+2*compactAfter {
			t.Fatalf("the log grew to %d bytes", w.snap.size)
		}
	}
	got, _, err := readSnapshot(w.kept)
	if err != nil {
		t.Fatal(err)
	}
	sameState(t, w.state, got)
}

// TestSnapshotOfChecks: health checks that say nothing new write nothing, and a
// supervisor that takes over goes on checking.
func TestSnapshotOfChecks(t *testing.T) {
	w := newWorld(t)
	u := &units.Unit{Name: "web", Health: map[string]units.Probe{"up": {TCP: "127.0.0.1:80", Interval: units.Duration(time.Second), Retries: 3}}}
	u.Unit.Start, u.Service.Type = "boot", "service"
	w.must(core.Load{Generation: 1, Units: map[string]*units.Unit{"web": u}, Boot: true})
	w.must(core.Spawned{Unit: "web", Incarnation: 1, PID: 100})
	check := func(failure string) {
		web, _ := w.state.Unit("web")
		w.must(core.TimerFired{Unit: "web", Timer: "health/up", Seq: web.Timers["health/up"].Seq})
		w.must(core.Probed{Unit: "web", Incarnation: 1, Check: "up", Seq: web.Checks["up"].Seq, Err: failure})
	}
	check("")
	size := w.snap.size
	for range 100 {
		check("")
	}
	if w.snap.size != size {
		t.Errorf("100 successes wrote %d bytes", w.snap.size-size)
	}
	check("no answer")
	if w.snap.size == size {
		t.Error("a failure is not written")
	}
	got, _, err := readSnapshot(w.kept)
	if err != nil {
		t.Fatal(err)
	}
	web, _ := got.Unit("web")
	if web.Checks["up"].Failed != 1 || web.Checks["up"].State != core.Healthy {
		t.Errorf("it holds %+v", web.Checks["up"])
	}
	next := 0
	for _, e := range core.Resume(got, core.Input{Now: w.now}) {
		switch e := e.(type) {
		case core.Probe:
			next++
		case core.SetTimer:
			if e.Timer == "health/up" {
				next++
			}
		}
	}
	if next != 1 {
		t.Errorf("after a takeover the check is made %d times", next)
	}
}

// TestSnapshotRecovers has records fail: the next that succeeds holds everything.
func TestSnapshotRecovers(t *testing.T) {
	w := newWorld(t)
	w.load(2)
	good := w.snap.file
	broken, err := os.Open(os.DevNull) // cannot be written
	if err != nil {
		t.Fatal(err)
	}
	w.snap.file, w.full = broken, true
	for range 2 {
		if err := w.step(core.Spawned{Unit: "u0", Incarnation: w.incarnation("u0"), PID: 100}); err == nil {
			t.Fatal("a record was written nowhere")
		}
	}
	w.full = false
	w.must(core.Exited{Unit: "u0", Incarnation: w.incarnation("u0"), Status: core.ExitStatus{Code: 1}})
	good.Close()
	got, _, err := readSnapshot(w.kept)
	if err != nil {
		t.Fatal(err)
	}
	sameState(t, w.state, got)
}

// exercise does with a state what a supervisor that takes it over may do.
func exercise(s *core.State) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	core.Resume(s, core.Input{Now: now})
	do := func(e core.Event) { core.Step(s, core.Input{Now: now, Event: e}) }
	for _, name := range s.Names() {
		u, _ := s.Unit(name)
		do(core.SpawnFailed{Unit: name, Incarnation: u.Incarnation, Temporary: true})
		do(core.Exited{Unit: name, Incarnation: u.Incarnation})
		do(core.Released{Unit: name, Incarnation: u.Incarnation})
		for timer, armed := range u.Timers {
			do(core.TimerFired{Unit: name, Timer: timer, Seq: armed.Seq})
		}
	}
	do(core.Load{Generation: s.Generation + 1, Units: map[string]*units.Unit{}})
	do(core.Shutdown{})
}

// FuzzSnapshot reads anything, and goes on with what was accepted.
func FuzzSnapshot(f *testing.F) {
	w := newWorld(f)
	w.load(3)
	w.must(core.Spawned{Unit: "u0", Incarnation: w.incarnation("u0"), PID: 100})
	w.must(core.Command{ID: 7, Verb: core.VerbStop, Units: []string{"u1"}})
	data := w.bytes()
	f.Add(data, false)
	f.Add(data[:len(data)-3], false)
	for rest := data; len(rest) > recordHeader; {
		n := binary.LittleEndian.Uint32(rest)
		f.Add(rest[recordHeader:recordHeader+n], true)
		rest = rest[recordHeader+n:]
	}
	f.Fuzz(func(t *testing.T, data []byte, whole bool) {
		if whole { // past the checksum, which a fuzzer never gets right
			data = framed(string(data))
		}
		if s, _, err := decodeSnapshot(data); err == nil {
			exercise(s)
		}
	})
}

// BenchmarkSnapshotStep is what one step costs beside the core's work, with 1000
// units of which one changes.
func BenchmarkSnapshotStep(b *testing.B) {
	w := newWorld(b)
	w.load(1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e := core.Event(core.Spawned{Unit: "u0", Incarnation: w.incarnation("u0"), PID: 100})
		switch i % 4 {
		case 1:
			e = core.Exited{Unit: "u0", Incarnation: w.incarnation("u0"), Status: core.ExitStatus{Code: 1}}
		case 2:
			e = core.Released{Unit: "u0", Incarnation: w.incarnation("u0")}
		case 3:
			e = core.Command{ID: w.state.LastCommand + 1, Verb: core.VerbRestart, Units: []string{"u0"}, NoBlock: true}
		}
		w.must(e)
	}
}
