// Package isolate makes containers. What comes in is a Spec, in the kernel's
// own terms; what goes out is a running process in namespaces of its own.
//
// The way of the data:
//
//	Spec ── Compile ──▶ program.Program    pure: a printable list of system calls
//	Program ── Prepare ──▶ Prepared        outside steps: sources opened, users looked up
//	Prepared ── Encode ──▶ image, fds      to the launcher, or Fork in this process
//	Image ── Fork ──▶ child                inside steps, between clone3 and execve
//	Prepared ── Forked ──▶                 beside: what the child in a user namespace waits for
//
// The child reports over the status pipe (Prepared.Wait, ReadStatus) and,
// before it executes anything foreign, waits at the gate for one byte
// (Prepared.Proceed). If the gate is closed instead, it leaves with
// ExitGateClosed. So whoever starts it can register it first, and no child
// survives a starter that died half-way.
//
// In a user namespace of its own the child has no privileges on the host from its
// first step on. It waits until Forked has written its maps and made the settings
// that need the starter's. What the starter makes outside it gives to the ids of
// the map; a starter without privileges makes nothing outside (Spec.Unprivileged).
//
// Everything that is made on the way is held by descriptors (detached mounts,
// pipes) or by the child's own namespaces, and is gone with them; only
// directories of volumes and of a persistent root are there to stay. Paths inside
// a root file system are resolved by openat2 inside that root, by descriptor, and
// never joined to a string.
package isolate
