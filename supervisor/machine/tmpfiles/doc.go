// Package tmpfiles makes the files and directories that a machine needs at boot,
// from the files of tmpfiles.d(5): what systemd-tmpfiles --create --remove --boot
// would do. docs/pid1.md says which types are covered; others are told and left
// out.
//
// The way of the data: parse.go makes items of text, plan.go an order of items,
// create.go and remove.go do them, each by descriptors that walk.go opened step by
// step: a path is never given to the kernel as a whole, since parts of it may
// belong to users who would like root to write elsewhere.
package tmpfiles
