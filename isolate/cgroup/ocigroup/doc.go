// Package ocigroup makes the control groups of a container of the OCI
// runtime-spec and sets what linux.resources asks for, on cgroup v1, v2 and
// hybrid hosts.
//
// The way of a container: New finds the hierarchies, Create makes the group in
// all of them with its limits and device rules before any process is there, Open
// gives the descriptors through which package isolate lets the child in. Later
// commands find the group again by Load from what Paths gave. Set changes limits
// of a living group; Stats and WaitOOM tell about it; Kill, Remove end it.
//
// Everything that the kernel knows as a group (life cycle, freezing, killing) is
// package cgroup's; here is the translation of the OCI's terms to control files.
// What a host cannot do is an error that says so, never passed over.
package ocigroup
