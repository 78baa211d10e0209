// Command berthd is the daemon of berth: PID 1 or an ordinary service. Started
// by a user it is the reaper; the reaper starts it again as launcher and as
// supervisor, told apart by the first argument.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"berth/supervisor/machine"
	"berth/supervisor/machine/final"
)

// version is set by the linker (make build).
var version = "development"

// The hidden first arguments of the other processes.
const (
	roleSupervisor = "--role=supervisor"
	roleLauncher   = "--role=launcher"
	roleEmergency  = "--role=emergency"
	roleFinal      = "--role=final" // of PID 1, in its own place
	roleInitramfs  = "--role=initramfs"
)

func main() {
	role := ""
	args := os.Args[1:]
	if len(args) > 0 && slices.Contains([]string{roleSupervisor, roleLauncher, roleEmergency, roleFinal, roleInitramfs}, args[0]) {
		role, args = args[0], args[1:]
	}
	// A log that nobody reads any more is no reason to end: with this a write
	// fails with EPIPE instead. (Programs started get the default action.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	var code int
	var err error
	if filepath.Base(os.Args[0]) == machine.ModprobeName {
		role = machine.ModprobeName
	}
	switch role {
	case machine.ModprobeName:
		err = runModprobe(args)
	case roleLauncher:
		err = runLauncher()
	case roleEmergency:
		err = runEmergency(args)
	case roleInitramfs:
		err = runInitramfs(args)
	case roleFinal:
		code = final.Run(final.Parse(args))
	case roleSupervisor:
		code, err = runSupervisor(args)
	default:
		code, err = runReaper(args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "berthd: "+err.Error())
		if code == 0 {
			code = 1
		}
	}
	os.Exit(code)
}
