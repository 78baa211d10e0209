package main

import (
	"context"
	"errors"
	"os"

	"berth/supervisor/machine"
	"berth/supervisor/machine/cmdline"
	"berth/supervisor/machine/early"
	"berth/supervisor/machine/modules"
)

// runModprobe is berthd as the program that the kernel starts when it lacks a
// module, with the arguments -q -- NAME (kernel/module/kmod.c). Package
// machine tells when.
func runModprobe(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: modprobe -q -- MODULE; the kernel starts this")
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	l, _, err := modules.Open("/", cmdline.Words(string(line)))
	if err != nil {
		return err
	}
	defer l.Close()
	var lines []string
	for _, p := range l.Load(context.Background(), modules.Request{Name: args[len(args)-1], Device: true}) {
		if !p.Minor {
			lines = append(lines, p.String())
		}
	}
	early.Tell(machine.Machine, lines)
	if len(lines) > 0 {
		return errors.New("the module is not loaded")
	}
	return nil
}
