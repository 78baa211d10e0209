// Package image makes of unit files, a kernel and root file systems what a
// machine boots: a kernel and an initramfs that is the whole system, or one that
// hands over to a file system image.
//
//	Options ── Plan ──▶ *Plan      everything is read and checked, nothing written
//	*Plan ── Print ──▶ text        what would be in the image
//	*Plan ── Write ──▶ a directory
//
// The same inputs give the same bytes: see package fsimage, and Options.Epoch.
package image
