package oci

import (
	"strconv"
	"strings"

	"berth/isolate"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// schedulerFlags are those of sched_setattr(2).
var schedulerFlags = map[specs.LinuxSchedulerFlag]uint64{
	specs.SchedFlagResetOnFork:  unix.SCHED_FLAG_RESET_ON_FORK,
	specs.SchedFlagReclaim:      unix.SCHED_FLAG_RECLAIM,
	specs.SchedFlagDLOverrun:    unix.SCHED_FLAG_DL_OVERRUN,
	specs.SchedFlagKeepPolicy:   unix.SCHED_FLAG_KEEP_POLICY,
	specs.SchedFlagKeepParams:   unix.SCHED_FLAG_KEEP_PARAMS,
	specs.SchedFlagUtilClampMin: unix.SCHED_FLAG_UTIL_CLAMP_MIN,
	specs.SchedFlagUtilClampMax: unix.SCHED_FLAG_UTIL_CLAMP_MAX,
}

// SCHED_ISO has a name and no implementation in the kernel.
var schedulerPolicies = map[specs.LinuxSchedulerPolicy]int{
	specs.SchedOther: unix.SCHED_NORMAL, specs.SchedFIFO: unix.SCHED_FIFO, specs.SchedRR: unix.SCHED_RR,
	specs.SchedBatch: unix.SCHED_BATCH, specs.SchedIdle: unix.SCHED_IDLE, specs.SchedDeadline: unix.SCHED_DEADLINE,
}

func (t *translator) scheduling(p *specs.Process) {
	out := &t.spec.Process.Scheduling
	if a := p.OOMScoreAdj; a != nil {
		if *a < -1000 || *a > 1000 {
			t.fault("process.oomScoreAdj", "", "%d is not within -1000 to 1000", *a)
		}
		out.OOMScoreAdjust = a
	}
	if p.Scheduler != nil {
		t.scheduler(p.Scheduler, out)
	}
	if p.IOPriority != nil {
		t.ioPriority(p.IOPriority, out)
	}
	if a := p.ExecCPUAffinity; a != nil {
		out.InitialAffinity = t.numbers("process.execCPUAffinity.initial", a.Initial, maxProcessors, "processors")
		out.FinalAffinity = t.numbers("process.execCPUAffinity.final", a.Final, maxProcessors, "processors")
	}
	out.AnyProcessor = len(out.InitialAffinity) == 0 // what the caller is bound to is its own affair
}

func (t *translator) scheduler(s *specs.Scheduler, out *isolate.Scheduling) {
	const path = "process.scheduler"
	policy, ok := schedulerPolicies[s.Policy]
	if !ok {
		t.fault(path+".policy", "want one of "+spaceList(sortedKeys(schedulerPolicies)), "the kernel has no scheduling policy %s", quote(string(s.Policy)))
		return
	}
	out.Policy = &policy
	out.Priority = int(s.Priority)
	switch {
	case policy == unix.SCHED_FIFO || policy == unix.SCHED_RR:
		if s.Priority < 1 || s.Priority > 99 {
			t.fault(path+".priority", "", "%d is not within 1 to 99, which %s needs", s.Priority, s.Policy)
		}
	case s.Priority != 0:
		t.fault(path+".priority", "leave it out", "%s has no priority", s.Policy)
	}
	if s.Nice < -20 || s.Nice > 19 {
		t.fault(path+".nice", "", "%d is not within -20 to 19", s.Nice)
	}
	if policy == unix.SCHED_NORMAL || policy == unix.SCHED_BATCH {
		nice := int(s.Nice)
		out.Nice = &nice
	} else if s.Nice != 0 {
		t.warn(path+".nice", "no effect has %d: %s has no nice value", s.Nice, s.Policy)
	}
	for i, f := range s.Flags {
		bit, ok := schedulerFlags[f]
		if !ok {
			t.fault(index(path+".flags", i), "want one of "+spaceList(sortedKeys(schedulerFlags)), "unknown flag %s", quote(string(f)))
		}
		out.Flags |= bit
	}
	out.Runtime, out.Deadline, out.Period = s.Runtime, s.Deadline, s.Period
	period := s.Period
	if period == 0 {
		period = s.Deadline // the kernel's default
	}
	switch {
	case policy != unix.SCHED_DEADLINE && s.Runtime|s.Deadline|s.Period != 0:
		t.fault(path, "leave them out", "runtime, deadline and period are for SCHED_DEADLINE only")
	case policy == unix.SCHED_DEADLINE && (s.Runtime < 1024 || s.Runtime > s.Deadline || s.Deadline > period || (period|s.Deadline)>>63 != 0):
		t.fault(path, "", "SCHED_DEADLINE needs 1024 ≤ runtime ≤ deadline ≤ period, in nanoseconds, not %d, %d and %d", s.Runtime, s.Deadline, s.Period)
	}
}

// ioClassShift is IOPRIO_CLASS_SHIFT of linux/ioprio.h.
const ioClassShift = 13

var ioClasses = map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}

func (t *translator) ioPriority(p *specs.LinuxIOPriority, out *isolate.Scheduling) {
	const path = "process.ioPriority"
	class, ok := ioClasses[p.Class]
	if !ok {
		t.fault(path+".class", "want one of "+spaceList(sortedKeys(ioClasses)), "unknown I/O class %s", quote(string(p.Class)))
	}
	if p.Priority < 0 || p.Priority > 7 {
		t.fault(path+".priority", "", "%d is not within 0 to 7", p.Priority)
	}
	value := class<<ioClassShift | p.Priority
	out.IOPriority = &value
}

// maxProcessors is the most that a kernel can be built for (CONFIG_NR_CPUS).
const maxProcessors = 8192

// numbers reads a list such as "0-3,7" of numbers below limit; "" is none.
func (t *translator) numbers(path, text string, limit uint64, what string) []int {
	if text == "" {
		return nil
	}
	var out []int
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.ParseUint(from, 10, 16)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(to, 10, 16)
		}
		if err != nil || last < first || last >= limit || uint64(len(out)) > limit {
			t.fault(path, `write it like "0-3,7"`, "%s is not a list of %s below %d", quote(text), what, limit)
			return nil
		}
		for n := first; n <= last; n++ {
			out = append(out, int(n))
		}
	}
	return out
}
