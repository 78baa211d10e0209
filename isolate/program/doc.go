// Package program holds a container's start as data: a list of system calls
// with their arguments, what each is for and what its failure means.
//
// Package isolate compiles a Spec to a Program and runs the Program's Outside
// steps in its own process (opening sources, building detached mounts, looking
// users up). What that gave and the Inside steps together make an Image: flat,
// position-independent bytes and a list of descriptors. The launcher decodes
// the Image and forks it; the Inside steps run in the child, between clone3 and
// execve, with raw system calls only.
//
// The package is linked into the launcher, whose size is the cost of every
// fork: it imports nothing but fmt, encoding/binary, x/sys/unix and what they
// need.
package program
