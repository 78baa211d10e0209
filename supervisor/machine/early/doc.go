// Package early is what PID 1 does before anything else: the kernel's file
// systems, device nodes, the standard descriptors, and an environment. It runs in
// the reaper, which must not fail: the lists are fixed, nothing is parsed, nothing
// is waited for, and an error is a line for the log and never an end. Everything
// in it may be done again without harm, since a reaper that executes a newer
// binary in its place begins here once more.
//
// The Go runtime comes before this package: it opens /dev/null for each of the
// descriptors 0 to 2 that is closed, and ends the process where it cannot. A
// kernel opens /dev/console for its init where there is one, and the initramfs
// that is built into nearly every kernel has it; an image of one's own needs
// /dev/console or /dev/null, or a kernel that mounts devtmpfs by itself
// (CONFIG_DEVTMPFS_MOUNT).
package early
