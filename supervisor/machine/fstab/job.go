package fstab

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"berth/supervisor/machine/conf"
	"berth/supervisor/machine/fsck"
)

// Config is what mounting takes.
type Config struct {
	Root string // whose /etc/fstab it is; mount points are below it. "/" for the machine's own
	Fsck fsck.Options
	// Module loads a kernel module or what an alias such as fs-ext4 stands for; it
	// may be called from several goroutines at a time. nil: none is loaded.
	Module func(ctx context.Context, alias string)
	// Note tells of something worth a line in the log while it happens, from any
	// goroutine; may be nil.
	Note func(string)
}

// Job is the mounting of a file's entries, under way.
type Job struct {
	cfg     Config
	ctx     context.Context
	steps   []Step
	devices *Devices
	tasks   []*task
	checks  checks

	mu       sync.Mutex
	problems conf.Problems
	reboot   bool
}

// task is a step under way.
type task struct {
	done    chan struct{} // closed when it is over
	failed  bool          // valid then
	settled chan struct{} // closed then, or when the boot need not wait for it
	once    sync.Once
}

func (t *task) settle() { t.once.Do(func() { close(t.settled) }) }

// Begin reads the file and begins to mount. Everything ends with ctx. What is
// mounted already stays as it is, so that it can be done again. Only one job may
// be under way at a time.
func Begin(ctx context.Context, cfg Config) *Job {
	j := &Job{cfg: cfg, ctx: ctx}
	if cfg.Note == nil {
		j.cfg.Note = func(string) {}
	}
	root, err := conf.OpenRoot(cfg.Root)
	if err != nil {
		j.problems = conf.Problems{{What: err.Error()}}
		return j
	}
	defer root.Close()
	files, problems := root.Single("/etc/fstab")
	j.problems = problems
	for _, f := range files {
		entries, problems := Parse(f.Path, f.Text)
		steps, more := Plan(entries)
		j.steps = steps
		j.problems = slices.Concat(j.problems, problems, more)
	}
	j.checks.perDisk = map[string]*sync.Mutex{}
	for _, s := range j.steps {
		t := &task{done: make(chan struct{}), settled: make(chan struct{})}
		j.tasks = append(j.tasks, t)
		if s.First {
			j.checks.first.Add(1)
		}
	}
	if slices.ContainsFunc(j.steps, func(s Step) bool { return s.Device }) {
		watch, stop := context.WithCancel(ctx)
		j.devices = Watch(watch)
		go func() {
			j.Wait()
			stop()
		}()
	}
	for i := range j.steps {
		go j.run(i)
	}
	return j
}

// run does a step after those that it comes after.
func (j *Job) run(i int) {
	s, t := &j.steps[i], j.tasks[i]
	defer t.settle()
	defer close(t.done)
	if s.First {
		defer j.checks.first.Done()
	}
	for _, before := range s.After {
		if s.Wanted && j.steps[before].Wanted {
			select { // it may take as long as the other
			case <-j.tasks[before].done:
			case <-j.tasks[before].settled:
				t.settle()
			}
		}
		<-j.tasks[before].done
		if j.tasks[before].failed {
			t.failed = true
			j.problem(s, fmt.Errorf("%s, which it needs, is not mounted", j.steps[before].Target))
			return
		}
	}
	if err := j.do(s, t); err != nil {
		t.failed = true
		j.problem(s, err)
	}
}

// name is what a step is called in messages.
func (s *Step) name() string {
	if s.Entry.Swap() {
		return "swap on " + s.Source
	}
	return s.Target
}

func (j *Job) problem(s *Step, err error) {
	what := err.Error()
	if !strings.HasPrefix(what, "cannot ") {
		verb := "mount "
		if s.Entry.Swap() {
			verb = "use "
		}
		what = "cannot " + verb + s.name() + ": " + what
	}
	j.tell(conf.Problem{File: s.File, Line: s.Line, What: what, Try: advice(s, err), Minor: s.Wanted})
}

func (j *Job) tell(p conf.Problem) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.problems = append(j.problems, p)
}

// Required waits until all is mounted that the boot has to wait for: what may
// fail (nofail, _netdev) is waited for only if its device is there. It gives what
// went wrong so far, and whether a check asks for a reboot of the machine before
// anything is written.
func (j *Job) Required() (problems conf.Problems, reboot bool) {
	for _, t := range j.tasks {
		<-t.settled
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.problems), j.reboot
}

// Wait waits until nothing is under way any more and gives all that went wrong.
func (j *Job) Wait() conf.Problems {
	for _, t := range j.tasks {
		<-t.done
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.problems)
}

// checks orders the checks of file systems: those of pass 1 come first, and of
// each disk one at a time.
type checks struct {
	first   sync.WaitGroup
	mu      sync.Mutex
	perDisk map[string]*sync.Mutex
}

func (c *checks) disk(name string) *sync.Mutex {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.perDisk[name] == nil {
		c.perDisk[name] = &sync.Mutex{}
	}
	return c.perDisk[name]
}

// path is where a mount point is.
func (j *Job) path(target string) string {
	if j.cfg.Root == "/" {
		return target
	}
	return j.cfg.Root + target
}

// exists tells whether there is anything at a path.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
