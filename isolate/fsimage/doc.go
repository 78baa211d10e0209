// Package fsimage writes file system images byte by byte: a cpio archive for an
// initramfs, an ext4 or a squashfs file system. Nothing is mounted, no other
// program is run and no privilege is needed, since owners, devices and extended
// attributes are only numbers in a file.
//
//	Tree ── Add, AddDir, AddTar ──▶ Tree     what is to be in the image, as a value
//	Tree ── WriteCpio, WriteExt4, WriteSquashfs ──▶ bytes
//
// The same Tree gives the same bytes, always: files are taken in the order of
// their names, inodes are numbered in that order, and the identifier of a file
// system is a digest of what is in it.
//
// A Tree is not safe for use by several goroutines at a time.
package fsimage
