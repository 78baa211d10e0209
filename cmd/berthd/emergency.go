package main

import (
	"fmt"

	"berth/config"
	"berth/reaper"
	"berth/supervisor/machine/emergency"
)

// runEmergency is the emergency role: a process of its own, which the reaper
// starts. What it reads may be the very thing that the supervisor ends over.
func runEmergency(args []string) error {
	reaper.SetName("berthd-emergenc")
	o := emergency.Options{Action: emergency.Shell}
	runtimeDir := config.DefaultSettings().RuntimeDir
	func() {
		defer func() {
			if fault := recover(); fault != nil {
				fmt.Println("berthd: cannot read the settings:", fault)
			}
		}()
		opt, err := parse(args)
		if err != nil {
			return
		}
		settings, _ := config.LoadSettings(opt.config) // told by the supervisor
		o.Action, runtimeDir = emergency.Action(settings.Emergency), settings.RuntimeDir
		if opt.runtimeDir != "" {
			runtimeDir = opt.runtimeDir
		}
	}()
	o.Why, o.Next = takeReason(runtimeDir)
	return emergency.Run(o)
}
