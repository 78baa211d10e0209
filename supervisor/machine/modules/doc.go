// Package modules loads kernel modules at boot: those that modules-load.d(5),
// /etc/modules and the kernel command line name, and those for the devices that
// are found in /sys and appear later, as udev would without being there.
//
// The way of the data: config.go reads modprobe.d(5), index.go what depmod(8)
// wrote, names.go what is asked for; plan.go makes a list of files to load of
// these, in order; load.go loads one; loader.go joins them.
package modules
