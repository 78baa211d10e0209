// Package switchroot goes from an initramfs to the root file system that the
// kernel's command line names (root=), as switch_root(8) does at the end of other
// initramfs.
//
// It is done in two processes. A child of PID 1 finds the device, has it checked
// and mounts it at [Target]: prepare.go, find.go, overlay.go. It may wait, fail
// and ask for a shell, and is started again if it dies. PID 1 itself then only
// moves mounts, empties the initramfs and executes the new root's init in its own
// place: enter.go, which parses nothing.
package switchroot

// Target is where the new root is mounted.
const Target = "/sysroot"
