// Package fstab mounts at boot what /etc/fstab says, fstab(5), and switches swap
// space on: it waits for devices, has file systems checked, and mounts each after
// what it lies on, all at once otherwise.
//
// parse.go and plan.go are pure; wait.go waits for devices, job.go runs the steps
// and step.go does one, swap.go one of swap space.
package fstab
