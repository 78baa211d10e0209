package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/isolate/oci"
)

var updateCommand = &command{
	name: "update", usage: containerArg, summary: "change the limits of a container", args: 1, exact: true, needsRuntime: true, run: update,
	text: "   What is not given stays. --resources takes linux.resources of the runtime-spec as\n   JSON; all other flags are then without effect.",
	flags: []flagDef{
		{name: "resources", short: "r", kind: text, help: "a JSON file with the limits, or - for standard input"},
		{name: "blkio-weight", kind: number, help: "the share of block I/O, 10 to 1000"},
		{name: "cpu-period", kind: number, help: "the period that the quota is for, in microseconds"},
		{name: "cpu-quota", kind: number, help: "the processor time of a period, in microseconds"},
		{name: "cpu-burst", kind: number, help: "the time that may be saved up beyond the quota, in microseconds"},
		{name: "cpu-share", kind: number, help: "the share of processor time beside others"},
		{name: "cpu-rt-period", kind: number, help: "the real-time period, in microseconds"},
		{name: "cpu-rt-runtime", kind: number, help: "the real-time quota, in microseconds"},
		{name: "cpuset-cpus", kind: text, help: "the processors to use"},
		{name: "cpuset-mems", kind: text, help: "the memory nodes to use"},
		{name: "cpu-idle", kind: number, help: "1: only what nobody else wants of the processors"},
		{name: "memory", kind: text, help: "the memory limit in bytes"},
		{name: "memory-reservation", kind: text, help: "the soft memory limit in bytes"},
		{name: "memory-swap", kind: text, help: "the limit of memory and swap together in bytes, -1 for none"},
		{name: "kernel-memory", kind: text, help: "taken for the sake of callers: the kernel has no such limit any more"},
		{name: "kernel-memory-tcp", kind: text, help: "taken for the sake of callers: the kernel has no such limit any more"},
		{name: "pids-limit", kind: number, help: "how many processes there may be"},
		{name: "l3-cache-schema", kind: text, help: "refused: berth does not use Intel RDT"},
		{name: "mem-bw-schema", kind: text, help: "refused: berth does not use Intel RDT"},
	},
}

// maxResources bounds what is read from standard input.
const maxResources = 1 << 20

func update(inv *invocation) error {
	r, err := inv.resources()
	if err != nil {
		return err
	}
	return inv.rt.Update(inv.args[0], r)
}

func (inv *invocation) resources() (*specs.LinuxResources, error) {
	if inv.given("l3-cache-schema") || inv.given("mem-bw-schema") {
		return nil, errors.New("cannot limit cache or memory bandwidth: berth-oci does not use Intel RDT")
	}
	path := inv.text("resources")
	if path == "" {
		return inv.resourceFlags()
	}
	var text []byte
	var err error
	if path == "-" {
		text, err = io.ReadAll(io.LimitReader(os.Stdin, maxResources+1))
		if err == nil && len(text) > maxResources {
			err = fmt.Errorf("there are more than %d bytes", maxResources)
		}
	} else {
		text, err = oci.ReadFile(path)
	}
	var r specs.LinuxResources
	if err == nil {
		err = oci.Decode(text, &r)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the limits: %w", err)
	}
	return &r, nil
}

// resourceFlags gives what the single flags say; what they leave out stays.
func (inv *invocation) resourceFlags() (*specs.LinuxResources, error) {
	cpu, memory, r := &specs.LinuxCPU{}, &specs.LinuxMemory{}, &specs.LinuxResources{}
	for name, to := range map[string]**uint64{
		"cpu-period": &cpu.Period, "cpu-burst": &cpu.Burst, "cpu-share": &cpu.Shares, "cpu-rt-period": &cpu.RealtimePeriod,
	} {
		if inv.given(name) {
			n := inv.int(name)
			if n < 0 {
				return nil, fmt.Errorf("invalid value %d for --%s: it is negative", n, name)
			}
			v := uint64(n)
			*to, r.CPU = &v, cpu
		}
	}
	for name, to := range map[string]**int64{"cpu-quota": &cpu.Quota, "cpu-rt-runtime": &cpu.RealtimeRuntime, "cpu-idle": &cpu.Idle} {
		if inv.given(name) {
			n := inv.int(name)
			*to, r.CPU = &n, cpu
		}
	}
	for name, to := range map[string]*string{"cpuset-cpus": &cpu.Cpus, "cpuset-mems": &cpu.Mems} {
		if inv.given(name) {
			*to, r.CPU = inv.text(name), cpu
		}
	}
	for name, to := range map[string]**int64{"memory": &memory.Limit, "memory-reservation": &memory.Reservation, "memory-swap": &memory.Swap} {
		if inv.given(name) {
			n, err := parseSize(inv.text(name))
			if err != nil {
				return nil, fmt.Errorf("invalid value for %s: %w", name, err)
			}
			*to, r.Memory = &n, memory
		}
	}
	if inv.given("pids-limit") {
		n := inv.int("pids-limit")
		r.Pids = &specs.LinuxPids{Limit: &n}
	}
	if inv.given("blkio-weight") {
		n := inv.int("blkio-weight")
		if n < 0 || n > 1000 {
			return nil, fmt.Errorf("invalid value %d for --blkio-weight, want 10 to 1000", n)
		}
		weight := uint16(n)
		r.BlockIO = &specs.LinuxBlockIO{Weight: &weight}
	}
	return r, nil
}
