// Package cmdline reads the kernel's command line for what berthd obeys. It is
// pure: [Parse] takes the text of /proc/cmdline and gives values, and [Keys] is
// the one table of what is known, for parsing and for the documentation. What it
// gives of root=, init= and their like is what the kernel would do itself; it is
// for an initramfs, where the kernel leaves it to its init.
package cmdline
