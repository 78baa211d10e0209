// Package machine is what berthd does as PID 1 beside supervising units: the
// duties that a machine expects of its init between the kernel's start and the
// first service.
//
// They are done in two places. What PID 1 itself cannot do without (file systems
// of the kernel, descriptors, an environment) is in package early, a fixed list
// without parsing. Everything else is done by the supervisor, once per boot,
// before it starts units: a list of duties as data, an executor, and a record of
// what each took and how it ended. The kernel's command line is in package
// cmdline; what a duty reads from files is in a package for each kind: modules,
// sysctl, fstab (with blkid, fsck and mount), tmpfiles. Package switchroot goes from
// an initramfs to a root file system, before the reaper.
package machine
