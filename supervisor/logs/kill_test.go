package logs

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/units"
)

const kills = 250

// survivor writes numbered lines on both streams of a unit while the process
// that pumps them is killed again and again.
type survivor struct {
	dir, unit, target string
	size              int
	incarnations      string     // of the streams, with commas between
	files             []*os.File // as the reaper would keep them
	lines             [2]int     // written, when run has returned
}

func startSurvivor(t *testing.T, unit, target string, size int) (*survivor, Writers) {
	t.Helper()
	v := &survivor{dir: t.TempDir(), unit: unit, target: target, size: size, incarnations: "7"}
	m := newManager(t, v.dir)
	s, w := newStreams(t, m, unit, units.Log{Target: target, MaxSize: units.Size(size), Keep: 900})
	kept := s.Descriptors()["log/7"]
	for _, f := range kept {
		fd, err := dup(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = fd.Close() })
		v.files = append(v.files, fd)
	}
	s.Close()
	m.Close()
	return v, w
}

func (v *survivor) pump(t *testing.T) (*exec.Cmd, io.Closer) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%s|%s|%d", envPump, v.unit, v.incarnations, v.target, v.dir, v.size))
	cmd.ExtraFiles = v.files
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, in
}

// run writes until the last kill, then lets one pump finish. prepare is called
// before each kill.
func (v *survivor) run(t *testing.T, w Writers, disturb func(i int)) {
	t.Helper()
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for i, f := range []*os.File{w.Stdout, w.Stderr} {
		writers.Go(func() {
			defer f.Close()
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			out := bufio.NewWriterSize(f, 1+rnd.IntN(8000))
			defer out.Flush()
			for {
				select {
				case <-stop:
					return
				default:
				}
				pad := rnd.IntN(200)
				if rnd.IntN(500) == 0 {
					pad = rnd.IntN(60 << 10)
				}
				fmt.Fprintf(out, "line %d %s\n", v.lines[i], strings.Repeat("x", pad))
				v.lines[i]++
				if rnd.IntN(20) == 0 {
					_ = out.Flush()
				}
			}
		})
	}
	for i := range kills {
		cmd, in := v.pump(t)
		time.Sleep(5*time.Millisecond + time.Duration(rand.IntN(25_000))*time.Microsecond) // the kill comes at a random moment
		if disturb != nil {
			disturb(i)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = in.Close()
	}
	close(stop)
	cmd, in := v.pump(t)
	writers.Wait()
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the last pump: %v", err)
	}
}

// counter checks that the lines of each stream are numbered without a gap.
type counter struct {
	t    *testing.T
	next [2]int
	bad  int
}

func (c *counter) line(stream, text string) {
	i := 0
	if stream == "stderr" {
		i = 1
	}
	var n int
	if _, err := fmt.Sscanf(text, "line %d ", &n); err != nil || n != c.next[i] {
		if c.bad++; c.bad < 5 {
			c.t.Errorf("%s: expected line %d, got %.60q", stream, c.next[i], text)
		}
		c.next[i] = n
	}
	c.next[i]++
}

func (c *counter) end(v *survivor) {
	if c.next != v.lines {
		c.t.Errorf("got lines up to %v, written were %v", c.next, v.lines)
	}
	c.t.Logf("%v lines over %d kills", v.lines, kills)
}

func TestKilledPumpFile(t *testing.T) {
	v, w := startSurvivor(t, "web", "file", 256<<10)
	v.run(t, w, nil)
	c := &counter{t: t}
	open := map[string]bool{}
	for _, line := range fileLines(t, v.dir, "web") {
		stream, rest, _ := strings.Cut(line, " ")
		tag, text, _ := strings.Cut(rest, " ")
		if !open[stream] {
			c.line(stream, text)
		}
		open[stream] = tag == "P"
	}
	c.end(v)
}

// TestKilledPumpFileOfTwo: two instances of a unit have one file. What one of them
// had under way when the pump was killed is not mistaken for the other's.
func TestKilledPumpFileOfTwo(t *testing.T) {
	v, w := startSurvivor(t, "web", "file", 256<<10)
	m := newManager(t, v.dir)
	second, err := m.NewStreams("web", 8, units.Log{Target: "file", MaxSize: 256 << 10, Keep: 900})
	if err != nil {
		t.Fatal(err)
	}
	other, err := second.Writers()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range second.Descriptors()["log/8"] {
		fd, err := dup(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = fd.Close() })
		v.files = append(v.files, fd)
	}
	second.Close()
	m.Close()
	v.incarnations += ",8"
	// The one writes to stdout, the other to stderr, so that the lines tell whose
	// they are.
	w.Stderr.Close()
	other.Stdout.Close()
	v.run(t, Writers{Stdout: w.Stdout, Stderr: other.Stderr}, nil)
	c := &counter{t: t}
	open := map[string]bool{}
	for _, line := range fileLines(t, v.dir, "web") {
		stream, rest, _ := strings.Cut(line, " ")
		tag, text, _ := strings.Cut(rest, " ")
		if !open[stream] {
			c.line(stream, text)
		}
		open[stream] = tag == "P"
	}
	c.end(v)
}
