package final

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settle is the pause before another round when the last one changed nothing:
	// the kernel lets go of what ended processes had a moment later (mntput of a
	// process that exits is delayed), and idle is how many such rounds are the end.
	settle = 100 * time.Millisecond
	idle   = 5
	// stalled is how long nothing may reach the disks until a sync is given up.
	stalled = 10 * time.Second
)

// Stayed is something that could not be unmounted, turned off or detached.
type Stayed struct {
	Target string
	// Why: "busy", "hangs", or an error; for what was only to be made read-only,
	// why it was not.
	Why string
	// Mounted tells a mount from swap and devices, Writable one that is not read-only.
	Mounted, Writable bool
}

// clearing is the work on mounts, swap and devices.
type clearing struct {
	sys  system
	soft bool
	// only, if not nil, tells the steps that may be taken.
	only func(Step) bool
	// until bounds all of it, and step one step.
	until time.Time
	step  time.Duration

	hung   map[string]bool   // steps that are not tried again
	failed map[string]string // by target: why it is still there
	// writable are those that could not be made read-only, and why.
	writable map[string]string
	note     func(string) // for the last line
}

// run takes away what can be taken away, and gives what has stayed.
func (c *clearing) run() []Stayed {
	c.hung, c.failed, c.writable = map[string]bool{}, map[string]string{}, map[string]string{}
	c.rounds()
	h, ok := c.look()
	c.protect(h, ok)
	if lazy := LazyPlan(h, c.soft); len(lazy) > 0 && c.all(lazy) {
		c.rounds()
		h, ok = c.look()
		c.protect(h, ok)
	}
	if h, ok = c.look(); !ok {
		return nil
	}
	return c.stayed(h)
}

// protect makes read-only what is still mounted, at the least the root.
func (c *clearing) protect(h Host, seen bool) {
	switch {
	case c.soft: // it is gone on with
	case seen:
		c.all(ReadOnlyPlan(h))
	default:
		c.all([]Step{{Op: OpReadOnly, Target: "/"}})
	}
}

// rounds makes plans and carries them out for as long as that changes anything.
func (c *clearing) rounds() {
	for still := 0; still < idle && time.Now().Before(c.until); {
		h, ok := c.look()
		if !ok {
			return
		}
		// Force only when asking did not help.
		steps := c.allowed(Plan(h, c.soft, still > 1))
		if len(steps) == 0 {
			return
		}
		if c.all(steps) {
			still = 0
			continue
		}
		still++
		time.Sleep(min(settle, max(0, time.Until(c.until))))
	}
}

// look asks what there is; a kernel that hangs there is left alone.
func (c *clearing) look() (h Host, ok bool) {
	var found Host
	var err error
	if !bounded(c.limit(), func() { found, err = c.sys.look() }) {
		c.note("/proc hangs")
		return Host{}, false
	}
	if err != nil {
		c.note("cannot see what is mounted: " + err.Error())
	}
	return found, len(found.Mounts)+len(found.Swaps)+len(found.Devices) > 0
}

// allowed leaves out what hangs already and what is not to be touched.
func (c *clearing) allowed(steps []Step) []Step {
	var out []Step
	for _, s := range steps {
		if !c.hung[s.String()] && (c.only == nil || c.only(s)) {
			out = append(out, s)
		}
	}
	return out
}

// all carries out steps and tells whether any of them changed something.
func (c *clearing) all(steps []Step) (changed bool) {
	for _, s := range c.allowed(steps) {
		if !time.Now().Before(c.until) {
			return changed
		}
		err := unix.EIO // a panic
		told := c.failed
		if s.Op == OpReadOnly {
			told = c.writable
		}
		if !bounded(c.limit(), func() { err = errnoOf(c.sys.do(s)) }) {
			c.hung[s.String()], told[s.Target] = true, "hangs"
			continue
		}
		if err != 0 {
			told[s.Target] = reason(err)
			continue
		}
		delete(told, s.Target)
		changed = true
		if s.Op == OpLazy {
			c.note("detached while in use: " + s.Target)
		}
	}
	return changed
}

// limit is the time for one step.
func (c *clearing) limit() time.Duration { return min(c.step, max(0, time.Until(c.until))) }

// bounded runs f for at most so long and tells whether it has ended. One that has
// not goes on in its thread, which ends with the machine.
func bounded(limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }() // the stage goes on whatever a step does
		f()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// stayed gives what is still there, without what the kernel shows of itself, and
// the root if it can still be written.
func (c *clearing) stayed(h Host) []Stayed {
	var out []Stayed
	writable := map[string]bool{}
	for _, s := range ReadOnlyPlan(h) {
		writable[s.Target] = true
	}
	for _, s := range Plan(h, c.soft, false) {
		if c.only != nil && !c.only(s) || s.Op == OpUnmount && ofKernel(s.Type) {
			continue
		}
		out = append(out, Stayed{s.Target, orElse(c.failed[s.Target]), s.Op == OpUnmount, writable[s.Target]})
		delete(writable, s.Target)
	}
	if c.soft {
		return out
	}
	for _, s := range ReadOnlyPlan(h) {
		if writable[s.Target] && (c.only == nil || c.only(s)) {
			out = append(out, Stayed{s.Target, orElse(c.writable[s.Target]), true, true})
			delete(writable, s.Target)
		}
	}
	return out
}

// orElse is the reason where none was found.
func orElse(why string) string {
	if why == "" {
		return "no time left"
	}
	return why
}

// reason is what people call an error of these calls.
func reason(err unix.Errno) string {
	if err == unix.EBUSY {
		return "busy"
	}
	return err.Error()
}

func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	if errno, ok := err.(unix.Errno); ok {
		return errno
	}
	return unix.EIO
}

// syncAll has everything written to the disks, for as long as it goes forward.
func (c *clearing) syncAll() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		c.sys.sync()
	}()
	least, known := c.sys.unwritten()
	moved := time.Now()
	look := time.NewTicker(min(time.Second, max(c.step/4, time.Millisecond)))
	defer look.Stop()
	for {
		select {
		case <-done:
			return
		case <-look.C:
		}
		now, ok := c.sys.unwritten()
		if ok && known && now < least {
			least, moved = now, time.Now()
		}
		if time.Since(moved) > min(stalled, c.step) || !time.Now().Before(c.until) {
			text := "the disks do not take what is to be written"
			if ok {
				text += fmt.Sprintf(" (%d KiB)", now>>10)
			}
			c.note(text)
			return
		}
	}
}

// parseUnwritten reads proc_meminfo(5).
func parseUnwritten(text string) (uint64, bool) {
	var sum uint64
	found := false
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		if name != "Dirty" && name != "Writeback" {
			continue
		}
		if fields := strings.Fields(rest); len(fields) > 0 {
			if n, err := strconv.ParseUint(fields[0], 10, 54); err == nil {
				sum, found = sum+n<<10, true
			}
		}
	}
	return sum, found
}
